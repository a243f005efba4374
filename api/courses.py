"""How courses are written in answers, as they are now and as they were.

What a course consists of is no secret. What only its staff needs to see are the sources of
problems, which hold the answers, blocks that are hidden from learners, and how it is graded.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from domain.courses.course import Flags
from domain.courses.history import CoursePast
from domain.courses.outline import nest
from domain.grades.policy import DEFAULT_CUTOFFS, DEFAULT_GRADERS, policy_hash
from projections.gradebook.rows import CourseRow

Result = dict[str, Any]
Block = Mapping[str, Any]

DEFAULT_MODES: Final = ({"slug": "audit", "name": "Audit", "expired_at": None},)
"""What a course can be taken in that names no modes."""

_FOR_STAFF: Final = frozenset({"data", "group_access"})


class CourseView(NamedTuple):
    """A course at some moment, wherever it was read."""

    course_id: str
    org: str
    display_name: str
    start: datetime | None
    end: datetime | None
    self_paced: bool
    flags: Flags
    modes: Sequence[Mapping[str, Any]]
    graders: Sequence[Mapping[str, Any]] | None
    cutoffs: Mapping[str, float] | None
    policy_hash: str | None
    version: str | None
    edited_at: datetime | None
    blocks: Sequence[Block]


def view_of_row(row: CourseRow) -> CourseView:
    """A course as it is now."""
    return CourseView(
        flags=Flags(*(getattr(row, name) for name in Flags._fields)),
        **{name: getattr(row, name) for name in CourseView._fields if name != "flags"},
    )


def view_of_past(past: CoursePast) -> CourseView | None:
    """A course as it was; None while it was not registered."""
    if past.details is None:
        return None
    return CourseView(
        course_id=past.course_id,
        org=past.org,
        **past.details._asdict(),
        flags=past.flags,
        modes=past.modes,
        graders=past.graders,
        cutoffs=past.cutoffs,
        policy_hash=past.policy_hash,
        version=past.version,
        edited_at=past.edited_at,
        blocks=past.blocks,
    )


def summary(view: CourseView) -> Result:
    """A course in a list."""
    return {
        "course_id": view.course_id,
        "org": view.org,
        "display_name": view.display_name,
        "start": view.start,
        "end": view.end,
        "self_paced": view.self_paced,
        "modes": list(view.modes or DEFAULT_MODES),
        "version": view.version,
        "edited_at": view.edited_at,
    }


def document(view: CourseView, *, for_staff: bool) -> Result:
    """A course with its outline, and for its staff with how it is graded."""
    blocks = view.blocks if for_staff else list(_public(view.blocks))
    return summary(view) | {
        "flags": view.flags._asdict() if for_staff else None,
        "grading_policy": _policy(view) if for_staff else None,
        "outline": nest(blocks),
    }


def _policy(view: CourseView) -> Result:
    graders, cutoffs = view.graders, view.cutoffs
    is_default = graders is None or cutoffs is None
    if graders is None or cutoffs is None:
        graders, cutoffs = DEFAULT_GRADERS, DEFAULT_CUTOFFS
    return {
        "graders": [dict(grader) for grader in graders],
        "grade_cutoffs": dict(cutoffs),
        "policy_hash": view.policy_hash or policy_hash(graders, cutoffs),
        "is_default": is_default,
    }


def _public(blocks: Iterable[Block]) -> Iterable[Block]:
    """The blocks that are no secret, without what is one. Parents come before children."""
    hidden: set[str] = set()
    for block in blocks:
        if block.get("visible_to_staff_only") or block["parent"] in hidden:
            hidden.add(block["usage_key"])
        else:
            yield {name: value for name, value in block.items() if name not in _FOR_STAFF}
