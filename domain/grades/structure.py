"""A course as grading sees it: subsections, the problems in them, and who can see what.

Read once from the blocks of a published outline and then only looked at: whatever a block
inherits is worked out here, so that a score costs no walk through the tree.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from domain.grades.policy import GradingPolicy
from domain.grades.visibility import (
    ENROLLMENT_TRACK_PARTITION,
    GROUP_OF_MODE,
    Gate,
    Viewer,
    visible,
)

__all__ = [
    "ENROLLMENT_TRACK_PARTITION",
    "GROUP_OF_MODE",
    "CourseStructure",
    "Gate",
    "LabelledSubsection",
    "Problem",
    "Subsection",
    "Viewer",
    "read_structure",
    "visible",
]

_STRAIGHT_PATH: Final = ("course", "chapter", "sequential", "vertical", "problem")
_STAFF: Final = "visible_to_staff_only"


@dataclass(frozen=True, slots=True)
class Problem:
    """A block with a score, as it stands in one subsection.

    Attributes:
        weight: what its raw points are scaled to; None leaves them.
        max_score: raw points, of the current content.
        possible: ``max_score`` on the scale of the weight.
        graded: whether an unanswered one counts for the grade: flagged, and worth points.
        graded_by_flag: its own flag or the nearest one between it and the subsection, else True.
            The subsection's own flag is not asked.
        gates: its own and those of all blocks above.
        direct: stands exactly at course, chapter, sequential, vertical, problem.
        data: the source of the problem.
    """

    usage_key: str
    display_name: str
    type: str
    weight: float | None
    max_score: float
    possible: float
    graded: bool
    graded_by_flag: bool
    gates: tuple[Gate, ...]
    direct: bool
    data: str | None


@dataclass(frozen=True, slots=True)
class Subsection:
    """A sequential below a chapter: what an assignment is.

    Attributes:
        format: the assignment type; may be none that the policy knows.
        graded: its own flag, else that of the nearest block above that has one, else False.
        staff_only: its own flag, or that of any block above.
        hidden_from_toc: its own flag, or its chapter's.
        listed: in the table of contents: neither it nor its chapter carries a flag of its own
            that hides it there or shows it to staff only.
        gates: its own and those of all blocks above.
        problems: all below it that have a score, children before their parents.
        possible_all: what all problems are worth together, seen or not.
        possible_graded: the same of those that count for the grade.
        open_inside: no problem asks more of a viewer than the subsection itself.
    """

    usage_key: str
    display_name: str
    format: str | None
    graded: bool
    chapter_key: str
    chapter_name: str
    due: datetime | None
    staff_only: bool
    hidden_from_toc: bool
    listed: bool
    gates: tuple[Gate, ...]
    problems: tuple[Problem, ...]
    possible_all: float = field(init=False)
    possible_graded: float = field(init=False)
    open_inside: bool = field(init=False)

    def __post_init__(self) -> None:
        possible_all = possible_graded = 0.0
        for problem in self.problems:
            possible_all += problem.possible
            if problem.graded:
                possible_graded += problem.possible
        object.__setattr__(self, "possible_all", possible_all)
        object.__setattr__(self, "possible_graded", possible_graded)
        open_inside = all(problem.gates == self.gates for problem in self.problems)
        object.__setattr__(self, "open_inside", open_inside)


class LabelledSubsection(NamedTuple):
    """A subsection with its number among those of its type."""

    subsection: Subsection
    label: str | None
    """``HW 02``; None for a type the policy does not know, or where there is no number."""
    short_label: str | None
    """``HW``; None for a type the policy does not know."""


@dataclass(frozen=True, slots=True)
class CourseStructure:
    """All that grading needs to know of a published outline.

    Attributes:
        subsections: all there are, in course order.
        by_key: the same by usage key.
        subsections_of: usage key of a problem to the subsections it stands in.
        uniform: nothing is hidden from anybody, at any time.
    """

    display_name: str
    subsections: tuple[Subsection, ...]
    by_key: Mapping[str, Subsection] = field(hash=False)
    subsections_of: Mapping[str, tuple[Subsection, ...]] = field(hash=False)
    keys: frozenset[str]
    uniform: bool

    def has(self, usage_key: str) -> bool:
        """Whether the course has this block, of whatever type."""
        return usage_key in self.keys

    def graded_subsections(self) -> tuple[Subsection, ...]:
        """Those of the gradebook: graded, and not for staff only. Not filtered by learner."""
        return tuple(s for s in self.subsections if s.graded and not s.staff_only)

    def gradebook_labels(self, policy: GradingPolicy) -> list[LabelledSubsection]:
        """The subsections of the gradebook, numbered from 1 in each assignment type."""
        return _numbered(policy, self.graded_subsections())

    def grading_info_subsections(
        self, policy: GradingPolicy, *, graded_only: bool = False
    ) -> list[LabelledSubsection]:
        """The subsections in the table of contents; only graded ones have numbers.

        A graded one that is hidden from the contents has a number in the gradebook but none
        here, so the later ones of its type differ, as they do in the peer.
        """
        listed = [s for s in self.subsections if s.listed and (s.graded or not graded_only)]
        return _numbered(policy, listed)


def _numbered(policy: GradingPolicy, subsections: Sequence[Subsection]) -> list[LabelledSubsection]:
    labels = policy.short_labels
    counts: dict[str, int] = {}
    found = []
    for subsection in subsections:
        short_label = None if subsection.format is None else labels.get(subsection.format)
        label = None
        if subsection.graded and subsection.format is not None and short_label is not None:
            number = counts[subsection.format] = counts.get(subsection.format, 0) + 1
            label = f"{short_label} {number:02d}"
        found.append(LabelledSubsection(subsection, label, short_label))
    return found


def read_structure(blocks: Sequence[Mapping[str, Any]]) -> CourseStructure:
    """The structure of a published outline; the first block is the course.

    A block that does not hang below the first is not of the course. Without blocks the course
    is empty.
    """
    children: dict[str | None, list[Mapping[str, Any]]] = {}
    for block in blocks:
        children.setdefault(block.get("parent"), []).append(block)
    reading = _Reading()
    if blocks:
        reading.walk(blocks[0], children)
    found = tuple(place.subsection() for place in reading.sequentials)
    subsections_of: dict[str, tuple[Subsection, ...]] = {}
    for subsection in found:
        for problem in subsection.problems:
            others = subsections_of.get(problem.usage_key, ())
            subsections_of[problem.usage_key] = (*others, subsection)
    return CourseStructure(
        display_name=blocks[0]["display_name"] if blocks else "",
        subsections=found,
        by_key={subsection.usage_key: subsection for subsection in found},
        subsections_of=subsections_of,
        keys=frozenset(reading.seen),
        uniform=not reading.gated,
    )


@dataclass(slots=True)
class _Place:
    """A block while its descendants are walked, with all that they inherit."""

    block: Mapping[str, Any]
    depth: int
    straight: bool
    graded: bool | None
    staff_only: bool
    gates: tuple[Gate, ...]
    chapter: Mapping[str, Any] | None
    around: tuple[tuple["_Place", bool | None], ...]
    """The subsections it stands in, each with the nearest flag below it."""
    problems: list[Problem] = field(default_factory=list)

    def subsection(self) -> Subsection:
        chapter = self.chapter or {}
        hidden = _flag(self.block, "hide_from_toc") or _flag(chapter, "hide_from_toc")
        for_staff = _flag(self.block, _STAFF) or _flag(chapter, _STAFF)
        return Subsection(
            usage_key=self.block["usage_key"],
            display_name=self.block["display_name"],
            format=self.block.get("format") or None,
            graded=bool(self.graded),
            chapter_key=chapter["usage_key"],
            chapter_name=chapter["display_name"],
            due=_moment(self.block.get("due")),
            staff_only=self.staff_only,
            hidden_from_toc=hidden,
            listed=not hidden and not for_staff,
            gates=self.gates,
            problems=tuple(self.problems),
        )


class _Reading:
    """One walk through a course. Without recursion: nothing limits how deep blocks nest."""

    def __init__(self) -> None:
        self.sequentials: list[_Place] = []
        self.seen: set[str] = set()
        self.gated = False

    def walk(
        self,
        course: Mapping[str, Any],
        children: Mapping[str | None, Sequence[Mapping[str, Any]]],
    ) -> None:
        above = _Place({}, -1, True, None, False, (), None, ())
        stack: list[tuple[_Place, Iterator[Mapping[str, Any]]]] = [(above, iter([course]))]
        while stack:
            place, rest = stack[-1]
            block = next(rest, None)
            if block is None:
                stack.pop()
                self._leave(place)
            elif block["usage_key"] not in self.seen:
                self.seen.add(block["usage_key"])
                below = self._enter(block, place)
                stack.append((below, iter(children.get(block["usage_key"], ()))))

    def _enter(self, block: Mapping[str, Any], above: _Place) -> _Place:
        depth = above.depth + 1
        gates = above.gates
        gate = _gate(block)
        if gate is not None:
            self.gated = True
            if gate not in gates:
                gates = (*gates, gate)
        flag = block.get("graded")
        around = above.around
        if flag is not None:
            around = tuple((place, flag) for place, _ in around)
        place = _Place(
            block=block,
            depth=depth,
            straight=above.straight
            and depth < len(_STRAIGHT_PATH)
            and block["type"] == _STRAIGHT_PATH[depth],
            graded=above.graded if flag is None else flag,
            staff_only=above.staff_only or _flag(block, _STAFF),
            gates=gates,
            chapter=block if block["type"] == "chapter" else above.chapter,
            around=around,
        )
        if block["type"] == "sequential" and place.chapter is not None:
            self.sequentials.append(place)
            place.around = (*around, (place, None))
        return place

    def _leave(self, place: _Place) -> None:
        max_score = place.block.get("max_score")
        if max_score is None:
            return
        for subsection, flag in place.around:
            if subsection is not place:
                subsection.problems.append(_problem(place, float(max_score), flag))


def _problem(place: _Place, max_score: float, flag: bool | None) -> Problem:
    block = place.block
    weight = block.get("weight")
    possible = max_score if weight is None or max_score == 0 else float(weight)
    by_flag = True if flag is None else flag
    return Problem(
        usage_key=block["usage_key"],
        display_name=block["display_name"],
        type=block["type"],
        weight=None if weight is None else float(weight),
        max_score=max_score,
        possible=possible,
        graded=by_flag and possible > 0,
        graded_by_flag=by_flag,
        gates=place.gates,
        direct=place.straight and place.depth == len(_STRAIGHT_PATH) - 1,
        data=block.get("data"),
    )


def _gate(block: Mapping[str, Any]) -> Gate | None:
    """What the block itself asks; None if it asks nothing."""
    start = _moment(block.get("start"))
    staff_only = _flag(block, _STAFF)
    access = block.get("group_access") or {}
    # An empty list of groups means that the partition does not matter.
    groups = {str(name): frozenset(map(int, ids)) for name, ids in access.items() if ids}
    if start is None and not staff_only and not groups:
        return None
    return Gate(start, staff_only, groups)


def _flag(block: Mapping[str, Any], name: str) -> bool:
    return bool(block.get(name))


def _moment(value: str | datetime | None) -> datetime | None:
    if value is None:
        return None
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
