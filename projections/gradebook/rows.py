"""What the queries of the gradebook answer."""

from datetime import datetime
from typing import Any, NamedTuple

from projections.gradebook.tables import Record, StoredOverride

Role = tuple[str, str | None, str]
"""Organisation, course or None for all of its courses, role."""


class CourseRow(NamedTuple):
    """A course with its outline and policy.

    ``graders`` and ``cutoffs`` are None while no policy was published; ``blocks`` is empty
    and ``version`` None while no outline was. ``ordinals`` are usage keys of subsections;
    the place of each is where its grades stand in records.
    """

    course_id: str
    org: str
    display_name: str
    start: datetime | None
    end: datetime | None
    self_paced: bool
    writable_gradebook: bool
    bulk_management: bool
    freeze_after_end: bool
    rejected_exam_overrides_grade: bool
    is_cohorted: bool
    modes: list[dict[str, Any]]
    policy_hash: str | None
    version: str | None
    edited_at: datetime | None
    active_enrollments: int
    changed_position: int
    people_position: int
    layout_position: int
    graders: list[dict[str, Any]] | None
    cutoffs: dict[str, float] | None
    blocks: list[dict[str, Any]]
    ordinals: list[str]


class CourseHead(NamedTuple):
    """A course without outline and policy: what changes often and is read with each request."""

    course_id: str
    org: str
    display_name: str
    start: datetime | None
    end: datetime | None
    self_paced: bool
    writable_gradebook: bool
    bulk_management: bool
    freeze_after_end: bool
    rejected_exam_overrides_grade: bool
    is_cohorted: bool
    modes: list[dict[str, Any]]
    policy_hash: str | None
    version: str | None
    edited_at: datetime | None
    active_enrollments: int
    changed_position: int
    people_position: int
    layout_position: int


class UserRow(NamedTuple):
    """A registered user."""

    user_id: int
    username: str
    email: str | None
    full_name: str | None
    is_active: bool
    is_staff: bool
    anonymous_ids: list[str]
    registered_at: datetime


class CallerRights(NamedTuple):
    """What a user may do by what is recorded of him."""

    user_id: int
    username: str
    is_active: bool
    is_staff: bool
    roles: list[Role]


class CourseContext(NamedTuple):
    """What nearly every request about a course has to know: the course, and who asks."""

    course: CourseHead | None
    caller: CallerRights | None


class EnrollmentRow(NamedTuple):
    """An enrolment, active or not."""

    enrollment_id: int
    user_id: int
    username: str
    course_id: str
    mode: str
    is_active: bool
    enrolled_at: datetime


class CohortRow(NamedTuple):
    """A cohort and how many are in it."""

    cohort_id: int
    course_id: str
    name: str
    assignment_type: str
    user_partition_id: int | None
    group_id: int | None
    user_count: int


class LearnerGradesRow(NamedTuple):
    """One learner of a course with all grades.

    ``percent`` is None while no course grade was recorded. ``records`` and ``overrides``
    are texts, read by ``read_records`` and ``read_overrides``: by ordinal of the course.
    """

    enrollment_id: int
    user_id: int
    course_id: str
    username: str
    email: str | None
    full_name: str | None
    mode: str
    is_active: bool
    external_user_key: str | None
    cohort_id: int | None
    cohort_name: str | None
    partition_id: int | None
    group_id: int | None
    percent: float | None
    letter: str | None
    records: str | None
    overrides: str | None


class Counts(NamedTuple):
    """How many enrolments are active in a course, and how many of them a filter leaves."""

    total: int
    filtered: int


class SubsectionCell(NamedTuple):
    """One subsection of one learner."""

    record: Record | None
    override: StoredOverride | None


class OverrideChange(NamedTuple):
    """One change of an override. ``reason`` is sealed with ``override:{history_id}``."""

    history_id: int
    user_id: int
    override_id: int
    grade_id: int
    created_at: datetime
    changed_at: datetime
    history_type: str
    earned_all: float | None
    possible_all: float | None
    earned_graded: float | None
    possible_graded: float | None
    before: list[float | None] | None
    reason: str | None
    system: str
    changed_by: str | None
    changed_by_id: int | None
    position: int


class ProblemScoreRow(NamedTuple):
    """A score of a problem that counts now, by the student id it was given for.

    ``kind`` is how the id names its user: 0 anonymous id, 1 user name, 2 number; the
    lowest one counts when several scores are there.
    """

    user_id: int
    item_id: str
    kind: int
    earned: float
    possible: float
    attempted_at: datetime


class ProblemStateRow(NamedTuple):
    """A saved state of a problem; ``state`` is sealed with ``problem-state:{state_id}``."""

    state_id: int
    user_id: int
    usage_key: str
    state: str | None
    grade: float | None
    max_grade: float | None
    saved_at: datetime


class GradeImportRow(NamedTuple):
    """An upload of grades."""

    operation_id: int
    course_id: str
    file_name: str
    imported_by: str | None
    imported_at: datetime
    total_rows: int
    processed_rows: int
    saved_rows: int
    columns: list[str]
    rows: list[dict[str, Any]]
    error_message: str | None
