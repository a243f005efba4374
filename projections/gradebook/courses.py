"""Folds what is published of courses."""

from collections.abc import Sequence
from typing import Any, Final

import orjson
from psycopg import Connection

from domain.courses.course import (
    CourseDetailsChanged,
    CourseFlagsChanged,
    CourseModesChanged,
    CourseOutlinePublished,
    CourseRegistered,
    GradingPolicyChanged,
)
from domain.events import Event, Recorded
from domain.grades.learner_grades import (
    GradesCalculated,
    SubsectionOverrideApplied,
    SubsectionOverrideRemoved,
)
from domain.learners.cohort import CohortingChanged
from projections.bulk import columns, execute, fetch
from projections.gradebook import marks
from projections.gradebook.tables import text_of
from projections.read_model import Row

EVENTS: Final[tuple[type[Event], ...]] = (
    CourseRegistered,
    CourseDetailsChanged,
    CourseFlagsChanged,
    CourseModesChanged,
    CourseOutlinePublished,
    GradingPolicyChanged,
    CohortingChanged,
)

_COLUMNS: Final = (
    *("course_id", "org", "display_name", "start_at", "end_at", "self_paced", "registered"),
    *("writable_gradebook", "bulk_management", "freeze_after_end"),
    *("rejected_exam_overrides_grade", "is_cohorted", "modes", "policy_hash", "version"),
    *("edited_at", "layout_position"),
)
_FLAGS: Final = (
    *("writable_gradebook", "bulk_management", "freeze_after_end"),
    "rejected_exam_overrides_grade",
)
_NEW: Final[dict[str, Any]] = {
    "org": None,
    "display_name": None,
    "start_at": None,
    "end_at": None,
    "self_paced": False,
    "registered": False,
    "writable_gradebook": True,
    "bulk_management": False,
    "freeze_after_end": False,
    "rejected_exam_overrides_grade": False,
    "is_cohorted": False,
    "modes": "[]",
    "policy_hash": None,
    "version": None,
    "edited_at": None,
    "layout_position": 0,
}
_FIND: Final = """
SELECT course_id, org, display_name, start_at, end_at, self_paced, registered,
    writable_gradebook, bulk_management, freeze_after_end, rejected_exam_overrides_grade,
    is_cohorted, modes, policy_hash, version, edited_at, layout_position
FROM courses WHERE course_id = ANY (%b::text[])
"""
_UPSERT: Final = """
INSERT INTO courses (course_id, org, display_name, start_at, end_at, self_paced, registered,
    writable_gradebook, bulk_management, freeze_after_end, rejected_exam_overrides_grade,
    is_cohorted, modes, policy_hash, version, edited_at, layout_position)
SELECT * FROM unnest(%b::text[], %b::text[], %b::text[], %b::timestamptz[], %b::timestamptz[],
    %b::bool[], %b::bool[], %b::bool[], %b::bool[], %b::bool[], %b::bool[], %b::bool[],
    %b::text[], %b::text[], %b::text[], %b::timestamptz[], %b::bigint[])
ON CONFLICT (course_id) DO UPDATE
SET org = excluded.org, display_name = excluded.display_name, start_at = excluded.start_at,
    end_at = excluded.end_at, self_paced = excluded.self_paced, registered = excluded.registered,
    writable_gradebook = excluded.writable_gradebook,
    bulk_management = excluded.bulk_management, freeze_after_end = excluded.freeze_after_end,
    rejected_exam_overrides_grade = excluded.rejected_exam_overrides_grade,
    is_cohorted = excluded.is_cohorted, modes = excluded.modes,
    policy_hash = excluded.policy_hash, version = excluded.version,
    edited_at = excluded.edited_at, layout_position = excluded.layout_position
"""
_OUTLINES: Final = """
SELECT course_id, blocks, graders, cutoffs FROM outlines
WHERE course_id = ANY (%b::text[])
"""
_UPSERT_OUTLINES: Final = """
INSERT INTO outlines (course_id, blocks, graders, cutoffs)
SELECT * FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[])
ON CONFLICT (course_id) DO UPDATE
SET blocks = excluded.blocks, graders = excluded.graders, cutoffs = excluded.cutoffs
"""
_ORDINALS: Final = "SELECT course_id, ordinals FROM outlines WHERE course_id = ANY (%b::text[])"
_SET_ORDINALS: Final = """
INSERT INTO outlines (course_id, ordinals) SELECT * FROM unnest(%b::text[], %b::text[])
ON CONFLICT (course_id) DO UPDATE SET ordinals = excluded.ordinals
"""
_TOUCH: Final = """
INSERT INTO courses AS c (course_id, changed_position, people_position, active_enrollments)
SELECT * FROM unnest(%b::text[], %b::bigint[], %b::bigint[], %b::int[])
ON CONFLICT (course_id) DO UPDATE
SET changed_position = greatest(c.changed_position, excluded.changed_position),
    people_position = greatest(c.people_position, excluded.people_position),
    active_enrollments = c.active_enrollments + excluded.active_enrollments
"""


class Ordinals:
    """Where the grades of a subsection stand in the records of its course."""

    def __init__(self, keys: Sequence[str] = ()) -> None:
        self._of: dict[str, int] = {key: n for n, key in enumerate(keys)}
        self.changed = False

    def of(self, usage_key: str) -> int:
        """The ordinal of a subsection; a new one when it was never seen before."""
        found = self._of.get(usage_key)
        if found is None:
            found = self._of[usage_key] = len(self._of)
            self.changed = True
        return found

    def keys(self) -> list[str]:
        """The usage keys in order."""
        return list(self._of)


class Changes:
    """Which courses a batch touched, up to which position, and who came or left."""

    def __init__(self) -> None:
        self._positions: dict[str, int] = {}
        self._people: dict[str, int] = {}
        self._active: dict[str, int] = {}

    def touch(self, course_id: str, position: int, *, active: int = 0) -> None:
        """Note a change of a course."""
        self._positions[course_id] = max(position, self._positions.get(course_id, 0))
        if active:
            self._active[course_id] = self._active.get(course_id, 0) + active

    def show(self, course_id: str, position: int) -> None:
        """Note how somebody in a course is called, since that position."""
        self._people[course_id] = max(position, self._people.get(course_id, 0))

    def write(self, db: Connection[Row]) -> None:
        """Write them to the courses, also to those that are not published yet."""
        people, active = self._people, self._active
        rows = [(c, p, people.get(c, 0), active.get(c, 0)) for c, p in self._positions.items()]
        rows += [(c, 0, p, 0) for c, p in people.items() if c not in self._positions]
        if rows:
            execute(db, _TOUCH, *columns(rows))


def given_ordinals(db: Connection[Row], events: Sequence[Recorded]) -> dict[str, Ordinals]:
    """The ordinals by course, with those that these events give, in the order of the log.

    An outline gives one to each of its subsections, a grade to its own if it is the first to
    name it.
    """
    course_ids = list({recorded.event.course_id for recorded in events})  # type: ignore[attr-defined]
    found: dict[str, str] = dict(fetch(db, _ORDINALS, course_ids))
    ordinals = {c: Ordinals(orjson.loads(found[c]) if c in found else ()) for c in course_ids}
    for recorded in events:
        event = recorded.event
        of = ordinals[event.course_id].of  # type: ignore[attr-defined]
        if isinstance(event, GradesCalculated):
            for subsection in event.subsections:
                of(subsection["usage_key"])
        elif isinstance(event, SubsectionOverrideApplied | SubsectionOverrideRemoved):
            of(event.usage_key)
        elif isinstance(event, CourseOutlinePublished):
            for block in event.blocks:
                if block["type"] == "sequential":
                    of(block["usage_key"])
    return ordinals


def write_ordinals(db: Connection[Row], ordinals: dict[str, Ordinals]) -> None:
    """Write those that have grown."""
    if rows := [(c, text_of(o.keys())) for c, o in ordinals.items() if o.changed]:
        execute(db, _SET_ORDINALS, *columns(rows))


def fold(
    db: Connection[Row], events: Sequence[Recorded], changes: Changes, noted: marks.Marks
) -> None:
    """Keep the latest of everything that is published of a course."""
    course_ids = list({recorded.event.course_id for recorded in events})  # type: ignore[attr-defined]
    found = fetch(db, _FIND, course_ids)
    courses = {row[0]: dict(zip(_COLUMNS, row, strict=True)) for row in found}
    layouts = _Layouts(db, events)
    for recorded in events:
        event = recorded.event
        course_id: str = event.course_id  # type: ignore[attr-defined]
        course = courses.get(course_id)
        if course is None:
            course = courses[course_id] = {"course_id": course_id, **_NEW}
        changes.touch(course_id, recorded.position)
        if isinstance(event, CourseOutlinePublished | GradingPolicyChanged):
            layouts.fold(course, event, recorded.position)
        else:
            _apply(course, event)
    execute(db, _UPSERT, *columns([tuple(c[n] for n in _COLUMNS) for c in courses.values()]))
    layouts.write(db, noted)


def _apply(course: dict[str, Any], event: Event) -> None:
    if isinstance(event, CourseRegistered | CourseDetailsChanged):
        if isinstance(event, CourseRegistered):
            course |= {"org": event.org, "registered": True}
        course |= {
            "display_name": event.display_name,
            "start_at": event.start,
            "end_at": event.end,
            "self_paced": event.self_paced,
        }
    elif isinstance(event, CourseFlagsChanged):
        course |= {name: getattr(event, name) for name in _FLAGS}
    elif isinstance(event, CourseModesChanged):
        course["modes"] = text_of(event.modes)
    elif isinstance(event, CohortingChanged):
        course["is_cohorted"] = event.is_cohorted


class _Layouts:
    """Outlines and policies while a batch is folded, and what they make necessary."""

    def __init__(self, db: Connection[Row], events: Sequence[Recorded]) -> None:
        course_ids = {
            recorded.event.course_id
            for recorded in events
            if isinstance(recorded.event, CourseOutlinePublished | GradingPolicyChanged)
        }
        found = fetch(db, _OUTLINES, list(course_ids)) if course_ids else []
        self._rows: dict[str, list[Any]] = {row[0]: list(row) for row in found}
        self._marks: dict[str, marks.Mark] = {}
        self._added: list[tuple[int, str, list[str]]] = []

    def fold(
        self,
        course: dict[str, Any],
        event: CourseOutlinePublished | GradingPolicyChanged,
        position: int,
    ) -> None:
        course_id = event.course_id
        row = self._rows.setdefault(course_id, [course_id, "[]", None, None])
        reason = marks.OUTLINE
        if isinstance(event, CourseOutlinePublished):
            self._outline(row, event, position)
            course |= {"version": event.version, "edited_at": event.timestamp}
        else:
            # The first policy comes with the first outline and changes nobody's grades.
            if course["policy_hash"] is not None or course["edited_at"] not in (
                None,
                event.timestamp,
            ):
                reason = marks.POLICY
            row[2], row[3] = text_of(event.graders), text_of(event.cutoffs)
            course["policy_hash"] = event.policy_hash
        before = self._marks.get(course_id)
        if before is not None and before[4] == marks.POLICY:
            reason = marks.POLICY
        self._marks[course_id] = (position, course_id, None, None, reason)
        course["layout_position"] = position

    def _outline(self, row: list[Any], event: CourseOutlinePublished, position: int) -> None:
        known = {block["usage_key"] for block in orjson.loads(row[1])}
        added = [b["usage_key"] for b in event.blocks if b["usage_key"] not in known]
        self._added.append((position, event.course_id, added))
        row[1] = text_of(event.blocks)

    def write(self, db: Connection[Row], noted: marks.Marks) -> None:
        if self._rows:
            execute(db, _UPSERT_OUTLINES, *columns([tuple(row) for row in self._rows.values()]))
        noted.add(list(self._marks.values()))
        for position, course_id, items in self._added:
            noted.add_items(position, course_id, items)
