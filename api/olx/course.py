"""An exported course: where it is in the archive, its own settings, its grading policy."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Final
from xml.etree.ElementTree import Element

from api.olx.archive import read_archive
from api.olx.blocks import Blocks
from api.olx.definitions import Definitions, file_of
from api.olx.documents import parse_json
from api.olx.errors import BrokenPartError, CourseImportError, Report, quoted
from domain.grades.policy import DEFAULT_CUTOFFS, DEFAULT_GRADERS
from domain.keys import CourseKey, InvalidKeyError, parse_block_key, parse_course_key

ROOT: Final = "course.xml"
DEFAULT_ORG: Final = "edx"

LONGEST_RUN: Final = 255

_OWN_NAME: Final = frozenset({"url_name", "org", "course"})


@dataclass(frozen=True)
class ImportedCourse:
    """A course as it was exported.

    Attributes:
        course_id: of the archive, or as it was asked for.
        display_name: of the course.
        start: in UTC; None if it has no such date.
        end: the same.
        self_paced: whether learners set their own dates.
        blocks: in document order, parents first, each with what it says itself.
        graders: of the grading policy, with the keys they were given.
        cutoffs: least share of the points for each letter.
        report: what was skipped or repaired, one line each.
    """

    course_id: str
    display_name: str
    start: datetime | None
    end: datetime | None
    self_paced: bool
    blocks: list[dict[str, Any]]
    graders: list[Any]
    cutoffs: dict[str, Any]
    report: list[str]

    @property
    def counts(self) -> dict[str, int]:
        """How many blocks there are of each type, those of the outline first."""
        return dict(Counter(block["type"] for block in self.blocks))


def read_course(source: str | Path | BinaryIO, *, course_id: str | None = None) -> ImportedCourse:
    """Read the archive of an exported course.

    Args:
        source: the ``.tar.gz``: its path, or a file open for reading bytes.
        course_id: key under which it is taken in; by default the one in the archive.

    Raises:
        CourseImportError: no course, damaged, or made to do harm.
        InvalidKeyError: ``course_id`` is no key of a course.
        OSError: the file cannot be read.
    """
    wanted = None if course_id is None else parse_course_key(course_id).without_branch
    archive = read_archive(source)
    directory = _directory_of(archive.names)
    files = {
        name.removeprefix(directory): data
        for name, data in archive.files.items()
        if name.startswith(directory)
    }
    names = frozenset(
        name.removeprefix(directory) for name in archive.names if name.startswith(directory)
    )
    return _read(files, names, wanted)


def _directory_of(names: frozenset[str]) -> str:
    """Where the one ``course.xml`` is, ending in a slash unless it is at the top."""
    found = {name.removesuffix(ROOT) for name in names if name == ROOT or name.endswith("/" + ROOT)}
    # Further down it is the definition of a block that is called "course".
    roots = sorted(
        one for one in found if not any(one != other and one.startswith(other) for other in found)
    )
    if not roots:
        raise CourseImportError("there is no course.xml in the archive")
    if len(roots) > 1:
        raise CourseImportError(
            f"there are several courses in the archive: {quoted(roots[0] + ROOT)}"
            f" and {quoted(roots[1] + ROOT)}"
        )
    return roots[0]


def _read(
    files: Mapping[str, bytes], names: frozenset[str], wanted: CourseKey | None
) -> ImportedCourse:
    report = Report()
    definitions = Definitions(files, names, report)
    try:
        head = definitions.read(ROOT)
        run = head.get("url_name") or ""
        if len(run) > LONGEST_RUN:
            raise CourseImportError("the name of the run is too long")
        is_pointer = not len(head) and bool(run) and head.attrib.keys() <= _OWN_NAME
        root = definitions.read(file_of("course", run)) if is_pointer else head
    except BrokenPartError as broken:
        raise CourseImportError(f"the course cannot be read: {broken}") from None
    if head.tag != "course" or root.tag != "course":
        raise CourseImportError("course.xml holds no course")
    key = wanted or _key(head, root, report)
    try:
        parse_block_key(str(key.root_block))
    except InvalidKeyError:
        raise CourseImportError(
            f"the key {quoted(str(key))} leaves no room for those of blocks"
        ) from None
    blocks = Blocks(definitions, _policy(files, run), key, report)
    settings = blocks.add_course(root, run)
    graders, cutoffs = _grading_policy(files, run, report)
    _report_rest(files, definitions.used, report)
    return ImportedCourse(
        course_id=str(key),
        display_name=blocks.found[0]["display_name"],
        start=settings.moment("start"),
        end=settings.moment("end"),
        self_paced=settings.flag("self_paced") or False,
        blocks=blocks.found,
        graders=graders,
        cutoffs=cutoffs,
        report=report.lines(),
    )


def _key(head: Element, root: Element, report: Report) -> CourseKey:
    """The key that the archive gives the course."""
    org = head.get("org") or root.get("org")
    if org is None:
        org = DEFAULT_ORG
        report.add(f"the course names no organisation: it is taken to be {DEFAULT_ORG}")
    number = head.get("course") or root.get("course") or ""
    run = head.get("url_name") or root.get("url_name") or ""
    text = f"course-v1:{org}+{number}+{run}"
    try:
        key = parse_course_key(text)
    except InvalidKeyError:
        key = None
    if key is None or key.branch:
        raise CourseImportError(
            f"the archive gives the course the key {quoted(text)}, which is none"
        )
    return key


def _policy(files: Mapping[str, bytes], run: str) -> dict[str, Any]:
    for name in (f"policies/{run}/policy.json", f"policies/{run}.json"):
        if name in files:
            return parse_json(name, files[name])
    return {}


def _grading_policy(
    files: Mapping[str, bytes], run: str, report: Report
) -> tuple[list[Any], dict[str, Any]]:
    """The graders and cut-offs; what is not said is as in the default policy."""
    given: dict[str, Any] = {}
    for name in (f"policies/{run}/grading_policy.json", "grading_policy.json"):
        if name in files:
            given = parse_json(name, files[name])
            break
    graders = given.get("GRADER", [dict(grader) for grader in DEFAULT_GRADERS])
    cutoffs = given.get("GRADE_CUTOFFS", dict(DEFAULT_CUTOFFS))
    if not isinstance(graders, list) or not isinstance(cutoffs, dict):
        raise CourseImportError(f"{quoted(name)} is no grading policy")
    for part, what in (("GRADER", "graders"), ("GRADE_CUTOFFS", "cut-offs")):
        if part not in given:
            report.add(f"no {what} in the archive: those of the default policy are taken")
    return graders, cutoffs


def _report_rest(files: Mapping[str, bytes], used: set[str], report: Report) -> None:
    """Tell of drafts, and of definitions to which nothing leads."""
    drafts = sum(name.startswith("drafts/") for name in files)
    if drafts:
        report.add(f"{drafts} files of unpublished drafts: skipped")
    folders = {name.partition("/")[0] for name in used if "/" in name}
    idle = sum(name.partition("/")[0] in folders for name in files.keys() - used)
    if idle:
        report.add(f"{idle} definitions belong to no block that is read: skipped")
