"""The commands behind the messages of our own family of types."""

from collections.abc import Awaitable
from typing import Any, Final

import orjson

from consumers.inbound import models
from consumers.inbound.envelope import Envelope
from consumers.inbound.exams import PROCTORED, exam_of
from consumers.inbound.requests import CarryOut, Commands, Once, RejectedError
from domain.application import Done
from domain.events import Provenance
from domain.grades.application import PROCTORING, OverrideRequest
from domain.keys import BlockKey, CourseKey, parse_block_key, parse_course_key

NOTHING_COUNTS: Final = {"earned_all": 0.0, "earned_graded": 0.0}


# --- scores -----------------------------------------------------------------------------------


def report_score(value: models.ScoreReported, envelope: Envelope) -> CarryOut:
    """Set the score of a submission."""
    annotation = value.annotation
    score = (
        value.points_earned,
        value.points_possible,
        *(
            (None, None, None)
            if annotation is None
            else (annotation.creator, annotation.annotation_type, annotation.reason)
        ),
    )

    def carry_out(commands: Commands, once: Once, provenance: Provenance) -> Awaitable[Done[Any]]:
        submissions = commands.submissions
        if value.student_item is None:
            return submissions.set_score(
                value.submission_uuid, *score, provenance=provenance, idempotency=once()
            )
        answer = {"reported_by": envelope.source, "message_id": envelope.id}
        return submissions.set_latest_score(
            value.student_item.model_dump(),
            *score,
            missing_answer=answer if value.create_submission else None,
            provenance=provenance,
            idempotency=once(),
        )

    return carry_out


def save_problem_state(value: models.ProblemStateSaved, _: Envelope) -> CarryOut:
    """Keep how a learner's work at a problem stands."""

    async def carry_out(commands: Commands, once: Once, provenance: Provenance) -> Done[Any]:
        course = parse_course_key(value.course_id).without_branch
        block = parse_block_key(value.usage_key)
        if _run_of(course) != _run_of(block.course):
            raise RejectedError("invalid", "the usage_key is one of another course")
        user_id = await commands.learners.find_user(value.username, value.user_id)
        return await commands.grades.save_problem_state(
            user_id,
            str(course),
            str(BlockKey(block.course.without_branch, block.block_type, block.block_id)),
            state=None if value.state is None else orjson.dumps(value.state).decode(),
            grade=value.grade,
            max_grade=value.max_grade,
            provenance=provenance,
            idempotency=once(),
        )

    return carry_out


def _run_of(course: CourseKey) -> tuple[str, str, str]:
    """Which run it is, however old the form of the key."""
    return course.org, course.course, course.run


def reject_attempt(value: models.ExamAttemptRejected, _: Envelope) -> CarryOut:
    """Let an exam count nothing.

    Source: Open edX LMS, what its grades do on ``EXAM_ATTEMPT_REJECTED``.
    """

    async def carry_out(commands: Commands, once: Once, provenance: Provenance) -> Done[Any]:
        exam = await exam_of(commands, **value.model_dump())
        request = OverrideRequest(
            exam.user_id, exam.usage_key, NOTHING_COUNTS, None, exam.viewer, once()
        )
        (outcome,) = await commands.grades.override(
            exam.course,
            [request],
            system=PROCTORING,
            changed_by=None,
            changed_by_id=None,
            provenance=provenance,
        )
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    return carry_out


def verify_attempt(value: models.ExamAttemptVerified, _: Envelope) -> CarryOut:
    """Let what was calculated count again, if a proctor had decided otherwise.

    Source: Open edX LMS, what its grades do on ``EXAM_ATTEMPT_VERIFIED``.
    """

    async def carry_out(commands: Commands, once: Once, provenance: Provenance) -> Done[Any]:
        exam = await exam_of(commands, **value.model_dump())
        return await commands.grades.remove_override(
            exam.course,
            exam.user_id,
            exam.usage_key,
            exam.viewer,
            system=PROCTORING,
            # Where the course has it otherwise nothing is removed, and that is remembered:
            # the same message must not find more later.
            only_of=PROCTORED if exam.may_be_undone else (),
            provenance=provenance,
            idempotency=once(),
        )

    return carry_out


# --- people -----------------------------------------------------------------------------------


def change_user(value: models.UserChanged, _: Envelope) -> CarryOut:
    """Register a user, or change one."""
    given = value.model_dump(exclude={"username"})

    def carry_out(commands: Commands, once: Once, provenance: Provenance) -> Awaitable[Done[Any]]:
        return commands.learners.register_user(
            value.username, **given, provenance=provenance, idempotency=once()
        )

    return carry_out


def change_enrollment(value: models.EnrollmentChanged, _: Envelope) -> CarryOut:
    """Enrol a user, change the track, or end the enrolment."""
    given = value.model_dump()

    def carry_out(commands: Commands, once: Once, provenance: Provenance) -> Awaitable[Done[Any]]:
        return commands.learners.set_enrollment(**given, provenance=provenance, idempotency=once())

    return carry_out


def grant_role(value: models.CourseRoleGranted, _: Envelope) -> CarryOut:
    """Give a user a role in a course."""

    def carry_out(commands: Commands, once: Once, provenance: Provenance) -> Awaitable[Done[Any]]:
        return commands.learners.grant_role(
            value.username,
            value.role,
            course_id=value.course_id,
            provenance=provenance,
            idempotency=once(),
        )

    return carry_out


def revoke_role(value: models.CourseRoleRevoked, _: Envelope) -> CarryOut:
    """Take a role in a course away."""

    def carry_out(commands: Commands, once: Once, provenance: Provenance) -> Awaitable[Done[Any]]:
        return commands.learners.revoke_role(
            value.username,
            value.role,
            course_id=value.course_id,
            provenance=provenance,
            idempotency=once(),
        )

    return carry_out
