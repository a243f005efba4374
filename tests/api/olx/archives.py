"""Small archives: of honest courses, and of others."""

import gzip
import io
import tarfile
from collections.abc import Iterable, Mapping

POINTER = '<course url_name="R" org="O" course="C"/>'


def pack(
    files: Mapping[str, str | bytes], members: Iterable[tarfile.TarInfo] = (), top: str = "course/"
) -> io.BytesIO:
    """A gzipped archive of these files, and of members without content."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as archive:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(top + name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for member in members:
            archive.addfile(member)
    packed.seek(0)
    return packed


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def course(content: str = "", attributes: str = "", **others: str | bytes) -> io.BytesIO:
    """A course with this in its root, and with further files by their names."""
    return pack(files(content, attributes, **others))


def files(content: str = "", attributes: str = "", **others: str | bytes) -> dict[str, str | bytes]:
    root = f"<course {attributes}>{content}</course>"
    return {"course.xml": POINTER, "course/R.xml": root, **others}


def unit(content: str, **others: str | bytes) -> io.BytesIO:
    """A course with one unit of this content."""
    return pack(in_unit(content, **others))


def in_unit(content: str, **others: str | bytes) -> dict[str, str | bytes]:
    root = (
        '<chapter url_name="c"><sequential url_name="s">'
        f'<vertical url_name="v">{content}</vertical></sequential></chapter>'
    )
    return {**files(root), **others}


def gzipped(data: bytes) -> io.BytesIO:
    return io.BytesIO(gzip.compress(data, 1))
