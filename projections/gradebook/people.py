"""Folds who there is, and who belongs to which course as what."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
from psycopg import Connection

from domain.events import Event, Recorded
from domain.learners.cohort import CohortChanged, CohortCreated
from domain.learners.enrollment import (
    EnrollmentModeChanged,
    LearnerEnrolled,
    LearnerReenrolled,
    LearnerUnenrolled,
)
from domain.learners.user import (
    AnonymousIdsChanged,
    CohortMembershipChanged,
    CourseRoleGranted,
    CourseRoleRevoked,
    GlobalStaffChanged,
    ProgramEnrollmentLinked,
    UserActivationChanged,
    UserProfileChanged,
    UserRegistered,
)
from projections.bulk import columns, execute, fetch
from projections.gradebook import marks
from projections.gradebook.courses import Changes
from projections.gradebook.tables import text_of
from projections.read_model import Row

USERS: Final[tuple[type[Event], ...]] = (
    UserRegistered,
    UserProfileChanged,
    UserActivationChanged,
    GlobalStaffChanged,
    AnonymousIdsChanged,
)
LEARNERS: Final[tuple[type[Event], ...]] = (
    LearnerEnrolled,
    EnrollmentModeChanged,
    LearnerUnenrolled,
    LearnerReenrolled,
    ProgramEnrollmentLinked,
    CohortMembershipChanged,
    CourseRoleGranted,
    CourseRoleRevoked,
)
COHORTS: Final[tuple[type[Event], ...]] = (CohortCreated, CohortChanged)

ANONYMOUS, BY_NAME, BY_NUMBER = 0, 1, 2

FirstGrades = Mapping[tuple[str, int], int]
"""By course and user, the position of the first event of a batch about their grades."""

# --- users ------------------------------------------------------------------------------------

_USER_COLUMNS: Final = (
    *("user_id", "username", "email", "full_name", "is_active", "is_staff", "anonymous_ids"),
    *("roles", "registered_at", "shown_position"),
)
_FIND_USERS: Final = """
SELECT user_id, username, email, full_name, is_active, is_staff, anonymous_ids, roles,
    registered_at, shown_position
FROM users WHERE user_id = ANY (%b::bigint[])
"""
_UPSERT_USERS: Final = """
INSERT INTO users (user_id, username, email, full_name, is_active, is_staff, anonymous_ids, roles,
    registered_at, shown_position)
SELECT user_id, username, email, full_name, is_active, is_staff,
    ARRAY(SELECT jsonb_array_elements_text(anonymous_ids::jsonb)), roles, registered_at,
    shown_position
FROM unnest(%b::bigint[], %b::text[], %b::text[], %b::text[], %b::bool[], %b::bool[], %b::text[],
    %b::text[], %b::timestamptz[], %b::bigint[]) AS t (user_id, username, email, full_name,
    is_active, is_staff, anonymous_ids, roles, registered_at, shown_position)
ON CONFLICT (user_id) DO UPDATE
SET username = excluded.username, email = excluded.email, full_name = excluded.full_name,
    is_active = excluded.is_active, is_staff = excluded.is_staff,
    anonymous_ids = excluded.anonymous_ids, roles = excluded.roles,
    registered_at = excluded.registered_at, shown_position = excluded.shown_position
"""
_ADD_IDENTITIES: Final = """
INSERT INTO identities (student_id, kind, user_id)
SELECT * FROM unnest(%b::text[], %b::smallint[], %b::bigint[])
ON CONFLICT (student_id, kind) DO UPDATE SET user_id = excluded.user_id
"""
_DROP_IDENTITIES: Final = """
DELETE FROM identities i USING unnest(%b::text[], %b::bigint[]) AS t (student_id, user_id)
WHERE i.student_id = t.student_id AND i.kind = 0 AND i.user_id = t.user_id
"""
_SEARCH: Final = """
lower(concat_ws(E'\\n', u.username, u.email, l.external_user_key))
"""
_TELL_LEARNERS: Final = f"""
UPDATE learners l SET username = u.username, email = u.email, full_name = u.full_name,
    search = {_SEARCH}
FROM users u WHERE u.user_id = l.user_id AND l.user_id = ANY (%b::bigint[])
RETURNING l.course_id, l.user_id
"""  # noqa: S608 - a constant


def fold_users(
    db: Connection[Row], events: Sequence[Recorded], changes: Changes, noted: marks.Marks
) -> None:
    """Keep who users are and by which ids they are known."""
    users = _users(db, {r.event.user_id for r in events})  # type: ignore[attr-defined]
    identities = _Identities()
    shown: set[int] = set()
    for recorded in events:
        event, position = recorded.event, recorded.position
        user = users[event.user_id]  # type: ignore[attr-defined]
        if isinstance(event, UserRegistered):
            user |= {
                "username": event.username,
                "email": event.email,
                "full_name": event.full_name,
                "is_active": event.is_active,
                "is_staff": event.is_staff,
                "registered_at": event.timestamp,
            }
            identities.add(event.username, BY_NAME, event.user_id, position)
            identities.add(str(event.user_id), BY_NUMBER, event.user_id, position)
            identities.change(user, event.anonymous_ids, position)
            user["shown_position"] = position
            shown.add(event.user_id)
        elif isinstance(event, UserProfileChanged):
            user |= {"email": event.email, "full_name": event.full_name}
            user["shown_position"] = position
            shown.add(event.user_id)
        elif isinstance(event, UserActivationChanged):
            user["is_active"] = event.is_active
        elif isinstance(event, GlobalStaffChanged):
            user["is_staff"] = event.is_staff
        elif isinstance(event, AnonymousIdsChanged):
            identities.change(user, event.anonymous_ids, position)
    _write_users(db, users)
    identities.write(db, noted)
    if shown:
        for course_id, user_id in fetch(db, _TELL_LEARNERS, list(shown)):
            changes.show(course_id, users[user_id]["shown_position"])


class _Identities:
    """Under which ids users are known, while a batch is folded."""

    def __init__(self) -> None:
        self._added: dict[tuple[str, int], int] = {}
        self._dropped: dict[tuple[str, int], None] = {}
        self._marks: list[tuple[int, str, int]] = []

    def add(self, student_id: str, kind: int, user_id: int, position: int) -> None:
        self._dropped.pop((student_id, user_id), None)
        self._added[student_id, kind] = user_id
        self._marks.append((position, student_id, user_id))

    def change(self, user: dict[str, Any], anonymous_ids: list[str], position: int) -> None:
        """Take ``anonymous_ids`` for all that the user has."""
        user_id = user["user_id"]
        for student_id in sorted(set(user["anonymous_ids"]) - set(anonymous_ids)):
            self._added.pop((student_id, ANONYMOUS), None)
            self._dropped[student_id, user_id] = None
            self._marks.append((position, student_id, user_id))
        for student_id in anonymous_ids:
            if student_id not in user["anonymous_ids"]:
                self.add(student_id, ANONYMOUS, user_id, position)
        user["anonymous_ids"] = anonymous_ids

    def write(self, db: Connection[Row], noted: marks.Marks) -> None:
        if self._dropped:
            execute(db, _DROP_IDENTITIES, *columns(list(self._dropped)))
        if self._added:
            rows = [(student_id, kind, user) for (student_id, kind), user in self._added.items()]
            execute(db, _ADD_IDENTITIES, *columns(rows))
        noted.add_identities(self._marks)


def _users(db: Connection[Row], user_ids: set[int]) -> dict[int, dict[str, Any]]:
    found = {
        row[0]: dict(zip(_USER_COLUMNS, row, strict=True))
        for row in fetch(db, _FIND_USERS, list(user_ids))
    }
    # People and courses may be told of in any order elsewhere, and so may their parts.
    return {user_id: found.get(user_id) or _unknown_user(user_id) for user_id in user_ids}


def _unknown_user(user_id: int) -> dict[str, Any]:
    values: Row = (user_id, None, None, None, False, False, [], "[]", None, 0)
    return dict(zip(_USER_COLUMNS, values, strict=True))


def _write_users(db: Connection[Row], users: dict[int, dict[str, Any]]) -> None:
    rows = [
        tuple(
            text_of(user[name]) if name == "anonymous_ids" else user[name] for name in _USER_COLUMNS
        )
        for user in users.values()
    ]
    execute(db, _UPSERT_USERS, *columns(rows))


# --- cohorts ----------------------------------------------------------------------------------

_UPSERT_COHORTS: Final = """
INSERT INTO cohorts (cohort_id, course_id, name, assignment_type, user_partition_id, group_id)
SELECT * FROM unnest(%b::bigint[], %b::text[], %b::text[], %b::text[], %b::int[], %b::int[])
ON CONFLICT (cohort_id) DO UPDATE
SET name = excluded.name, assignment_type = excluded.assignment_type,
    user_partition_id = excluded.user_partition_id, group_id = excluded.group_id
"""
_GROUP_OF: Final = """
SELECT course_id, user_id, cohort_id FROM learners WHERE cohort_id = ANY (%b::bigint[])
"""


def fold_cohorts(
    db: Connection[Row],
    events: Sequence[Recorded],
    first_grades: FirstGrades,
    changes: Changes,
    noted: marks.Marks,
) -> None:
    """Keep what cohorts are called and which content their members see."""
    cohorts: dict[int, Row] = {}
    positions: dict[int, int] = {}
    for recorded in events:
        event = recorded.event
        assert isinstance(event, CohortCreated | CohortChanged)
        cohorts[event.cohort_id] = (
            event.cohort_id,
            event.course_id,
            event.name,
            event.assignment_type,
            event.user_partition_id,
            event.group_id,
        )
        positions[event.cohort_id] = recorded.position
        changes.touch(event.course_id, recorded.position)
    execute(db, _UPSERT_COHORTS, *columns(list(cohorts.values())))
    members = fetch(db, _GROUP_OF, list(positions))
    seen_anew = [(positions[c], course, user) for course, user, c in members]
    noted.add_graded(seen_anew, first_grades)


# --- learners ---------------------------------------------------------------------------------

_LEARNER_COLUMNS: Final = (
    *("course_id", "user_id", "enrollment_id", "mode", "is_active", "enrolled_at"),
    *("unenrolled_at", "external_user_key", "external_status", "cohort_id", "roles"),
)
_FIND_LEARNERS: Final = """
SELECT l.course_id, l.user_id, l.enrollment_id, l.mode, l.is_active, l.enrolled_at,
    l.unenrolled_at, l.external_user_key, l.external_status, l.cohort_id, l.roles
FROM unnest(%b::text[], %b::bigint[]) AS t (course_id, user_id)
JOIN learners l ON l.course_id = t.course_id AND l.user_id = t.user_id
"""
_UPSERT_LEARNERS: Final = f"""
WITH learner AS MATERIALIZED (
    SELECT l.*, u.username, u.email, u.full_name, {_SEARCH} AS search,
        coalesce(u.shown_position, 0) AS shown_position
    FROM unnest(%b::text[], %b::bigint[], %b::bigint[], %b::text[], %b::bool[],
        %b::timestamptz[], %b::timestamptz[], %b::text[], %b::text[], %b::bigint[], %b::text[])
        AS l (course_id, user_id, enrollment_id, mode, is_active, enrolled_at, unenrolled_at,
            external_user_key, external_status, cohort_id, roles)
    LEFT JOIN users u ON u.user_id = l.user_id
), written AS (
    INSERT INTO learners AS l (course_id, user_id, enrollment_id, mode, is_active, enrolled_at,
        unenrolled_at, external_user_key, external_status, cohort_id, roles, username, email,
        full_name, search)
    SELECT course_id, user_id, enrollment_id, mode, is_active, enrolled_at, unenrolled_at,
        external_user_key, external_status, cohort_id, string_to_array(roles, ' '), username,
        email, full_name, search
    FROM learner
    ON CONFLICT (course_id, user_id) DO UPDATE
    SET enrollment_id = excluded.enrollment_id, mode = excluded.mode,
        is_active = excluded.is_active, enrolled_at = excluded.enrolled_at,
        unenrolled_at = excluded.unenrolled_at, external_user_key = excluded.external_user_key,
        external_status = excluded.external_status, cohort_id = excluded.cohort_id,
        roles = excluded.roles, username = excluded.username, email = excluded.email,
        full_name = excluded.full_name, search = excluded.search
)
SELECT course_id, max(shown_position) FROM learner GROUP BY course_id
"""  # noqa: S608 - a constant


def fold_learners(
    db: Connection[Row],
    events: Sequence[Recorded],
    first_grades: FirstGrades,
    changes: Changes,
    noted: marks.Marks,
) -> None:
    """Keep who belongs to which course as what."""
    _fold_roles(db, events)
    in_courses = [r for r in events if r.event.course_id is not None]  # type: ignore[attr-defined]
    keys = list({(r.event.course_id, r.event.user_id) for r in in_courses})  # type: ignore[attr-defined]
    if not keys:
        return
    found = fetch(db, _FIND_LEARNERS, *columns(keys))
    learners = {row[:2]: dict(zip(_LEARNER_COLUMNS, row, strict=True)) for row in found}
    graded: list[tuple[int, str, int]] = []
    for recorded in in_courses:
        event, position = recorded.event, recorded.position
        course_id: str = event.course_id  # type: ignore[attr-defined]
        user_id: int = event.user_id  # type: ignore[attr-defined]
        learner = learners.get((course_id, user_id))
        if learner is None:
            values: Row = (course_id, user_id, None, None, False, None, None, None, None, None, [])
            learner = dict(zip(_LEARNER_COLUMNS, values, strict=True))
            learners[course_id, user_id] = learner
        was_active = learner["is_active"]
        _apply(learner, event)
        changes.touch(course_id, position, active=learner["is_active"] - was_active)
        if not isinstance(event, LearnerUnenrolled | ProgramEnrollmentLinked):
            graded.append((position, course_id, user_id))
    rows = [
        (*(learner[name] for name in _LEARNER_COLUMNS[:-1]), " ".join(learner["roles"]))
        for learner in learners.values()
    ]
    for course_id, position in fetch(db, _UPSERT_LEARNERS, *columns(rows)):
        changes.show(course_id, position)
    noted.add_graded(graded, first_grades)


def _apply(learner: dict[str, Any], event: Event) -> None:
    if isinstance(event, LearnerEnrolled):
        learner |= {
            "enrollment_id": event.enrollment_id,
            "mode": event.mode,
            "is_active": True,
            "enrolled_at": event.enrolled_at,
            "unenrolled_at": None,
        }
    elif isinstance(event, LearnerReenrolled):
        learner |= {"mode": event.mode, "is_active": True, "unenrolled_at": None}
    elif isinstance(event, EnrollmentModeChanged):
        learner["mode"] = event.mode
    elif isinstance(event, LearnerUnenrolled):
        learner |= {"is_active": False, "unenrolled_at": event.unenrolled_at}
    elif isinstance(event, ProgramEnrollmentLinked):
        learner["external_user_key"] = event.external_user_key
        learner["external_status"] = event.status
    elif isinstance(event, CohortMembershipChanged):
        learner["cohort_id"] = event.cohort_id
    elif isinstance(event, CourseRoleGranted):
        learner["roles"] = sorted({*learner["roles"], event.role})
    elif isinstance(event, CourseRoleRevoked):
        learner["roles"] = [role for role in learner["roles"] if role != event.role]


def _fold_roles(db: Connection[Row], events: Sequence[Recorded]) -> None:
    granted = [
        r.event for r in events if isinstance(r.event, CourseRoleGranted | CourseRoleRevoked)
    ]
    if not granted:
        return
    users = _users(db, {event.user_id for event in granted})
    for event in granted:
        user = users[event.user_id]
        roles = orjson.loads(user["roles"])
        role = [event.org, event.course_id, event.role]
        roles = [other for other in roles if other != role]
        if isinstance(event, CourseRoleGranted):
            roles.append(role)
        # Not as they came: elsewhere those of several courses come in any order.
        user["roles"] = text_of(sorted(roles, key=lambda one: (one[0], one[1] or "", one[2])))
    _write_users(db, users)
