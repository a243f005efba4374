"""The files of an archive that matter, read into memory within limits.

The headers are read here and not by ``tarfile``: that reads long names whole however long
they claim to be, takes a damaged header in the middle for the end of the archive, and knows
kinds of members that have no place in a course.
"""

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, Final

from api.olx.errors import CourseImportError, quoted

MOST_MEMBERS: Final = 20_000
MEMBER_LIMIT: Final = 20 * 2**20
TOTAL_LIMIT: Final = 512 * 2**20
KEPT_LIMIT: Final = 128 * 2**20
"""Bytes of all files that are kept: definitions and policies."""

NAME_LIMIT: Final = 1_024
PART_LIMIT: Final = 255
HEADER_LIMIT: Final = 64 * 2**10
"""Bytes of a header that only carries a long name or further attributes."""

_BLOCK: Final = tarfile.BLOCKSIZE
_CHUNK: Final = 64 * 2**10
_FILES: Final = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_KINDS: Final = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
}


@dataclass(frozen=True)
class Archive:
    """What is in an archive.

    Attributes:
        files: the definitions and policies, by normalised name.
        names: the names of all files.
    """

    files: dict[str, bytes]
    names: frozenset[str]


@dataclass(frozen=True)
class _Member:
    name: str
    size: int
    is_file: bool


def read_archive(source: str | Path | BinaryIO) -> Archive:
    """Read a gzipped tar archive.

    Raises:
        CourseImportError: no such archive, damaged, or made to do harm.
        OSError: the file cannot be read.
    """
    with ExitStack() as stack:
        file: IO[bytes]
        if isinstance(source, str | Path):
            file = stack.enter_context(Path(source).open("rb"))
        else:
            file = source
        packed = stack.enter_context(gzip.GzipFile(fileobj=file, mode="rb"))
        try:
            return _read(_Counted(packed))
        except EOFError:
            raise CourseImportError("the archive is cut off") from None
        except gzip.BadGzipFile:
            raise CourseImportError("the archive is not gzipped, or damaged") from None
        except zlib.error:
            raise CourseImportError("the archive is damaged") from None


class _Counted:
    """Unpacked bytes, up to a limit, never more at a time than is asked for."""

    def __init__(self, packed: gzip.GzipFile) -> None:
        self._packed = packed
        self._total = 0

    def take(self, size: int) -> bytes:
        """Exactly so many bytes."""
        data = self._some(size)
        if len(data) < size:
            raise CourseImportError("the archive is cut off")
        return data

    def skip(self, size: int) -> None:
        """Pass over so many bytes."""
        while size > 0:
            size -= len(self.take(min(size, _CHUNK)))

    def drain(self) -> None:
        """Read to the end, so that the checksum there is compared."""
        while self._some(_CHUNK):
            pass

    def _some(self, size: int) -> bytes:
        data = self._packed.read(size)
        self._total += len(data)
        if self._total > TOTAL_LIMIT:
            raise CourseImportError(f"the archive unpacks to more than {TOTAL_LIMIT >> 20} MiB")
        return data


def _read(data: _Counted) -> Archive:
    files: dict[str, bytes] = {}
    names: set[str] = set()
    kept = 0
    for member in _members(data):
        name = _normal(member.name)
        parts = name.split("/")
        if not member.is_file or "static" in parts[:2]:
            data.skip(_padded(member.size))
            continue
        if member.size > MEMBER_LIMIT:
            raise CourseImportError(
                f"{quoted(name)} in the archive is larger than {MEMBER_LIMIT >> 20} MiB"
            )
        if name in names:
            raise CourseImportError(f"the archive holds {quoted(name)} twice")
        names.add(name)
        if not _matters(parts):
            data.skip(_padded(member.size))
            continue
        kept += member.size
        if kept > KEPT_LIMIT:
            raise CourseImportError(
                f"the definitions in the archive are larger than {KEPT_LIMIT >> 20} MiB"
            )
        files[name] = data.take(member.size)
        data.skip(_padded(member.size) - member.size)
    data.drain()
    return Archive(files, frozenset(names))


def _matters(parts: list[str]) -> bool:
    name = parts[-1]
    return name.endswith(".xml") or (name.endswith(".json") and name != "assets.json")


def _members(data: _Counted) -> Iterator[_Member]:
    """Each file and directory; its bytes are to be read before the next is asked for."""
    further: dict[str, str] = {}
    count = 0
    while any(block := data.take(_BLOCK)):
        count += 1
        if count > MOST_MEMBERS:
            raise CourseImportError(f"the archive has more than {MOST_MEMBERS:,} members")
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except (tarfile.HeaderError, ValueError):
            raise CourseImportError("the archive is not a tar archive, or damaged") from None
        match info.type:
            case tarfile.GNUTYPE_LONGNAME:
                further["path"] = _text(_header(data, info.size).rstrip(b"\0"))
            case tarfile.GNUTYPE_LONGLINK:  # of a link, which is refused by itself
                _header(data, info.size)
            case tarfile.XHDTYPE | tarfile.SOLARIS_XHDTYPE:
                further |= _attributes(_header(data, info.size))
            case tarfile.XGLTYPE:
                _header(data, info.size)
            case _:
                yield _member(info, further)
                further = {}


def _member(info: tarfile.TarInfo, further: dict[str, str]) -> _Member:
    name = further.get("path", info.name)
    if info.type not in _FILES and info.type != tarfile.DIRTYPE:
        kind = _KINDS.get(info.type, "of a kind that has no place in a course")
        raise CourseImportError(f"{quoted(name)} in the archive is {kind}")
    size = info.size
    if "size" in further:
        given = further["size"]
        if not (given.isascii() and given.isdigit() and len(given) < 20):
            raise CourseImportError("the archive is not a tar archive, or damaged")
        size = int(given)
    if size < 0 or any(key.startswith("GNU.sparse") for key in further):
        raise CourseImportError("the archive is not a tar archive, or damaged")
    is_file = info.type != tarfile.DIRTYPE
    return _Member(name, size if is_file else 0, is_file)


def _header(data: _Counted, size: int) -> bytes:
    if not 0 <= size <= HEADER_LIMIT:
        raise CourseImportError("a name in the archive is too long")
    return data.take(_padded(size))[:size]


def _attributes(records: bytes) -> dict[str, str]:
    """The attributes of a POSIX header: ``length key=value`` and a line end, each."""
    found = {}
    while records:
        length, _, _ = records.partition(b" ")
        end = int(length) if length.isdigit() and len(length) < 8 else 0
        if not (len(length) < end <= len(records) and records[end - 1 : end] == b"\n"):
            raise CourseImportError("the archive is not a tar archive, or damaged")
        key, _, value = records[len(length) + 1 : end - 1].partition(b"=")
        found[_text(key)] = _text(value)
        records = records[end:]
    return found


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _normal(name: str) -> str:
    """The name without ``.`` and empty parts.

    Raises:
        CourseImportError: it leads out of the archive, or is no sensible name.
    """
    parts = name.split("/")
    if name.startswith("/") or ".." in parts:
        raise CourseImportError(f"{quoted(name)} leads out of the archive")
    if len(name) > NAME_LIMIT or any(len(part) > PART_LIMIT for part in parts):
        raise CourseImportError(f"the name {quoted(name)} in the archive is too long")
    if any(ord(character) < 32 or ord(character) == 127 for character in name):
        raise CourseImportError(f"the name {quoted(name)} in the archive has control characters")
    return "/".join(part for part in parts if part not in {"", "."})
