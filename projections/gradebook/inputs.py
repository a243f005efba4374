"""What the grading reads of the gradebook: what has to be looked at, and what it is made of."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

import orjson
from psycopg import Connection

from domain.grades.course_grade import CourseGrade
from domain.grades.policy import DEFAULT_CUTOFFS, DEFAULT_GRADERS, read_policy
from domain.grades.regrading import CourseVersion, Known
from domain.grades.scores import Override, ProblemScore, weighted
from domain.grades.structure import (
    ENROLLMENT_TRACK_PARTITION,
    GROUP_OF_MODE,
    CourseStructure,
    Viewer,
    read_structure,
)
from domain.submissions.student_item import student_item_stream
from projections.bulk import columns, fetch
from projections.gradebook.tables import read_overrides
from projections.read_model import Row

STAFF_ROLES: Final = frozenset({"staff", "instructor", "limited_staff"})

Key = tuple[str, int]
"""Course and user."""


# --- marks ------------------------------------------------------------------------------------


class Mark(NamedTuple):
    """Something that may change grades: of one learner, or of all in a course."""

    position: int
    course_id: str
    user_id: int | None
    item_id: str | None
    reason: str


# Marks of one position stay together, so that the position is done with when they are.
_MARKS: Final = """
SELECT position, course_id, user_id, item_id, reason FROM marks
WHERE position > %b::bigint AND position <= (
    SELECT coalesce(max(position), 0) FROM (
        SELECT position FROM marks WHERE position > %b::bigint ORDER BY position LIMIT %b::bigint
    ) AS page)
ORDER BY position
"""


def read_marks(db: Connection[Row], after: int, limit: int) -> list[Mark]:
    """The next marks after a position: so many, and those that share the last one's position."""
    return [Mark._make(row) for row in fetch(db, _MARKS, after, after, limit)]


# --- courses ----------------------------------------------------------------------------------


class CourseHead(NamedTuple):
    """What of a course may change without another outline or policy."""

    layout_position: int
    end: datetime | None
    freeze_after_end: bool


class GradedCourse(NamedTuple):
    """A course with its structure and policy. ``ordinals`` is where grades stand in records."""

    layout_position: int
    version: CourseVersion
    ordinals: Sequence[str]


_HEADS: Final = """
SELECT course_id, layout_position, end_at, freeze_after_end FROM courses
WHERE course_id = ANY (%b::text[]) AND version IS NOT NULL
"""
_COURSE: Final = """
SELECT c.layout_position, c.version, c.edited_at, o.blocks, o.graders, o.cutoffs, o.ordinals
FROM courses c JOIN outlines o USING (course_id) WHERE c.course_id = %b
"""


def read_heads(db: Connection[Row], course_ids: Collection[str]) -> dict[str, CourseHead]:
    """Courses that have an outline; others are left out."""
    return {row[0]: CourseHead._make(row[1:]) for row in fetch(db, _HEADS, list(course_ids))}


def read_course(db: Connection[Row], course_id: str) -> GradedCourse:
    """One course that has an outline."""
    row = fetch(db, _COURSE, course_id)[0]
    layout_position, version, edited_at, blocks, graders, cutoffs, ordinals = row
    policy = read_policy(
        DEFAULT_GRADERS if graders is None else orjson.loads(graders),
        DEFAULT_CUTOFFS if cutoffs is None else orjson.loads(cutoffs),
    )
    structure = read_structure(orjson.loads(blocks))
    return GradedCourse(
        layout_position,
        CourseVersion(course_id, structure, policy, version, edited_at),
        orjson.loads(ordinals),
    )


# --- learners ---------------------------------------------------------------------------------


class LearnerInput(NamedTuple):
    """A learner of a course before a calculation. ``version`` is that of the stream."""

    version: int
    viewer: Viewer
    has_course_grade: bool
    row: Row


_LEARNERS: Final = """
SELECT t.course_id, t.user_id, coalesce(g.version, 0), l.mode, l.roles, k.user_partition_id,
    k.group_id, coalesce(u.is_staff, false), g.records, g.overrides, g.percent, g.letter, g.passed,
    g.passed_at IS NOT NULL
FROM unnest(%b::text[], %b::bigint[]) AS t (course_id, user_id)
LEFT JOIN learners l ON l.course_id = t.course_id AND l.user_id = t.user_id
LEFT JOIN cohorts k ON k.cohort_id = l.cohort_id
LEFT JOIN users u ON u.user_id = t.user_id
LEFT JOIN grades g ON g.course_id = t.course_id AND g.user_id = t.user_id
"""
# Found for each by itself, whatever the planner thinks of a table that has just been filled.
_IDENTITIES: Final = """
SELECT i.user_id, i.student_id, i.kind FROM unnest(%b::bigint[]) AS t (user_id)
CROSS JOIN LATERAL (
    SELECT * FROM identities i WHERE i.user_id = t.user_id OFFSET 0
) AS i
WHERE i.kind = (SELECT min(o.kind) FROM identities o WHERE o.student_id = i.student_id)
"""
_SCORES: Final = """
SELECT p.student_id, p.course_id, p.item_id, p.earned, p.possible, p.attempted_at
FROM unnest(%b::text[], %b::text[]) AS t (student_id, course_id)
CROSS JOIN LATERAL (
    SELECT * FROM problem_scores p
    WHERE p.student_id = t.student_id AND p.course_id = t.course_id OFFSET 0
) AS p
"""
_SCORES_BY_STREAM: Final = """
SELECT p.student_id, p.course_id, p.item_id, p.earned, p.possible, p.attempted_at
FROM unnest(%b::uuid[]) AS t (stream_id)
CROSS JOIN LATERAL (
    SELECT * FROM problem_scores p WHERE p.stream_id = t.stream_id OFFSET 0
) AS p
"""
_STATES: Final = """
SELECT p.course_id, p.user_id, p.usage_key, p.grade, p.max_grade, p.began_at
FROM unnest(%b::text[], %b::bigint[]) AS t (course_id, user_id)
CROSS JOIN LATERAL (
    SELECT DISTINCT ON (p.usage_key) p.*, min(p.saved_at) OVER (PARTITION BY p.usage_key) AS began_at
    FROM problem_states p WHERE p.course_id = t.course_id AND p.user_id = t.user_id
    ORDER BY p.usage_key, p.state_id DESC OFFSET 0
) AS p
"""
_ANY_STATES: Final = "SELECT EXISTS (SELECT FROM problem_states)"
# Not of those who only teach.
_NEXT_USERS: Final = """
SELECT user_id FROM learners
WHERE course_id = %b AND user_id > %b::bigint
    AND (enrollment_id IS NOT NULL OR percent IS NOT NULL)
ORDER BY user_id LIMIT %b::bigint
"""
_COUNT_USERS: Final = """
SELECT count(*)::int FROM learners
WHERE course_id = %b AND (enrollment_id IS NOT NULL OR percent IS NOT NULL)
"""


def read_learners(db: Connection[Row], keys: Iterable[Key]) -> dict[Key, LearnerInput]:
    """What is known of learners, those of whom nothing is known, too."""
    found = {}
    for row in fetch(db, _LEARNERS, *columns(list(keys))):
        _, _, version, mode, roles, partition, group, is_staff = row[:8]
        found[row[0], row[1]] = LearnerInput(
            version,
            viewer_of(mode, partition, group, is_staff=is_staff or is_course_staff(roles)),
            row[10] is not None,
            row,
        )
    return found


def is_course_staff(roles: Sequence[str] | None) -> bool:
    """Whether roles on a course let see everything in it."""
    return not STAFF_ROLES.isdisjoint(roles or ())


def viewer_of(
    mode: str | None, partition: int | None, group: int | None, *, is_staff: bool = False
) -> Viewer:
    """The groups that a mode and a cohort put a learner in."""
    groups: dict[str, frozenset[int]] = {}
    if mode is not None and mode in GROUP_OF_MODE:
        groups[ENROLLMENT_TRACK_PARTITION] = frozenset({GROUP_OF_MODE[mode]})
    if partition is not None and group is not None:
        groups[str(partition)] = frozenset({group})
    return Viewer(groups, is_staff)


def known_of(learner: LearnerInput, ordinals: Sequence[str]) -> Known:
    """What is recorded of a learner, as calculations take it."""
    records, overrides, percent, letter, passed, has_passed = learner.row[8:]
    return Known(
        {
            ordinals[n]: found
            for n, found in enumerate(orjson.loads(records or "[]"))
            if found is not None
        },
        {ordinals[n]: Override(*found[:4]) for n, found in read_overrides(overrides).items()},
        None if percent is None else CourseGrade(percent, letter, passed),
        bool(has_passed),
    )


Scores = dict[Key, dict[str, ProblemScore]]


def read_scores(
    db: Connection[Row],
    wanted: Mapping[Key, Collection[str] | None],
    structures: Mapping[str, CourseStructure],
) -> Scores:
    """The scores of learners that count now, of the wanted problems, or of all if None.

    What was submitted comes first, then what a system that runs problems has reported. Of
    several scores for one problem that of the better known identity counts, then the later.
    """
    found: Scores = {key: {} for key in wanted}
    best: dict[tuple[str, int, str], tuple[int, datetime]] = {}
    identities = _identities(db, {user_id for _, user_id in wanted})
    for student_id, course_id, item_id, earned, possible, at in _score_rows(db, wanted, identities):
        user_id, kind = identities.owner[student_id]
        place = (course_id, user_id, item_id)
        other = best.get(place)
        if other is None or (kind, other[1]) < (other[0], at):
            best[place] = (kind, at)
            found[course_id, user_id][item_id] = ProblemScore(earned, possible, at)
    if fetch(db, _ANY_STATES)[0][0]:
        for row in fetch(db, _STATES, *columns(list(wanted))):
            _add_state(found, structures, row)
    return found


class _Identities(NamedTuple):
    of: dict[int, list[str]]
    """The student ids of a user."""
    owner: dict[str, tuple[int, int]]
    """The user of a student id, and how it names them."""


def _identities(db: Connection[Row], user_ids: Collection[int]) -> _Identities:
    found = _Identities({}, {})
    for user_id, student_id, kind in fetch(db, _IDENTITIES, list(user_ids)):
        found.of.setdefault(user_id, []).append(student_id)
        found.owner[student_id] = (user_id, kind)
    return found


def _score_rows(
    db: Connection[Row], wanted: Mapping[Key, Collection[str] | None], identities: _Identities
) -> Iterator[Row]:
    students: list[tuple[str, str]] = []
    streams: list[UUID] = []
    for (course_id, user_id), items in wanted.items():
        for student_id in identities.of.get(user_id, ()):
            if items is None:
                students.append((student_id, course_id))
            else:
                streams += [student_item_stream(student_id, course_id, item) for item in items]
    if students:
        yield from fetch(db, _SCORES, *columns(students))
    if streams:
        yield from fetch(db, _SCORES_BY_STREAM, streams)


def _add_state(found: Scores, structures: Mapping[str, CourseStructure], row: Row) -> None:
    course_id, user_id, usage_key, grade, max_grade, began_at = row
    scores = found[course_id, user_id]
    if usage_key in scores or max_grade is None:
        return
    weight = _weight(structures.get(course_id), usage_key)
    earned, possible = weighted(grade or 0.0, max_grade, weight)
    if not math.isfinite(earned):  # of next to nothing that was possible
        earned = 0.0
    scores[usage_key] = ProblemScore(earned, possible, None if grade is None else began_at)


def _weight(structure: CourseStructure | None, usage_key: str) -> float | None:
    if structure is None:
        return None
    for subsection in structure.subsections_of.get(usage_key, ()):
        for problem in subsection.problems:
            if problem.usage_key == usage_key:
                return problem.weight
    return None


def next_users(db: Connection[Row], course_id: str, after: int, limit: int) -> list[int]:
    """The learners of a course in the order of their numbers."""
    return [row[0] for row in fetch(db, _NEXT_USERS, course_id, after, limit)]


def count_users(db: Connection[Row], course_id: str) -> int:
    """How many learners a course has, active or not."""
    return int(fetch(db, _COUNT_USERS, course_id)[0][0])
