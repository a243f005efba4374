"""The commands about courses: publish one, and change a part of it alone.

Whoever publishes sends the whole; what changed is found here, and only that is written, in
one append. The same content again writes nothing.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from domain.application import Application, Command, Done, Idempotency, Work
from domain.courses.blocks import check_outline
from domain.courses.course import Course, Details, Outline, Policy, course_stream
from domain.courses.details import check_details, check_flags, check_modes
from domain.courses.errors import CourseNotFoundError
from domain.courses.fields import Faults
from domain.courses.policy import check_policy
from domain.events import NOBODY, Provenance
from domain.keys import CourseKey, InvalidKeyError, parse_course_key

CHECKED_AT_ONCE: Final = 500
"""Outlines of more blocks are checked in a thread, so that others are answered meanwhile."""


@dataclass(frozen=True, slots=True)
class Published:
    """A course after a command.

    Attributes:
        version: of its outline; None while it has none.
        changed: what the command changed: ``registered``, ``details``, ``flags``,
            ``modes``, ``outline``, ``grading_policy``.
    """

    course_id: str
    version: str | None
    changed: tuple[str, ...]

    @property
    def is_new(self) -> bool:
        """Whether the course was not known before."""
        return "registered" in self.changed


@dataclass(frozen=True, slots=True)
class _Edition:
    """A course as it is to be, checked; None for what stays as it is."""

    details: Details
    outline: Outline
    policy: Policy | None
    flags: Mapping[str, bool] | None
    modes: list[dict[str, Any]] | None


class Courses(Application):
    """Courses with their outlines and grading policies."""

    async def publish(
        self,
        course_id: str,
        *,
        display_name: object,
        start: object = None,
        end: object = None,
        self_paced: object = False,
        blocks: object,
        grading_policy: object = None,
        flags: object = None,
        modes: object = None,
        provenance: Provenance = NOBODY,
        idempotency: Idempotency[Published] | None = None,
    ) -> Done[Published]:
        """Publish a version of a course, the whole of it.

        Args:
            course_id: key of the course; a branch in it is left out.
            display_name: of the course.
            start: ISO 8601 or datetime; None for no such date.
            end: the same.
            self_paced: whether learners set their own dates.
            blocks: objects in document order, the course itself first, as
                ``CourseOutlinePublished`` holds them; ``outline.flatten`` makes them of a tree.
            grading_policy: ``graders`` and ``cutoffs``; None leaves it as it is, which is the
                default policy as long as none was given.
            flags: those to be changed; None for none.
            modes: all of them, each with ``slug``, ``name`` and ``expired_at``; None leaves
                them as they are.
            provenance: who publishes it.
            idempotency: key under which the answer is kept.

        Raises:
            InvalidKeyError: this is no key of a course.
            CourseRequestError: with everything that is wrong.
        """
        key = _course_key(course_id)

        def check() -> _Edition:
            faults = Faults()
            edition = _Edition(
                check_details(faults, display_name, start, end, self_paced),
                check_outline(faults, key, blocks),
                None if grading_policy is None else check_policy(faults, grading_policy),
                None if flags is None else check_flags(faults, flags),
                None if modes is None else check_modes(faults, modes),
            )
            faults.refuse_if_any()
            return edition

        many = isinstance(blocks, list) and len(blocks) > CHECKED_AT_ONCE
        edition = await asyncio.to_thread(check) if many else check()

        def publish(course: Course, at: datetime) -> list[str | None]:
            name = str(key)
            flags, modes, policy = edition.flags, edition.modes, edition.policy
            return [
                course.describe(name, key.org, edition.details, at=at),
                None if flags is None else course.set_flags(name, flags, at=at),
                None if modes is None else course.set_modes(name, modes, at=at),
                course.publish_outline(name, edition.outline, at=at),
                None if policy is None else course.change_policy(name, policy, at=at),
            ]

        return await self._change(key, publish, provenance, idempotency, opens=True)

    async def set_flags(
        self,
        course_id: str,
        flags: object,
        *,
        provenance: Provenance = NOBODY,
        idempotency: Idempotency[Published] | None = None,
    ) -> Done[Published]:
        """Change some flags of a course that was published.

        Raises:
            InvalidKeyError: this is no key of a course.
            CourseRequestError: with everything that is wrong.
            CourseNotFoundError: it was never published.
        """
        key, faults = _course_key(course_id), Faults()
        checked = check_flags(faults, flags)
        faults.refuse_if_any()

        def change(course: Course, at: datetime) -> list[str | None]:
            return [course.set_flags(str(key), checked, at=at)]

        return await self._change(key, change, provenance, idempotency)

    async def set_modes(
        self,
        course_id: str,
        modes: object,
        *,
        provenance: Provenance = NOBODY,
        idempotency: Idempotency[Published] | None = None,
    ) -> Done[Published]:
        """Say in which modes a course that was published can be taken, all of them.

        Raises:
            InvalidKeyError: this is no key of a course.
            CourseRequestError: with everything that is wrong.
            CourseNotFoundError: it was never published.
        """
        key, faults = _course_key(course_id), Faults()
        checked = check_modes(faults, modes)
        faults.refuse_if_any()

        def change(course: Course, at: datetime) -> list[str | None]:
            return [course.set_modes(str(key), checked, at=at)]

        return await self._change(key, change, provenance, idempotency)

    async def _change(
        self,
        key: CourseKey,
        change: Callable[[Course, datetime], list[str | None]],
        provenance: Provenance,
        idempotency: Idempotency[Published] | None,
        *,
        opens: bool = False,
    ) -> Done[Published]:
        """Let a decision be taken about one course."""
        stream_id, name = course_stream(str(key)), str(key)

        async def decide(work: Work) -> Published:
            course, at = work.find(Course, stream_id), self._clock()
            if course is None:
                if not opens:
                    raise CourseNotFoundError(f"no course has the key {name}")
                course = work.add(Course.empty(stream_id, at))
            changed = tuple(part for part in change(course, at) if part)
            return Published(name, course.version_published, changed)

        command: Command[Published] = Command(decide, idempotency)
        return await self._execute([stream_id], command, provenance=provenance)


def _course_key(course_id: str) -> CourseKey:
    """The key without a branch.

    Raises:
        InvalidKeyError: this is none.
    """
    if not isinstance(course_id, str):
        raise InvalidKeyError("the key of a course is text")
    return parse_course_key(course_id).without_branch
