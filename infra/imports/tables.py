"""CSV tables as people have them: plain or gzipped, and wrong in ways that must be named.

Whoever has a file of 200,000 lines and an error in one of them needs the file, the line and
the column, and needs to know it before anything is written.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, TextIO

LONGEST_QUOTE = 60
"""Characters of a bad value that an error message repeats."""


class TableError(Exception):
    """A table cannot be used; the message says where and why."""


class Table:
    """One table of a directory, read row by row."""

    def __init__(self, directory: Path, name: str, columns: Sequence[str]) -> None:
        """Find the file, ``name.csv`` or ``name.csv.gz``.

        Args:
            directory: where the file is.
            name: of the table.
            columns: what each row holds, in the order in which ``rows`` gives it.

        Raises:
            TableError: there is no such file, or there are two.
        """
        candidates = (directory / f"{name}.csv", directory / f"{name}.csv.gz")
        found = [path for path in candidates if path.is_file()]
        if not found:
            raise TableError(f"{directory}: neither {name}.csv nor {name}.csv.gz is there")
        if len(found) > 1:
            raise TableError(
                f"{directory}: both {name}.csv and {name}.csv.gz are there; which one counts?"
            )
        self.path = found[0]
        self._columns = tuple(columns)

    def rows(self) -> Iterator[tuple[int, Sequence[str]]]:
        """Each row with the number of the line it ends on, the header left out.

        Raises:
            TableError: the file is no such table.
        """
        with self._opened() as file:
            reader = csv.reader(file, strict=True)
            try:
                order = self._order(next(reader, None))
                width = len(self._columns)
                in_order = order == list(range(width))
                for row in reader:
                    if len(row) != width:
                        if not row:  # a blank line
                            continue
                        self._refuse_width(reader.line_num, row)
                    yield reader.line_num, row if in_order else [row[i] for i in order]
            except csv.Error as error:
                raise TableError(f"{self.path}, line {reader.line_num}: {error}") from None

    def refuse(self, line: int, column: str, value: str, wanted: str) -> NoReturn:
        """Refuse one value.

        Raises:
            TableError: always.
        """
        shown = value if len(value) <= LONGEST_QUOTE else value[:LONGEST_QUOTE] + "…"
        raise TableError(f"{self.path}, line {line}, column {column}: {shown!r} is not {wanted}")

    @contextmanager
    def _opened(self) -> Iterator[TextIO]:
        try:
            with self.path.open("rb") as raw:
                binary = gzip.GzipFile(fileobj=raw) if self.path.suffix == ".gz" else raw
                # The mark that spreadsheets put in front is not part of the first name.
                with io.TextIOWrapper(binary, encoding="utf-8-sig", newline="") as text:
                    yield text
        except UnicodeDecodeError as error:
            raise TableError(f"{self.path}: is not UTF-8 text: {error.reason}") from None
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise TableError(f"{self.path}: is damaged or not all there: {error}") from None
        except OSError as error:
            raise TableError(f"{self.path}: cannot be read: {error.strerror or error}") from None

    def _order(self, header: Sequence[str] | None) -> list[int]:
        if header is None:
            raise TableError(f"{self.path}: is empty; the first line must name the columns")
        names = [name.strip() for name in header]
        where = f"{self.path}, line 1"
        for name in self._columns:
            if name not in names:
                raise TableError(f"{where}: column {name} is missing; there are {_listed(names)}")
        for name in names:
            if names.count(name) > 1:
                raise TableError(f"{where}: column {name} is there twice")
            if name not in self._columns:
                raise TableError(f"{where}: column {name!r} is not one of {_listed(self._columns)}")
        return [names.index(name) for name in self._columns]

    def _refuse_width(self, line: int, row: Sequence[str]) -> NoReturn:
        wanted = len(self._columns)
        if len(row) < wanted:
            raise TableError(
                f"{self.path}, line {line}: column {self._columns[len(row)]} is missing:"
                f" {len(row)} values instead of {wanted}"
            )
        raise TableError(f"{self.path}, line {line}: {len(row)} values instead of {wanted}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
