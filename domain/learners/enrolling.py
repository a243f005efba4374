"""The commands about enrolments: who is in which course, and on which track."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from domain.application import Command, Done, Idempotency, IdWanted, Outcome, Work
from domain.errors import ConflictError, DomainError
from domain.events import NOBODY, Provenance
from domain.learners import fields
from domain.learners.directory import TOGETHER, Directory
from domain.learners.enrollment import Enrollment, enrollment_stream
from domain.learners.fields import EnrollmentValues

ENROLLMENT_IDS: Final = "enrollment_ids"


class EnrollmentState(NamedTuple):
    """An enrolment as it is after a command."""

    enrollment_id: int
    user_id: int
    course_id: str
    mode: str
    is_active: bool
    enrolled_at: datetime


class Enrollments(Directory):
    """Enrolments."""

    async def set_enrollment(
        self,
        username: object = None,
        course_id: object = None,
        mode: object = None,
        is_active: object = None,
        *,
        user_id: object = None,
        enrolled_at: object = None,
        unenrolled_at: object = None,
        provenance: Provenance = NOBODY,
        idempotency: Idempotency[EnrollmentState] | None = None,
    ) -> Done[EnrollmentState]:
        """Enrol a user in a course, change the track, or end the enrolment.

        Args:
            username: whom; or by ``user_id``.
            course_id: key of the course, which need not be registered yet.
            mode: the track; None leaves it, ``audit`` for a new enrolment.
            is_active: False ends the enrolment; None leaves it, True for a new one.
            user_id: number of the user.
            enrolled_at: since when, for a new enrolment; now when None.
            unenrolled_at: until when, for one that ends; now when None.
            provenance: who enrols, through what.
            idempotency: what makes a repeat harmless.

        Raises:
            InvalidLearnerError: bad values, all of them.
            UserNotFoundError: nobody is called so.
            IdempotencyKeyReusedError: the key was used for another request.
        """
        values = fields.enrollment(
            {
                "username": username,
                "user_id": user_id,
                "course_id": course_id,
                "mode": mode,
                "is_active": is_active,
                "enrolled_at": enrolled_at,
                "unenrolled_at": unenrolled_at,
            }
        )
        user_id = await self.find_user(values.username, values.user_id)
        stream_id, command = self._enrollment(values, user_id)
        command = replace(command, idempotency=idempotency)
        return await self._execute((stream_id,), command, provenance=provenance)

    async def set_enrollments(
        self, enrollments: Iterable[Mapping[str, Any]], *, provenance: Provenance = NOBODY
    ) -> list[Outcome[EnrollmentState]]:
        """Set many enrolments, given by the arguments of ``set_enrollment``.

        Returns one outcome for each, in their order; a refusal does not touch the others.
        """
        outcomes: dict[int, Outcome[EnrollmentState]] = {}
        checked: list[tuple[int, EnrollmentValues]] = []
        for number, given in enumerate(enrollments):
            try:
                checked.append((number, fields.enrollment(given)))
            except DomainError as refusal:
                outcomes[number] = refusal
        found = await self.resolve([(v.username, v.user_id) for _, v in checked])
        by_stream: dict[UUID, list[tuple[int, Command[EnrollmentState]]]] = {}
        for (number, values), user_id in zip(checked, found, strict=True):
            if isinstance(user_id, DomainError):
                outcomes[number] = user_id
                continue
            stream_id, command = self._enrollment(values, user_id)
            by_stream.setdefault(stream_id, []).append((number, command))
        streams = list(by_stream)
        chunks = [streams[n : n + TOGETHER] for n in range(0, len(streams), TOGETHER)]

        async def together(chunk: Sequence[UUID]) -> None:
            numbered = [entry for stream_id in chunk for entry in by_stream[stream_id]]
            done: Sequence[Outcome[Any]]
            try:
                done = await self._execute_all(
                    chunk, [command for _, command in numbered], provenance=provenance
                )
            except ConflictError as refusal:
                done = [refusal] * len(numbered)
            outcomes.update(zip((number for number, _ in numbered), done, strict=True))

        await self._side_by_side(chunks, together)
        return [outcomes[number] for number in sorted(outcomes)]

    def _enrollment(
        self, values: EnrollmentValues, user_id: int
    ) -> tuple[UUID, Command[EnrollmentState]]:
        """The command that makes an enrolment what it shall be, and its stream."""
        stream_id = enrollment_stream(user_id, values.course_id)

        async def decide(work: Work) -> EnrollmentState:
            now = self._clock()
            enrollment = work.find(Enrollment, stream_id)
            if enrollment is None:
                enrollment = work.add(Enrollment.empty(stream_id, now))
                enrollment.enroll(
                    await work.take_id(ENROLLMENT_IDS),
                    user_id,
                    values.course_id,
                    values.mode or fields.DEFAULT_MODE,
                    enrolled_at=values.enrolled_at,
                    at=now,
                )
            elif values.is_active and not enrollment.is_active:
                enrollment.reenroll(values.mode or enrollment.mode, at=now)
            elif values.mode is not None:
                enrollment.change_mode(values.mode, at=now)
            if values.is_active is False:
                enrollment.unenroll(values.unenrolled_at, at=now)
            return _enrollment_state(enrollment)

        return stream_id, Command(decide, ids=(IdWanted(ENROLLMENT_IDS, stream_id),))


def _enrollment_state(enrollment: Enrollment) -> EnrollmentState:
    assert enrollment.enrolled_at is not None
    return EnrollmentState(
        enrollment.enrollment_id,
        enrollment.user_id,
        enrollment.course_id,
        enrollment.mode,
        enrollment.is_active,
        enrollment.enrolled_at,
    )
