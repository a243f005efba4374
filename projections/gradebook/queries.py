"""What can be asked of the gradebook."""

# ruff: noqa: S608 - statements are put together from constants of this module

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString

import orjson

from projections.gradebook.model import Gradebook
from projections.gradebook.rows import (
    CallerRights,
    CohortRow,
    Counts,
    CourseContext,
    CourseHead,
    CourseRow,
    EnrollmentRow,
    GradeImportRow,
    LearnerGradesRow,
    OverrideChange,
    ProblemScoreRow,
    ProblemStateRow,
    SubsectionCell,
    UserRow,
)
from projections.gradebook.tables import read_overrides, read_records
from projections.read_model import Query, Row, StreamQuery

LARGEST_PAGE: Final = 2000
"""Entries. The number stands in the statements of pages, so that the server plans for few
rows whatever the argument is."""

# --- courses ----------------------------------------------------------------------------------

_HEAD: Final = """
c.course_id, coalesce(c.org, ''), coalesce(c.display_name, ''), c.start_at, c.end_at,
c.self_paced, c.writable_gradebook, c.bulk_management, c.freeze_after_end,
c.rejected_exam_overrides_grade, c.is_cohorted, c.modes, c.policy_hash, c.version, c.edited_at,
c.active_enrollments, c.changed_position, c.people_position, c.layout_position
"""
_HEAD_WIDTH: Final = len(CourseHead._fields)
_MODES: Final = CourseHead._fields.index("modes")
_COURSE: Final = f"""
SELECT {_HEAD}, o.graders, o.cutoffs, coalesce(o.blocks, '[]'), coalesce(o.ordinals, '[]')
FROM courses c LEFT JOIN outlines o USING (course_id)
"""
_COURSE_BY_ID: Final = f"{_COURSE} WHERE c.course_id = %b AND c.registered"
_COURSES_BY_IDS: Final = f"{_COURSE} WHERE c.course_id = ANY (%b::text[]) AND c.registered"
_COURSES_PAGE: Final = f"""
SELECT * FROM (
    {_COURSE} WHERE c.course_id > %b AND c.registered ORDER BY c.course_id LIMIT {LARGEST_PAGE}
) AS page LIMIT %b::bigint
"""
_COURSE_HEADS: Final = f"""
SELECT {_HEAD} FROM courses c
WHERE c.registered AND c.course_id > %b
    AND strpos(lower(c.course_id || ' ' || coalesce(c.display_name, '')), lower(%b)) > 0
    AND (%b::boolean OR c.course_id = ANY (%b::text[]) OR c.org = ANY (%b::text[]))
ORDER BY c.course_id LIMIT %b::bigint
"""
_CONTEXT: Final = f"""
SELECT u.user_id, u.username, u.is_active, u.is_staff, u.roles, {_HEAD}
FROM (SELECT 1) AS one
LEFT JOIN courses c ON c.course_id = %b AND c.registered
LEFT JOIN users u ON u.username = %b
"""


def course_by_id(course_id: str) -> Query[CourseRow | None]:
    """A published course, outline and all; None when there is none."""
    return Query(Gradebook, _COURSE_BY_ID, (course_id,), _first_course)


def courses_by_ids(course_ids: Collection[str]) -> Query[list[CourseRow]]:
    """The same for many; unknown ones are left out."""
    return Query(Gradebook, _COURSES_BY_IDS, (list(course_ids),), _courses)


def courses_page(after: str | None, limit: int) -> Query[list[CourseRow]]:
    """Courses in the order of their keys, at most ``LARGEST_PAGE``."""
    return Query(Gradebook, _COURSES_PAGE, (after or "", limit), _courses)


@dataclass(frozen=True, slots=True)
class CourseFilter:
    """Which courses to show.

    Attributes:
        contains: part of name or key, in any case.
        course_ids: only these, and those of ``orgs``; None with ``orgs`` None for all.
        orgs: only of these organisations.
    """

    contains: str = ""
    course_ids: Sequence[str] | None = None
    orgs: Sequence[str] | None = None


def course_heads(where: CourseFilter, *, after: str, limit: int) -> Query[list[CourseHead]]:
    """Courses without their outlines, in the order of their keys."""
    everything = where.course_ids is None and where.orgs is None
    # The driver cannot send an empty list as one of texts; nothing is called "".
    ids, orgs = ["", *(where.course_ids or ())], ["", *(where.orgs or ())]
    arguments = (after, where.contains, everything, ids, orgs, limit)
    return Query(Gradebook, _COURSE_HEADS, arguments, _heads)


def course_context(course_id: str, username: str) -> Query[CourseContext]:
    """The course as far as each request needs it, and the rights of who asks."""
    return Query(Gradebook, _CONTEXT, (course_id, username), _context)


# --- people -----------------------------------------------------------------------------------

_USER: Final = """
SELECT u.user_id, u.username, u.email, u.full_name, u.is_active, u.is_staff, u.anonymous_ids,
    u.registered_at
FROM (SELECT * FROM users WHERE registered_at IS NOT NULL) AS u
"""
_USER_BY_NAME: Final = f"{_USER} WHERE u.username = %b"
_USERS_BY_EMAIL: Final = f"{_USER} WHERE lower(u.email) = ANY (%b::text[]) ORDER BY u.user_id"
_USERS_PAGE: Final = f"""
SELECT * FROM (
    {_USER} WHERE u.username > %b ORDER BY u.username LIMIT {LARGEST_PAGE}
) AS page LIMIT %b::bigint
"""
_RIGHTS: Final = """
SELECT user_id, username, is_active, is_staff, roles FROM users WHERE username = %b
"""
_ENROLLMENT: Final = """
SELECT l.enrollment_id, l.user_id, l.username, l.course_id, l.mode, l.is_active, l.enrolled_at
FROM learners l
"""
_ENROLLMENT_OF: Final = f"""
{_ENROLLMENT} JOIN users u USING (user_id)
WHERE u.username = %b AND l.course_id = %b AND l.enrollment_id IS NOT NULL
"""
_ENROLLMENTS_OF: Final = f"""
{_ENROLLMENT} JOIN users u USING (user_id)
WHERE u.username = %b AND l.enrollment_id IS NOT NULL ORDER BY l.enrollment_id
"""
_COHORTS_OF: Final = """
SELECT c.cohort_id, c.course_id, c.name, c.assignment_type, c.user_partition_id, c.group_id,
    (SELECT count(*)::int FROM learners l WHERE l.cohort_id = c.cohort_id AND l.is_active)
FROM cohorts c WHERE c.course_id = %b ORDER BY c.cohort_id
"""
_COHORT_IDS: Final = "SELECT name, cohort_id FROM cohorts WHERE course_id = %b"
_COHORT_MEMBERS: Final = f"""
SELECT * FROM (
    {_USER} JOIN learners l USING (user_id)
    WHERE l.course_id = %b AND l.cohort_id = %b::bigint AND u.username > %b
    ORDER BY u.username LIMIT {LARGEST_PAGE}
) AS page LIMIT %b::bigint
"""
_TEAM: Final = f"""
SELECT u.*, l.roles FROM ({_USER}) AS u JOIN learners l USING (user_id)
WHERE l.course_id = %b AND l.roles <> '{{}}' ORDER BY u.username
"""


def user_by_username(username: str) -> Query[UserRow | None]:
    """A registered user; names are compared exactly."""
    return Query(Gradebook, _USER_BY_NAME, (username,), _first_user)


def users_by_email(emails: Collection[str]) -> Query[list[UserRow]]:
    """Users by their addresses, given in lower case; several may share one."""
    return Query(Gradebook, _USERS_BY_EMAIL, (list(emails),), _users)


def users_page(after: str | None, limit: int) -> Query[list[UserRow]]:
    """Users in the order of their names, at most ``LARGEST_PAGE``."""
    return Query(Gradebook, _USERS_PAGE, (after or "", limit), _users)


def caller_rights(username: str) -> Query[CallerRights | None]:
    """What a user may do by what is recorded of him."""
    return Query(Gradebook, _RIGHTS, (username,), _first_rights)


def enrollment_of(username: str, course_id: str) -> Query[EnrollmentRow | None]:
    """A user's enrolment in a course, active or not."""
    return Query(Gradebook, _ENROLLMENT_OF, (username, course_id), _first_enrollment)


def enrollments_of(username: str) -> Query[list[EnrollmentRow]]:
    """A user's enrolments, active or not, in the order in which they began."""
    return Query(Gradebook, _ENROLLMENTS_OF, (username,), _enrollments)


def cohorts_of(course_id: str) -> Query[list[CohortRow]]:
    """The cohorts of a course."""
    return Query(Gradebook, _COHORTS_OF, (course_id,), _cohorts)


def cohort_ids_of(course_id: str) -> Query[dict[str, int]]:
    """The numbers of the cohorts of a course by name; nobody in them is counted."""
    return Query(Gradebook, _COHORT_IDS, (course_id,), _cohort_ids)


def cohort_members(
    course_id: str, cohort_id: int, after: str | None, limit: int
) -> Query[list[UserRow]]:
    """Who is in a cohort, in the order of their names."""
    arguments = (course_id, cohort_id, after or "", limit)
    return Query(Gradebook, _COHORT_MEMBERS, arguments, _users)


def course_team(course_id: str) -> Query[list[tuple[UserRow, list[str]]]]:
    """Who holds which roles on this very course."""
    return Query(Gradebook, _TEAM, (course_id,), _team)


# --- the gradebook ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LearnerFilter:
    """Which enrolments to show; all given conditions hold.

    Attributes:
        user_contains: part of user name, address or external key, in any case.
        username_contains: part of the user name, in any case.
        person_contains: the same as ``user_contains``, or part of the full name.
        cohort_id: members of this cohort.
        mode: enrolment mode.
        without_any_role: nobody with a role on this course.
        without_roles: nobody with one of these roles on this course.
        ordinal: of the subsection that ``grade_min`` and ``grade_max`` are about.
        grade_min: 0 to 100, of the effective graded points.
        grade_max: the same.
        course_grade_min: 0 to 100; learners without a course grade match if 0 or None.
        course_grade_max: the same; without it there is no bound, as weights may add up to more.
        active_only: without it, those who have left are shown too.
    """

    user_contains: str | None = None
    username_contains: str | None = None
    person_contains: str | None = None
    cohort_id: int | None = None
    mode: str | None = None
    without_any_role: bool = False
    without_roles: Sequence[str] = ()
    ordinal: int | None = None
    grade_min: float | None = None
    grade_max: float | None = None
    course_grade_min: float | None = None
    course_grade_max: float | None = None
    active_only: bool = True


EVERYBODY: Final = LearnerFilter()

# Where people and courses come in any order, nobody may have said yet who a learner is.
_LEARNER: Final = """
l.enrollment_id, l.user_id, l.course_id, coalesce(l.username, ''), l.email, l.full_name, l.mode,
l.is_active, l.external_user_key, l.cohort_id, k.name, k.user_partition_id, k.group_id, l.percent,
l.letter, g.records, g.overrides
"""
_WITH_GRADES: Final = """
LEFT JOIN grades g ON g.course_id = l.course_id AND g.user_id = l.user_id
LEFT JOIN cohorts k ON k.cohort_id = l.cohort_id
"""


def learners_page(
    course_id: str,
    where: LearnerFilter,
    *,
    after: int | None = None,
    before: int | None = None,
    limit: int,
) -> Query[list[LearnerGradesRow]]:
    """Learners of a course with their grades, by enrolment id.

    With ``before``, the last ones before an enrolment id, backwards. At most
    ``LARGEST_PAGE`` entries.
    """
    condition, arguments = _condition(course_id, where)
    place, order, at = _place(after, before)
    statement = f"""
    SELECT {_LEARNER} FROM (
        SELECT * FROM (
            SELECT l.* FROM learners l WHERE {condition} {place}
            ORDER BY l.enrollment_id {order} LIMIT {LARGEST_PAGE}
        ) AS l LIMIT %b::bigint
    ) AS l {_WITH_GRADES} ORDER BY l.enrollment_id {order}
    """
    return Query(Gradebook, statement, (*arguments, *at, limit), _learners, graded=True)


def learners_of_courses_page(
    *,
    course_id: str | None,
    usernames: Collection[str] | None,
    after: int | None = None,
    before: int | None = None,
    limit: int,
) -> Query[list[LearnerGradesRow]]:
    """Active enrolments of one course or of all, perhaps of some users, by enrolment id."""
    condition: LiteralString = "l.is_active"
    arguments: list[Any] = []
    if course_id is not None:
        condition += " AND l.course_id = %b"
        arguments.append(course_id)
    if usernames is not None:
        condition += (
            " AND l.user_id = ANY (ARRAY("
            "SELECT user_id FROM users WHERE username = ANY (%b::text[])))"
        )
        arguments.append(list(usernames))
    place, order, at = _place(after, before)
    statement = f"""
    SELECT {_LEARNER} FROM (
        SELECT * FROM (
            SELECT l.* FROM learners l WHERE {condition} {place}
            ORDER BY l.enrollment_id {order} LIMIT {LARGEST_PAGE}
        ) AS l LIMIT %b::bigint
    ) AS l {_WITH_GRADES} ORDER BY l.enrollment_id {order}
    """
    return Query(Gradebook, statement, (*arguments, *at, limit), _learners, graded=True)


def all_learners(course_id: str, where: LearnerFilter) -> StreamQuery[LearnerGradesRow]:
    """Learners of a course with their grades, of any number."""
    condition, arguments = _condition(course_id, where)
    statement = f"""
    SELECT {_LEARNER} FROM learners l {_WITH_GRADES} WHERE {condition} ORDER BY l.enrollment_id
    """
    return StreamQuery(Gradebook, statement, arguments, LearnerGradesRow._make, graded=True)


def learner_counts(course_id: str, where: LearnerFilter) -> Query[Counts]:
    """How many enrolments are active, and how many of them the filter leaves."""
    total: LiteralString = (
        "coalesce((SELECT active_enrollments FROM courses WHERE course_id = %b), 0)"
    )
    if where == EVERYBODY:
        return Query(Gradebook, f"SELECT {total}, -1", (course_id,), _counts)
    if where == LearnerFilter(without_any_role=True):
        statement: LiteralString = f"""
        SELECT {total}, {total} - (
            SELECT count(*)::int FROM learners
            WHERE course_id = %b AND roles <> '{{}}' AND is_active)
        """
        return Query(Gradebook, statement, (course_id,) * 3, _counts)
    condition, arguments = _condition(course_id, where)
    statement = f"SELECT {total}, (SELECT count(*)::int FROM learners l WHERE {condition})"
    return Query(Gradebook, statement, (course_id, *arguments), _counts, graded=True)


_LEARNER_BY_NAME: Final = f"""
SELECT {_LEARNER} FROM users u
JOIN learners l ON l.user_id = u.user_id AND l.course_id = %b AND l.enrollment_id IS NOT NULL
{_WITH_GRADES} WHERE u.username = %b
"""
_LEARNERS_BY_IDS: Final = f"""
SELECT {_LEARNER} FROM learners l {_WITH_GRADES}
WHERE l.course_id = %b AND l.user_id = ANY (%b::bigint[]) AND l.enrollment_id IS NOT NULL
"""
_CELL: Final = """
SELECT g.records, g.overrides FROM grades g WHERE g.course_id = %b AND g.user_id = %b::bigint
"""


def learner_by_username(course_id: str, username: str) -> Query[LearnerGradesRow | None]:
    """One learner with grades, enrolled now or before; None when never enrolled."""
    return Query(Gradebook, _LEARNER_BY_NAME, (course_id, username), _first_learner, graded=True)


def learners_by_ids(
    course_id: str, user_ids: Collection[int]
) -> Query[dict[int, LearnerGradesRow]]:
    """Learners with grades by user id, enrolled now or before; others are left out."""
    return Query(Gradebook, _LEARNERS_BY_IDS, (course_id, list(user_ids)), _learners_by_id)


def users_by_ids(user_ids: Collection[int]) -> Query[dict[int, UserRow]]:
    """Registered users by id; unknown ones are left out."""
    statement: LiteralString = f"{_USER} WHERE u.user_id = ANY (%b::bigint[])"
    return Query(Gradebook, statement, (list(user_ids),), _users_by_id)


def cell(course_id: str, user_id: int, ordinal: int) -> Query[SubsectionCell]:
    """What is recorded of one subsection of one learner."""

    def parse(rows: list[Row]) -> SubsectionCell:
        if not rows:
            return SubsectionCell(None, None)
        records = read_records(rows[0][0])
        record = records[ordinal] if ordinal < len(records) else None
        return SubsectionCell(record, read_overrides(rows[0][1]).get(ordinal))

    return Query(Gradebook, _CELL, (course_id, user_id), parse, graded=True)


_HISTORY: Final = """
SELECT history_id, user_id, override_id, grade_id, created_at, changed_at, history_type,
    values[1], values[2], values[3], values[4], before, reason, system, changed_by,
    changed_by_id, position
FROM override_history
WHERE course_id = %b AND user_id = %b::bigint AND usage_key = %b
ORDER BY position DESC LIMIT %b::bigint
"""


def override_history(
    course_id: str, user_id: int, usage_key: str, limit: int | None = None
) -> Query[list[OverrideChange]]:
    """The changes of an override, newest first."""
    arguments = (course_id, user_id, usage_key, limit)
    return Query(Gradebook, _HISTORY, arguments, _changes)


_SCORES_OF: Final = """
SELECT i.user_id, s.item_id, i.kind::int, s.earned, s.possible, s.attempted_at
FROM identities i JOIN problem_scores s ON s.student_id = i.student_id AND s.course_id = %b
WHERE i.user_id = ANY (%b::bigint[])
    AND NOT EXISTS (
        SELECT FROM identities o WHERE o.student_id = i.student_id AND o.kind < i.kind)
"""
_STUDENT_IDS: Final = """
SELECT i.user_id, i.student_id FROM identities i
WHERE i.user_id = ANY (%b::bigint[])
    AND NOT EXISTS (
        SELECT FROM identities o WHERE o.student_id = i.student_id AND o.kind < i.kind)
ORDER BY i.user_id, i.kind, i.student_id
"""
_STATES: Final = """
SELECT state_id, user_id, usage_key, state, grade, max_grade, saved_at FROM problem_states
WHERE user_id = ANY (%b::bigint[]) AND course_id = %b ORDER BY state_id DESC
"""


def problem_scores_of(course_id: str, user_ids: Collection[int]) -> Query[list[ProblemScoreRow]]:
    """The scores of problems that count now, of some users."""
    return Query(Gradebook, _SCORES_OF, (course_id, list(user_ids)), _problem_scores)


def student_ids_of(user_ids: Collection[int]) -> Query[dict[int, list[str]]]:
    """Under which ids of submissions users are known."""
    return Query(Gradebook, _STUDENT_IDS, (list(user_ids),), _student_ids)


def problem_states_of(course_id: str, user_ids: Collection[int]) -> Query[list[ProblemStateRow]]:
    """All saved states of problems, newest first, of some users."""
    return Query(Gradebook, _STATES, (list(user_ids), course_id), _states)


_IMPORT: Final = """
SELECT operation_id, course_id, file_name, imported_by, imported_at, total_rows, processed_rows,
    saved_rows, columns, rows, error_message
FROM grade_imports
"""
_IMPORT_BY_ID: Final = f"{_IMPORT} WHERE operation_id = %b::bigint"
_IMPORTS_OF: Final = f"""
SELECT operation_id, course_id, file_name, imported_by, imported_at, total_rows, processed_rows,
    saved_rows, columns, '[]', error_message
FROM grade_imports WHERE course_id = %b ORDER BY operation_id DESC LIMIT {LARGEST_PAGE}
"""


def grade_import(operation_id: int) -> Query[GradeImportRow | None]:
    """One upload with its rows."""
    return Query(Gradebook, _IMPORT_BY_ID, (operation_id,), _first_import)


def grade_imports_of(course_id: str) -> Query[list[GradeImportRow]]:
    """The uploads of a course, newest first, without their rows."""
    return Query(Gradebook, _IMPORTS_OF, (course_id,), _imports)


# --- conditions -------------------------------------------------------------------------------


def _place(
    after: int | None, before: int | None
) -> tuple[LiteralString, LiteralString, tuple[int, ...]]:
    if before is not None:
        return "AND l.enrollment_id < %b::bigint", "DESC", (before,)
    return "AND l.enrollment_id > %b::bigint", "ASC", (after or 0,)


def _course_grade_condition(
    low: float | None, high: float | None
) -> list[tuple[LiteralString, Any]]:
    """Learners without a course grade match where nothing is the least.

    Bounds are brought to the scale of the grades: 0.29 * 100 is less than 29.
    """
    parts: list[tuple[LiteralString, Any]] = []
    if low:
        parts.append(("l.percent >= %b::float8", low / 100))
    if high is not None:
        at_most: LiteralString = "l.percent <= %b::float8"
        parts.append((at_most if low else f"(l.percent IS NULL OR {at_most})", high / 100))
    return parts


def _condition(course_id: str, where: LearnerFilter) -> tuple[LiteralString, list[Any]]:
    parts: list[tuple[LiteralString, Any]] = [("l.course_id = %b", course_id)]
    if where.user_contains:
        parts.append(("strpos(l.search, lower(%b)) > 0", where.user_contains))
    if where.username_contains:
        parts.append(("strpos(lower(l.username), lower(%b)) > 0", where.username_contains))
    if where.person_contains:
        parts.append(
            (
                "(strpos(l.search, lower(%b)) > 0 OR strpos(lower(l.full_name), lower(%b)) > 0)",
                (where.person_contains, where.person_contains),
            )
        )
    if where.cohort_id is not None:
        parts.append(("l.cohort_id = %b::bigint", where.cohort_id))
    if where.mode is not None:
        parts.append(("l.mode = %b", where.mode))
    if where.without_roles:
        parts.append(("NOT l.roles && %b::text[]", list(where.without_roles)))
    if where.ordinal is not None:
        place = where.ordinal + 1
        parts.append(
            (
                "l.percents[%b::int] >= %b::float8",
                (place, 0.0 if where.grade_min is None else where.grade_min),
            )
        )
        parts.append(
            (
                "l.percents[%b::int] <= %b::float8",
                (place, 100.0 if where.grade_max is None else where.grade_max),
            )
        )
    parts += _course_grade_condition(where.course_grade_min, where.course_grade_max)
    condition: LiteralString = " AND ".join([part for part, _ in parts])
    if where.active_only:
        condition += " AND l.is_active"
    else:
        condition += " AND l.enrollment_id IS NOT NULL"
    if where.without_any_role:
        condition += " AND l.roles = '{}'"
    arguments: list[Any] = []
    for _, value in parts:
        arguments.extend(value if isinstance(value, tuple) else (value,))
    return condition, arguments


# --- rows -------------------------------------------------------------------------------------


def _head(values: Sequence[Any]) -> CourseHead:
    return CourseHead._make((*values[:_MODES], orjson.loads(values[_MODES]), *values[_MODES + 1 :]))


def _heads(rows: list[Row]) -> list[CourseHead]:
    return [_head(row) for row in rows]


def _course(row: Row) -> CourseRow:
    head = _head(row[:_HEAD_WIDTH])
    graders, cutoffs, blocks, ordinals = row[_HEAD_WIDTH:]
    return CourseRow._make(
        (
            *head,
            None if graders is None else orjson.loads(graders),
            None if cutoffs is None else orjson.loads(cutoffs),
            orjson.loads(blocks),
            orjson.loads(ordinals),
        )
    )


def _courses(rows: list[Row]) -> list[CourseRow]:
    return [_course(row) for row in rows]


def _first_course(rows: list[Row]) -> CourseRow | None:
    return _course(rows[0]) if rows else None


def _rights(row: Sequence[Any]) -> CallerRights:
    roles = [(org, course_id, role) for org, course_id, role in orjson.loads(row[4])]
    return CallerRights(row[0], row[1], row[2], row[3], roles)


def _first_rights(rows: list[Row]) -> CallerRights | None:
    return _rights(rows[0]) if rows else None


def _context(rows: list[Row]) -> CourseContext:
    row = rows[0]
    return CourseContext(
        None if row[5] is None else _head(row[5:]), None if row[0] is None else _rights(row)
    )


def _users(rows: list[Row]) -> list[UserRow]:
    return [UserRow._make(row) for row in rows]


def _first_user(rows: list[Row]) -> UserRow | None:
    return UserRow._make(rows[0]) if rows else None


def _users_by_id(rows: list[Row]) -> dict[int, UserRow]:
    return {row[0]: UserRow._make(row) for row in rows}


def _enrollments(rows: list[Row]) -> list[EnrollmentRow]:
    return [EnrollmentRow._make(row) for row in rows]


def _first_enrollment(rows: list[Row]) -> EnrollmentRow | None:
    return EnrollmentRow._make(rows[0]) if rows else None


def _cohorts(rows: list[Row]) -> list[CohortRow]:
    return [CohortRow._make(row) for row in rows]


def _cohort_ids(rows: list[Row]) -> dict[str, int]:
    return dict(rows)


def _team(rows: list[Row]) -> list[tuple[UserRow, list[str]]]:
    return [(UserRow._make(row[:-1]), row[-1]) for row in rows]


def _learners(rows: list[Row]) -> list[LearnerGradesRow]:
    return [LearnerGradesRow._make(row) for row in rows]


def _first_learner(rows: list[Row]) -> LearnerGradesRow | None:
    return LearnerGradesRow._make(rows[0]) if rows else None


def _learners_by_id(rows: list[Row]) -> dict[int, LearnerGradesRow]:
    return {row[1]: LearnerGradesRow._make(row) for row in rows}


def _counts(rows: list[Row]) -> Counts:
    total, filtered = rows[0]
    return Counts(total, total if filtered < 0 else filtered)


def _changes(rows: list[Row]) -> list[OverrideChange]:
    return [OverrideChange._make(row) for row in rows]


def _problem_scores(rows: list[Row]) -> list[ProblemScoreRow]:
    return [ProblemScoreRow._make(row) for row in rows]


def _student_ids(rows: list[Row]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for user_id, student_id in rows:
        found.setdefault(user_id, []).append(student_id)
    return found


def _states(rows: list[Row]) -> list[ProblemStateRow]:
    return [ProblemStateRow._make(row) for row in rows]


def _import(row: Row) -> GradeImportRow:
    return GradeImportRow._make((*row[:8], orjson.loads(row[8]), orjson.loads(row[9]), row[10]))


def _imports(rows: list[Row]) -> list[GradeImportRow]:
    return [_import(row) for row in rows]


def _first_import(rows: list[Row]) -> GradeImportRow | None:
    return _import(rows[0]) if rows else None
