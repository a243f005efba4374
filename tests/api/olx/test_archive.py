"""Archives that are not what they should be are refused, whatever they hold."""

import gzip
import io
import random
import tarfile
import tracemalloc
from typing import BinaryIO, cast

import pytest

from api.olx import CourseImportError, archive, read_course
from tests.api.olx.archives import course, files, gzipped, member, pack


def refusal(source: io.BytesIO) -> str:
    with pytest.raises(CourseImportError) as refused:
        read_course(source)
    message = str(refused.value)
    assert "\n" not in message
    assert message.isprintable()
    return message


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("/etc/passwd", "leads out of the archive"),
        ("course/../../x.xml", "leads out of the archive"),
        ("..", "leads out of the archive"),
        ("course/a\nb.xml", "control characters"),
        ("course/" + "x" * 256, "too long"),
        ("course/" + "x/" * 600 + "x", "too long"),
        ("course/" + "x/" * 60_000, "too long"),
    ],
)
@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_a_name_that_leads_elsewhere_is_refused(name: str, why: str, form: int) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", format=form) as tar:
        tar.addfile(member(name))
    packed.seek(0)
    assert why in refusal(packed)


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (tarfile.SYMTYPE, "a symbolic link"),
        (tarfile.LNKTYPE, "a hard link"),
        (tarfile.CHRTYPE, "a device"),
        (tarfile.BLKTYPE, "a device"),
        (tarfile.FIFOTYPE, "a pipe"),
        (tarfile.GNUTYPE_SPARSE, "of a kind that has no place in a course"),
        (b"Z", "of a kind that has no place in a course"),
    ],
)
@pytest.mark.parametrize("name", ["course/x.xml", "course/static/x.png"])
def test_only_files_and_directories_are_taken(name: str, kind: bytes, what: str) -> None:
    packed = pack(files(), [member(name, kind, "course.xml")])
    assert refusal(packed) == f"'{name}' in the archive is {what}"


def test_a_long_name_of_a_link_does_not_hide_it() -> None:
    packed = pack(files(), [member("course/x.xml", tarfile.SYMTYPE, "y" * 300)])
    assert "a symbolic link" in refusal(packed)


def test_a_sparse_file_in_the_newer_form_is_refused() -> None:
    info = member("course/x.xml")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.name": "x"}
    assert "damaged" in refusal(pack(files(), [info]))


@pytest.mark.slow
def test_too_many_members_are_refused() -> None:
    packed = pack(files(), (member(f"course/static/{n}") for n in range(archive.MOST_MEMBERS)))
    assert refusal(packed) == "the archive has more than 20,000 members"


def test_a_large_file_is_taken_among_the_static_ones_only() -> None:
    large = b"\0" * (archive.MEMBER_LIMIT + 1)
    assert read_course(pack({**files(), "static/film.mp4": large})).course_id
    assert "larger than 20 MiB" in refusal(pack({**files(), "html/x.html": large}))
    assert "larger than 20 MiB" in refusal(pack({**files(), "html/static/x.html": large}))


@pytest.mark.slow
def test_definitions_that_are_large_together_are_refused() -> None:
    many = {f"html/{n}.xml": b" " * archive.MEMBER_LIMIT for n in range(7)}
    assert "definitions in the archive are larger" in refusal(pack({**files(), **many}))


class _Endless(io.RawIOBase):
    """A gzip file that goes on for as long as anybody reads."""

    def __init__(self, start: bytes) -> None:
        self.given = 0
        self._left = gzip.compress(start, 1)
        self._more = gzip.compress(b"\0" * 2**24)

    def read(self, size: int = -1) -> bytes:
        assert size > 0
        while len(self._left) < size:
            self._left += self._more
        given, self._left = self._left[:size], self._left[size:]
        self.given += size
        return given


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["course/static/zeros.bin", None])
def test_a_small_file_that_unpacks_to_a_large_one_is_refused_in_little_memory(
    name: str | None,
) -> None:
    bomb = _Endless(_header(name, 2**40) if name else b"\0" * 512)
    tracemalloc.start()
    try:
        with pytest.raises(CourseImportError, match="more than 512 MiB"):
            read_course(cast(BinaryIO, bomb))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * 2**20
    assert bomb.given < 10 * 2**20


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_that_claims_to_be_huge_is_not_read(kind: bytes) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, 2**33
    assert "too long" in refusal(gzipped(info.tobuf(tarfile.GNU_FORMAT) + b"\0" * 4096))


@pytest.mark.parametrize(
    "records", [b"99 path=x\n", b"x path=y\n", b"0 path=y\n", b"3 a", b"\xb2 path=x\n", b"-5 a=b\n"]
)
def test_a_header_of_nonsense_is_refused(records: bytes) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, len(records)
    data = info.tobuf() + records.ljust(512, b"\0") + tarfile.TarInfo("a").tobuf() + bytes(1024)
    assert "damaged" in refusal(gzipped(data))


def test_a_size_below_zero_is_refused() -> None:
    header = bytearray(tarfile.TarInfo("course/x.xml").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 12
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    assert "damaged" in refusal(gzipped(bytes(header) + bytes(1024)))


def test_an_archive_that_is_cut_off_anywhere_is_refused() -> None:
    whole = course("<chapter url_name='a'/>").getvalue()
    for end in range(0, len(whole), 7):
        assert refusal(io.BytesIO(whole[:end]))
    plain = gzip.decompress(whole)
    for end in range(0, 512 * 5, 256):
        assert refusal(gzipped(plain[:end])) == "the archive is cut off"


def test_a_damaged_archive_is_refused_or_read() -> None:
    chance = random.Random(7)
    whole = course("<chapter url_name='a'/>").getvalue()
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        try:
            read_course(io.BytesIO(bytes(damaged)))
        except CourseImportError:
            refused += 1
    assert refused > 200  # what is left are header fields of gzip that mean nothing


def test_damage_in_the_middle_is_not_the_end() -> None:
    plain = bytearray(gzip.decompress(course("<chapter url_name='a'/>").getvalue()))
    plain[1024 + 20] ^= 1
    assert "damaged" in refusal(gzipped(bytes(plain)))


@pytest.mark.parametrize(
    "data", [b"", b"PK\3\4 this is a zip file", gzip.compress(mtime=0, data=b"no tar" * 99)]
)
def test_other_files_are_refused(data: bytes) -> None:
    assert refusal(io.BytesIO(data))


def test_a_file_that_is_there_twice_is_refused() -> None:
    assert refusal(pack(files(), [member("course/./course.xml")])) == (
        "the archive holds 'course/course.xml' twice"
    )


def test_an_archive_without_a_course_is_refused() -> None:
    assert "no course.xml" in refusal(pack({"html/a.html": "x", "static/course.xml": "<course/>"}))


def test_an_archive_of_two_courses_is_refused() -> None:
    both = {"a/" + name: data for name, data in files().items()}
    both |= {"b/" + name: data for name, data in files().items()}
    assert refusal(pack(both, top="")) == (
        "there are several courses in the archive: 'a/course.xml' and 'b/course.xml'"
    )


@pytest.mark.parametrize("top", ["", "./", "course/", "./some/where/"])
def test_the_course_is_found_where_it_is(top: str) -> None:
    assert read_course(pack(files(), top=top)).course_id == "course-v1:O+C+R"


def test_a_run_and_a_block_may_be_called_course() -> None:
    found = read_course(
        pack(
            {
                "course.xml": '<course url_name="course" org="O" course="C"/>',
                "course/course.xml": '<course><chapter url_name="course"/></course>',
                "chapter/course.xml": '<chapter display_name="Found"/>',
            }
        )
    )
    assert found.course_id == "course-v1:O+C+course"
    assert found.blocks[1]["display_name"] == "Found"


def test_a_path_that_is_not_there_is_an_error_of_the_system() -> None:
    with pytest.raises(FileNotFoundError):
        read_course("/no/such/file.tar.gz")
