"""One good example of each event, any field overridable, and how it stands in the log."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import NAMESPACE_OID, UUID, uuid5

import psycopg

from domain.aggregate import OpeningEvent
from domain.courses.course import (
    CourseDetailsChanged,
    CourseEvent,
    CourseFlagsChanged,
    CourseModesChanged,
    CourseOutlinePublished,
    CourseRegistered,
    GradingPolicyChanged,
    course_stream,
)
from domain.events import NOBODY, Event, Provenance, Recorded
from domain.grades.grade_import import GradesImported, grade_import_stream
from domain.grades.learner_grades import (
    CoursePassedFirstTime,
    GradesCalculated,
    LearnerGradesCleared,
    SubsectionOverrideApplied,
    SubsectionOverrideRemoved,
    learner_grades_stream,
)
from domain.grades.problem_state import ProblemStateSaved, problem_state_stream
from domain.learners.cohort import (
    CohortChanged,
    CohortCreated,
    CohortingChanged,
    cohort_stream,
    cohorting_stream,
)
from domain.learners.enrollment import (
    EnrollmentModeChanged,
    LearnerEnrolled,
    LearnerReenrolled,
    LearnerUnenrolled,
    enrollment_stream,
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
    user_stream,
)
from domain.submissions.fields import StudentItemKey
from domain.submissions.student_item import (
    ScoreReset,
    ScoreSet,
    StudentItem,
    StudentItemRegistered,
    SubmissionCreated,
    SubmissionDeleted,
    student_item_stream,
)
from domain.submissions.team_submission import (
    TeamScoreSet,
    TeamScoresReset,
    TeamSubmission,
    TeamSubmissionCreated,
    TeamSubmissionDeleted,
)
from infra.log.codec import encode_event, encode_provenance

E = TypeVar("E", bound=Event)

COURSE = "course-v1:Demo+S1+2026"
ITEM = "block-v1:Demo+S1+2026+type@openassessment+block@essay"
TYPE = "openassessment"
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def at(minutes: float) -> datetime:
    """Some minutes after noon."""
    return NOON + timedelta(minutes=minutes)


def uuid(n: int) -> UUID:
    """The uuid of the n-th submission."""
    return uuid5(NAMESPACE_OID, f"submission {n}")


def team_uuid(n: int) -> UUID:
    """The uuid of the n-th team submission."""
    return uuid5(NAMESPACE_OID, f"team submission {n}")


def student(item: int) -> str:
    """Whose the n-th student item is."""
    return {1: "anna", 2: "ben", 3: "cleo"}.get(item, f"student-{item}")


def key(student_id: str = "anna", **fields: str) -> StudentItemKey:
    """A student's key for the item of all examples."""
    return StudentItemKey(
        **{
            "student_id": student_id,
            "course_id": COURSE,
            "item_id": ITEM,
            "item_type": TYPE,
            **fields,
        }
    )


def student_item_registered(item: int = 1, **fields: Any) -> StudentItemRegistered:
    return _of_student_item(
        StudentItemRegistered, item, originator_topic=StudentItem.TOPIC, **fields
    )


def submission_created(n: int = 1, *, item: int = 1, **fields: Any) -> SubmissionCreated:
    return _of_student_item(
        SubmissionCreated,
        item,
        **{
            "submission_uuid": uuid(n),
            "submission_id": n,
            "attempt_number": 1,
            "submitted_at": at(n),
            "answer": f"1:sealed answer {n}",
            "answer_size": 20,
            "team_submission_uuid": None,
            **fields,
        },
    )


def score_set(score_id: int = 1, *, n: int = 1, item: int = 1, **fields: Any) -> ScoreSet:
    return _of_student_item(
        ScoreSet,
        item,
        **{
            "score_id": score_id,
            "submission_uuid": uuid(n),
            "submission_id": n,
            "points_earned": 5,
            "points_possible": 10,
            "annotation": None,
            "team_submission_uuid": None,
            **fields,
        },
    )


def score_reset(score_id: int = 1, *, item: int = 1, **fields: Any) -> ScoreReset:
    return _of_student_item(
        ScoreReset,
        item,
        **{"score_id": score_id, "clear_state": False, "emit_signal": True, **fields},
    )


def submission_deleted(n: int = 1, *, item: int = 1, **fields: Any) -> SubmissionDeleted:
    return _of_student_item(
        SubmissionDeleted,
        item,
        **{
            "submission_uuid": uuid(n),
            "submission_id": n,
            "cause": "clear_state",
            **fields,
        },
    )


def team_submission_created(n: int = 1, **fields: Any) -> TeamSubmissionCreated:
    return _of_team(
        TeamSubmissionCreated,
        n,
        **{
            "originator_topic": TeamSubmission.TOPIC,
            "team_submission_id": n,
            "item_type": TYPE,
            "team_id": "team-1",
            "submitted_by": None,
            "attempt_number": 1,
            "submitted_at": at(n),
            "answer": f"1:sealed team answer {n}",
            "answer_size": 20,
            "member_submissions": [],
            "skipped_members": [],
            **fields,
        },
    )


def team_score_set(n: int = 1, **fields: Any) -> TeamScoreSet:
    return _of_team(
        TeamScoreSet, n, **{"points_earned": 5, "points_possible": 10, "score_ids": [], **fields}
    )


def team_scores_reset(n: int = 1, **fields: Any) -> TeamScoresReset:
    return _of_team(TeamScoresReset, n, **{"clear_state": False, "score_ids": [], **fields})


def team_submission_deleted(n: int = 1, **fields: Any) -> TeamSubmissionDeleted:
    return _of_team(TeamSubmissionDeleted, n, **fields)


def annotation(**fields: str) -> dict[str, str]:
    return {"creator": "staff", "annotation_type": "staff_defined", "reason": "1:sealed", **fields}


def _of_student_item(kind: type[E], item: int, **fields: Any) -> E:
    given = {name: fields.pop(name) for name in StudentItemKey._fields if name in fields}
    whose = key(**{"student_id": student(item), **given})
    return kind(
        **{
            "originator_id": student_item_stream(whose.student_id, whose.course_id, whose.item_id),
            "originator_version": 1,
            "timestamp": NOON,
            "student_item_id": item,
            **whose.as_dict(),
            **fields,
        }
    )


def _of_team(kind: type[E], n: int, **fields: Any) -> E:
    return kind(
        **{
            "originator_id": team_uuid(n),
            "originator_version": 1,
            "timestamp": NOON,
            "team_submission_uuid": team_uuid(n),
            "course_id": COURSE,
            "item_id": ITEM,
            **fields,
        }
    )


# --- in the log -----------------------------------------------------------------------------


def recorded(
    events: Iterable[Event], *, after: int = 0, provenance: Provenance = NOBODY
) -> list[Recorded]:
    """Events as they stand in the log above a position."""
    return [
        Recorded(
            position, event, event.TOPIC, uuid5(NAMESPACE_OID, str(position)), NOON, provenance
        )
        for position, event in enumerate(events, after + 1)
    ]


APPEND = """
INSERT INTO gradelog.events
    (position, stream_id, version, type, data, metadata, event_id, recorded_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
"""


def store(
    db: psycopg.Connection, events: Iterable[Event], *, provenance: Provenance = NOBODY
) -> int:
    """Put events into the log of a test database; return its head.

    For tests of those who read the log. What is stored need not make sense as a history, so
    each event gets the version that is free in its stream.
    """
    with db.transaction():
        db.execute("LOCK TABLE gradelog.events IN SHARE ROW EXCLUSIVE MODE")
        (head,) = db.execute("SELECT coalesce(max(position), 0) FROM gradelog.events").fetchone()
        new = recorded(events, after=head, provenance=provenance)
        with db.cursor() as cursor:
            cursor.executemany(
                APPEND,
                [
                    (
                        one.position,
                        one.event.originator_id,
                        one.position,  # rises within the stream too
                        one.type,
                        encode_event(one.event).decode(),
                        encode_provenance(one.provenance),
                        one.event_id,
                        one.recorded_at,
                    )
                    for one in new
                ],
            )
    return head + len(new)


# --- courses ----------------------------------------------------------------------------------

C = TypeVar("C", bound=CourseEvent)


def block(kind: str, name: str, parent: dict[str, Any] | None = None, **fields: Any) -> Any:
    """A block of the course as it stands in an outline."""
    return {
        "usage_key": f"{COURSE.replace('course-v1', 'block-v1')}+type@{kind}+block@{name}",
        "type": kind,
        "parent": None if parent is None else parent["usage_key"],
        "display_name": name.title(),
        **fields,
    }


def outline() -> list[Any]:
    """A course of one graded subsection, which holds a problem and the essay."""
    course = block("course", "course")
    chapter = block("chapter", "week", course)
    homework = block("sequential", "homework", chapter, graded=True, format="Homework")
    unit = block("vertical", "unit", homework)
    return [
        course,
        chapter,
        homework,
        unit,
        block("problem", "sums", unit, max_score=4.0),
        block("openassessment", "essay", unit, max_score=10.0),
    ]


def course_registered(**fields: Any) -> CourseRegistered:
    values = {"org": "Demo", "display_name": "Demo", "start": NOON, "end": None}
    return _of_course(CourseRegistered, **values | {"self_paced": False} | fields)


def course_details_changed(**fields: Any) -> CourseDetailsChanged:
    values = {"display_name": "Demo", "start": NOON, "end": None, "self_paced": False}
    return _of_course(CourseDetailsChanged, **values | fields)


def course_flags_changed(**fields: Any) -> CourseFlagsChanged:
    values = {
        "writable_gradebook": True,
        "bulk_management": True,
        "freeze_after_end": False,
        "rejected_exam_overrides_grade": False,
    }
    return _of_course(CourseFlagsChanged, **values | fields)


def course_modes_changed(**fields: Any) -> CourseModesChanged:
    modes = [{"slug": "verified", "name": "Verified", "expired_at": None}]
    return _of_course(CourseModesChanged, **{"modes": modes, **fields})


def course_outline_published(**fields: Any) -> CourseOutlinePublished:
    return _of_course(
        CourseOutlinePublished, **{"version": "version 1", "blocks": outline(), **fields}
    )


def grading_policy_changed(**fields: Any) -> GradingPolicyChanged:
    homework = {"type": "Homework", "short_label": "HW", "min_count": 1, "drop_count": 0}
    values = {
        "graders": [homework | {"weight": 1.0}],
        "cutoffs": {"Pass": 0.5},
        "policy_hash": "policy 1",
    }
    return _of_course(GradingPolicyChanged, **values | fields)


def _of_course(kind: type[C], **fields: Any) -> C:
    course_id = fields.pop("course_id", COURSE)
    return kind(
        **{
            "originator_id": course_stream(course_id),
            "originator_version": 1,
            "timestamp": NOON,
            "course_id": course_id,
            **fields,
        }
    )


# --- learners ---------------------------------------------------------------------------------

L = TypeVar("L", bound=OpeningEvent)


def user_registered(user_id: int = 1, **fields: Any) -> UserRegistered:
    """The n-th user, whose name is that of the n-th student."""
    values = {"username": student(user_id), "email": None, "full_name": None}
    values |= {"is_active": True, "is_staff": False, "anonymous_ids": []}
    return _of_user(UserRegistered, user_id, **values | fields)


def user_profile_changed(user_id: int = 1, **fields: Any) -> UserProfileChanged:
    return _of_user(UserProfileChanged, user_id, **{"email": None, "full_name": None, **fields})


def user_activation_changed(user_id: int = 1, **fields: Any) -> UserActivationChanged:
    return _of_user(UserActivationChanged, user_id, **{"is_active": False, **fields})


def global_staff_changed(user_id: int = 1, **fields: Any) -> GlobalStaffChanged:
    return _of_user(GlobalStaffChanged, user_id, **{"is_staff": True, **fields})


def anonymous_ids_changed(user_id: int = 1, **fields: Any) -> AnonymousIdsChanged:
    values = {"anonymous_ids": [f"anonymous-{user_id}"], **fields}
    return _of_user(AnonymousIdsChanged, user_id, **values)


def course_role_granted(user_id: int = 1, **fields: Any) -> CourseRoleGranted:
    values = {"org": "Demo", "course_id": COURSE, "role": "staff", **fields}
    return _of_user(CourseRoleGranted, user_id, **values)


def course_role_revoked(user_id: int = 1, **fields: Any) -> CourseRoleRevoked:
    values = {"org": "Demo", "course_id": COURSE, "role": "staff", **fields}
    return _of_user(CourseRoleRevoked, user_id, **values)


def program_enrollment_linked(user_id: int = 1, **fields: Any) -> ProgramEnrollmentLinked:
    values = {"course_id": COURSE, "external_user_key": f"key-{user_id}", "status": "active"}
    return _of_user(ProgramEnrollmentLinked, user_id, **values | fields)


def cohort_membership_changed(user_id: int = 1, **fields: Any) -> CohortMembershipChanged:
    values = {"course_id": COURSE, "cohort_id": 1, "previous_cohort_id": None}
    return _of_user(CohortMembershipChanged, user_id, **values | fields)


def learner_enrolled(user_id: int = 1, **fields: Any) -> LearnerEnrolled:
    values = {"mode": "verified", "enrolled_at": NOON, **fields}
    return _of_enrollment(LearnerEnrolled, user_id, **values)


def enrollment_mode_changed(user_id: int = 1, **fields: Any) -> EnrollmentModeChanged:
    return _of_enrollment(EnrollmentModeChanged, user_id, **{"mode": "masters", **fields})


def learner_unenrolled(user_id: int = 1, **fields: Any) -> LearnerUnenrolled:
    return _of_enrollment(LearnerUnenrolled, user_id, **{"unenrolled_at": NOON, **fields})


def learner_reenrolled(user_id: int = 1, **fields: Any) -> LearnerReenrolled:
    return _of_enrollment(LearnerReenrolled, user_id, **{"mode": "verified", **fields})


def cohort_created(cohort_id: int = 1, **fields: Any) -> CohortCreated:
    return _of_cohort(CohortCreated, cohort_id, **fields)


def cohort_changed(cohort_id: int = 1, **fields: Any) -> CohortChanged:
    return _of_cohort(CohortChanged, cohort_id, **fields)


def cohorting_changed(**fields: Any) -> CohortingChanged:
    course_id = fields.get("course_id", COURSE)
    values = {"course_id": course_id, "is_cohorted": True, **fields}
    return _in_stream(CohortingChanged, cohorting_stream(course_id), **values)


def _of_user(kind: type[L], user_id: int, **fields: Any) -> L:
    return _in_stream(kind, user_stream(user_id), user_id=user_id, **fields)


def _of_enrollment(kind: type[L], user_id: int, **fields: Any) -> L:
    values = {"enrollment_id": user_id, "user_id": user_id, "course_id": COURSE, **fields}
    return _in_stream(kind, enrollment_stream(user_id, values["course_id"]), **values)


def _of_cohort(kind: type[L], cohort_id: int, **fields: Any) -> L:
    values = {"cohort_id": cohort_id, "course_id": COURSE, "name": f"Cohort {cohort_id}"}
    values |= {"assignment_type": "manual", "user_partition_id": None, "group_id": None}
    return _in_stream(kind, cohort_stream(cohort_id), **values | fields)


def _in_stream(kind: type[L], stream_id: UUID, **fields: Any) -> L:
    values = {"originator_id": stream_id, "originator_version": 1, "timestamp": NOON}
    return kind(**values | fields)


# --- grades ---------------------------------------------------------------------------------


def grades_calculated(user_id: int = 1, **fields: Any) -> GradesCalculated:
    values: dict[str, Any] = {
        "subsections": [
            {
                "usage_key": f"{COURSE.replace('course-v1', 'block-v1')}+type@sequential+block@hw1",
                "earned_all": 5.0,
                "possible_all": 6.0,
                "earned_graded": 5.0,
                "possible_graded": 6.0,
                "first_attempted": "2026-03-02T12:00:00+00:00",
            }
        ],
        "percent": 0.83,
        "letter": "B",
        "passed": True,
        "policy_hash": "policy",
        "course_version": "version",
        "course_edited_at": NOON,
        "forced": False,
    }
    return _of_grades(GradesCalculated, user_id, **values | fields)


def course_passed_first_time(user_id: int = 1, **fields: Any) -> CoursePassedFirstTime:
    return _of_grades(CoursePassedFirstTime, user_id, **fields)


def subsection_override_applied(user_id: int = 1, **fields: Any) -> SubsectionOverrideApplied:
    values: dict[str, Any] = {
        "usage_key": f"{COURSE.replace('course-v1', 'block-v1')}+type@sequential+block@hw1",
        "override_id": 1,
        "grade_id": 1,
        "history_id": 1,
        "earned_all": 5.0,
        "possible_all": 6.0,
        "earned_graded": 6.0,
        "possible_graded": 6.0,
        "requested": {"earned_graded": 6.0},
        "reason": "1:sealed reason",
        "system": "GRADEBOOK",
        "history_type": "+",
        "changed_by": "prof",
        "changed_by_id": 7,
        "previous": None,
    }
    return _of_grades(SubsectionOverrideApplied, user_id, **values | fields)


def subsection_override_removed(user_id: int = 1, **fields: Any) -> SubsectionOverrideRemoved:
    values: dict[str, Any] = {
        "usage_key": f"{COURSE.replace('course-v1', 'block-v1')}+type@sequential+block@hw1",
        "override_id": 1,
        "grade_id": 1,
        "history_id": 2,
        "system": "GRADEBOOK",
        "changed_by": "prof",
        "changed_by_id": 7,
        "previous": {
            "earned_all": 5.0,
            "possible_all": 6.0,
            "earned_graded": 6.0,
            "possible_graded": 6.0,
        },
    }
    return _of_grades(SubsectionOverrideRemoved, user_id, **values | fields)


def learner_grades_cleared(user_id: int = 1, **fields: Any) -> LearnerGradesCleared:
    return _of_grades(LearnerGradesCleared, user_id, **fields)


def problem_state_saved(user_id: int = 1, **fields: Any) -> ProblemStateSaved:
    usage_key = f"{COURSE.replace('course-v1', 'block-v1')}+type@problem+block@p1"
    values: dict[str, Any] = {
        "state_id": 1,
        "user_id": user_id,
        "course_id": COURSE,
        "usage_key": usage_key,
        "state": "1:sealed state",
        "grade": 1.0,
        "max_grade": 2.0,
    }
    stream_id = problem_state_stream(user_id, fields.get("usage_key", usage_key))
    return _in_stream(ProblemStateSaved, stream_id, **values | fields)


def grades_imported(operation_id: int = 1, **fields: Any) -> GradesImported:
    values: dict[str, Any] = {
        "operation_id": operation_id,
        "course_id": COURSE,
        "file_name": "grades.csv",
        "imported_by": "prof",
        "total_rows": 1,
        "processed_rows": 1,
        "saved_rows": 1,
        "columns": ["user_id", "course_id", "new_override-hw1"],
        "rows": [{"user_id": "1", "course_id": COURSE, "status": "Success", "error": ""}],
        "error_message": None,
    }
    return _in_stream(GradesImported, grade_import_stream(operation_id), **values | fields)


def _of_grades(kind: type[L], user_id: int, **fields: Any) -> L:
    values = {"user_id": user_id, "course_id": COURSE, **fields}
    return _in_stream(kind, learner_grades_stream(user_id, values["course_id"]), **values)
