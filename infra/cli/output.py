"""What commands print: tables for people, JSON for machines, progress, and errors in one line.

Answers go to standard output, everything else to standard error, so that a pipe gets the
answer and nothing else.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from uuid import UUID

import typer

if TYPE_CHECKING:
    from rich.console import Console

USAGE: Final = 2
"""Exit code: the command cannot be carried out as it was given."""

FAILED: Final = 1
"""Exit code: it was tried and did not work."""

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]

Advance = Callable[[int], None]
"""Tells a progress bar how much more is done."""


class CommandError(Exception):
    """A command ends here; the message says why."""

    def __init__(self, message: str, *, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


def out() -> "Console":
    """Standard output. Colours only on a terminal, and never with ``NO_COLOR``."""
    from rich.console import Console

    # A pipe gets whole lines: nothing is cut or folded at 80 columns there.
    return Console(highlight=False, width=None if sys.stdout.isatty() else 200)


def err() -> "Console":
    """Standard error."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def print_json(value: Any) -> None:
    """Print one JSON document on a line of its own."""
    sys.stdout.write(json.dumps(value, default=_plain, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, right: str = ""
) -> None:
    """Print a table.

    Args:
        title: above it.
        columns: the names of its columns.
        rows: its cells; numbers get separators.
        right: names of columns, in one text, that are aligned to the right.
    """
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    aligned = set(right.split())
    for name in columns:
        justify: Literal["left", "right"] = "right" if aligned >= set(name.split()) else "left"
        table.add_column(name, justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*(escape(_cell(value)) for value in row))
    out().print(table)


def print_pairs(title: str, pairs: Mapping[str, object]) -> None:
    """Print names and values, one a line."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    for name, value in pairs.items():
        table.add_row(name, escape(_cell(value)))
    out().print(table)


@contextmanager
def progress(what: str, total: int | None, unit: str) -> Iterator[Advance]:
    """Show on a terminal how far something is, how fast it goes and how long it still takes."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=err(),
    ) as bar:
        task = bar.add_task(what, total=total, rate="")

        def advance(count: int) -> None:
            bar.update(task, advance=count)
            speed = bar.tasks[0].speed
            if speed:
                bar.update(task, rate=f"{speed:,.0f} {unit}/s")

        yield advance


def print_error(message: str) -> None:
    """Say on standard error what is wrong."""
    sys.stderr.write(f"gradelog: {message}\n")


def bytes_text(size: int) -> str:
    """A size for people."""
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            break
        amount /= 1000
    return f"{amount:,.0f} {unit}" if unit == "B" else f"{amount:,.1f} {unit}"


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.1f}"
        case datetime():
            return value.strftime("%Y-%m-%d %H:%M:%S")
        case _:
            return str(value)


def _plain(value: object) -> object:
    match value:
        case datetime():
            return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
        case UUID() | Path():
            return str(value)
        case timedelta():
            return value.total_seconds()
        case _:
            raise TypeError(f"{type(value).__name__} has no JSON form")
