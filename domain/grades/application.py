"""The commands about grades: overriding them, and reporting what they are made of."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from domain.application import (
    Application,
    Clock,
    Command,
    Done,
    Idempotency,
    IdWanted,
    Log,
    Outcome,
    Work,
)
from domain.events import NOBODY, Provenance
from domain.grades.course_grade import CourseGrade
from domain.grades.errors import InvalidPointsError, SubsectionNotFoundError
from domain.grades.grade_import import GradeImport, GradesImported, grade_import_stream
from domain.grades.learner_grades import (
    CHANGED,
    CREATED,
    CoursePassedFirstTime,
    GradesCalculated,
    LearnerGrades,
    LearnerGradesCleared,
    Overridden,
    SubsectionOverrideApplied,
    SubsectionOverrideRemoved,
    learner_grades_stream,
)
from domain.grades.problem_state import ProblemState, ProblemStateSaved, problem_state_stream
from domain.grades.regrading import CourseVersion, Known, Lens, Lenses, as_stored, from_stored
from domain.grades.scores import Override, Totals, filled_override
from domain.grades.structure import Viewer

GRADEBOOK: Final = "GRADEBOOK"
PROCTORING: Final = "PROCTORING"
GRADE_IMPORT: Final = "grade-import"

OVERRIDE_IDS: Final = "override_ids"
GRADE_IDS: Final = "subsection_grade_ids"
HISTORY_IDS: Final = "override_history_ids"
PROBLEM_STATE_IDS: Final = "problem_state_ids"
GRADE_IMPORT_IDS: Final = "grade_import_ids"

MOST_POINTS: Final = 1e9

AT_A_TIME: Final = 200
"""Learners whose grades one command changes side by side."""


class Vault(Protocol):
    """Encrypts what was written about a learner with that learner's key."""

    async def seal(self, subject: str, text: str, context: str) -> str:
        """Encrypt text for a subject; only the same context opens it again."""


def subject_of(user_id: int) -> str:
    """Whose key seals what was written about a user's grades."""
    return f"user:{user_id}"


def override_context(history_id: int) -> str:
    """What binds a sealed reason to its change of an override."""
    return f"override:{history_id}"


def problem_state_context(state_id: int) -> str:
    """What binds a sealed state to its place in history."""
    return f"problem-state:{state_id}"


class OverrideRequest(NamedTuple):
    """One cell of the gradebook to be overridden.

    ``requested`` holds those of ``earned_all``, ``possible_all``, ``earned_graded`` and
    ``possible_graded`` that were asked for, in points; None follows the calculated value.
    ``idempotency`` makes a repeat harmless.
    """

    user_id: int
    usage_key: str
    requested: Mapping[str, float | None]
    reason: str | None
    viewer: Viewer
    idempotency: Idempotency[SubsectionOverrideApplied] | None = None


class Importing(NamedTuple):
    """What became of an uploaded file of grades."""

    file_name: str
    total_rows: int
    processed_rows: int
    saved_rows: int
    columns: Sequence[str]
    rows: Sequence[Mapping[str, Any]]
    error_message: str | None = None


class Grades(Application):
    """Overrides, reported problem states, uploads."""

    def __init__(self, log: Log, clock: Clock, vault: Vault) -> None:
        super().__init__(log, clock)
        self._vault = vault

    # --- overrides --------------------------------------------------------------------------

    async def override(
        self,
        course: CourseVersion,
        requests: Sequence[OverrideRequest],
        *,
        system: str,
        changed_by: str | None,
        changed_by_id: int | None,
        provenance: Provenance = NOBODY,
    ) -> list[Outcome[SubsectionOverrideApplied] | BaseException]:
        """Put other points in the place of calculated ones, and calculate the course grades.

        Each request is carried out or refused by itself. Those about one learner are
        carried out in order and stored in one append; different learners side by side.

        Args:
            course: as it stands.
            requests: the cells.
            system: the feature; GRADEBOOK, PROCTORING or grade-import.
            changed_by: user name of who decided; None for a program.
            changed_by_id: number of the same user.
            provenance: who asked, through what.

        Returns:
            Outcomes in the order of the requests. ``SubsectionNotFoundError`` for a key that
            is no subsection of the course; what else goes wrong with an append is the
            outcome of each request in it.

        Source: Open edX LMS, ``grades.api.override_subsection_grade``.
        """
        lenses = Lenses(self._clock())

        def command(request: OverrideRequest) -> Command[SubsectionOverrideApplied]:
            async def decide(work: Work) -> SubsectionOverrideApplied:
                lens = lenses.of(course, request.viewer)
                return await self._override(work, lens, request, system, changed_by, changed_by_id)

            ids = (IdWanted(HISTORY_IDS), IdWanted(OVERRIDE_IDS), IdWanted(GRADE_IDS))
            return Command(decide, request.idempotency, ids)

        return await self._each_learner(course, requests, command, provenance)

    async def remove_override(
        self,
        course: CourseVersion,
        user_id: int,
        usage_key: str,
        viewer: Viewer,
        *,
        system: str,
        only_of: Sequence[str] | None = None,
        changed_by: str | None = None,
        changed_by_id: int | None = None,
        provenance: Provenance = NOBODY,
        idempotency: Idempotency[SubsectionOverrideRemoved | None] | None = None,
    ) -> Done[SubsectionOverrideRemoved | None]:
        """Let calculated points count again; do nothing where there is no override.

        ``only_of``: overrides of other features stay.

        Source: Open edX LMS, ``grades.api.undo_override_subsection_grade``.
        """
        stream_id = learner_grades_stream(user_id, course.course_id)

        async def decide(work: Work) -> SubsectionOverrideRemoved | None:
            learner = work.find(LearnerGrades, stream_id)
            found = None if learner is None else learner.overrides.get(usage_key)
            if learner is None or found is None:
                return None
            if only_of is not None and found.system not in only_of:
                return None
            event = learner.happened(
                SubsectionOverrideRemoved,
                self._clock(),
                user_id=user_id,
                course_id=course.course_id,
                usage_key=usage_key,
                override_id=found.override_id,
                grade_id=found.grade_id,
                history_id=await work.take_id(HISTORY_IDS),
                system=system,
                changed_by=changed_by,
                changed_by_id=changed_by_id,
                previous=found.components(),
            )
            self._recalculate(learner, Lens(course, viewer, self._clock()), user_id, [])
            return event

        command = Command(decide, idempotency)
        return await self._execute([stream_id], command, provenance=provenance)

    async def clear(
        self, user_id: int, course_id: str, *, provenance: Provenance = NOBODY
    ) -> Done[LearnerGradesCleared | None]:
        """Remove all grades and overrides of a learner in a course; history stays."""
        stream_id = learner_grades_stream(user_id, course_id)

        async def decide(work: Work) -> LearnerGradesCleared | None:
            learner = work.find(LearnerGrades, stream_id)
            if learner is None or not (
                learner.records or learner.overrides or learner.course_grade
            ):
                return None
            return learner.happened(
                LearnerGradesCleared, self._clock(), user_id=user_id, course_id=course_id
            )

        return await self._execute([stream_id], Command(decide), provenance=provenance)

    async def _override(
        self,
        work: Work,
        lens: Lens,
        request: OverrideRequest,
        system: str,
        changed_by: str | None,
        changed_by_id: int | None,
    ) -> SubsectionOverrideApplied:
        course = lens.course
        user_id, usage_key = request.user_id, request.usage_key
        subsection = course.structure.by_key.get(usage_key)
        if subsection is None:
            raise SubsectionNotFoundError(usage_key)
        stream_id = learner_grades_stream(user_id, course.course_id)
        now = self._clock()
        learner = work.find(LearnerGrades, stream_id)
        if learner is None:
            learner = work.add(LearnerGrades.empty(stream_id, now))
        stored = learner.records.get(usage_key)
        record = [*lens.zero(subsection), None] if stored is None else from_stored(stored)
        before = learner.overrides.get(usage_key)
        history_id = await work.take_id(HISTORY_IDS)
        override_id = await work.take_id(OVERRIDE_IDS)
        grade_id = await work.take_id(GRADE_IDS)
        reason = None
        if request.reason is not None:
            context = override_context(history_id)
            reason = await self._vault.seal(subject_of(user_id), request.reason, context)
        event = learner.happened(
            SubsectionOverrideApplied,
            now,
            user_id=user_id,
            course_id=course.course_id,
            usage_key=usage_key,
            override_id=override_id if before is None else before.override_id,
            grade_id=grade_id if before is None else before.grade_id,
            history_id=history_id,
            **filled_override(request.requested, Totals(*record[:4]))._asdict(),
            requested=dict(request.requested),
            reason=reason,
            system=system,
            history_type=CREATED if before is None else CHANGED,
            changed_by=changed_by,
            changed_by_id=changed_by_id,
            previous=None if before is None else before.components(),
        )
        new = [] if stored is not None else [as_stored(usage_key, record)]
        self._recalculate(learner, lens, user_id, new)
        return event

    def _recalculate(
        self,
        learner: LearnerGrades,
        lens: Lens,
        user_id: int,
        new: list[dict[str, Any]],
    ) -> None:
        """Record the course grade that records and overrides make now, if it is another."""
        now, course = self._clock(), lens.course
        known = known_of(learner)
        records = {**known.records, **{r["usage_key"]: from_stored(r) for r in new}}
        grade = lens.course_grade(records, known.overrides)
        if not new and grade == known.course_grade:
            return
        learner.happened(
            GradesCalculated,
            now,
            user_id=user_id,
            course_id=course.course_id,
            subsections=new,
            **grade._asdict(),
            **course.facts(forced=True),
        )
        if grade.passed and not learner.has_passed:
            learner.happened(
                CoursePassedFirstTime, now, user_id=user_id, course_id=course.course_id
            )

    async def _each_learner(
        self,
        course: CourseVersion,
        requests: Sequence[OverrideRequest],
        command: Callable[[OverrideRequest], Command[Any]],
        provenance: Provenance,
    ) -> list[Outcome[Any] | BaseException]:
        by_learner: dict[int, list[int]] = {}
        for index, request in enumerate(requests):
            by_learner.setdefault(request.user_id, []).append(index)
        outcomes: dict[int, Outcome[Any] | BaseException] = {}
        places = asyncio.Semaphore(AT_A_TIME)

        async def carry_out(user_id: int, indexes: list[int]) -> None:
            stream_id = learner_grades_stream(user_id, course.course_id)
            async with places:
                try:
                    found: Sequence[Outcome[Any] | BaseException] = await self._execute_all(
                        [stream_id], [command(requests[i]) for i in indexes], provenance=provenance
                    )
                except Exception as error:  # noqa: BLE001 - handed to each request of the learner
                    found = [error] * len(indexes)
            outcomes.update(zip(indexes, found, strict=True))

        await asyncio.gather(*(carry_out(user, indexes) for user, indexes in by_learner.items()))
        return [outcomes[i] for i in range(len(requests))]

    # --- what grades are made of ------------------------------------------------------------

    async def save_problem_state(
        self,
        user_id: int,
        course_id: str,
        usage_key: str,
        *,
        state: str | None,
        grade: float | None,
        max_grade: float | None,
        provenance: Provenance = NOBODY,
        idempotency: Idempotency[ProblemStateSaved] | None = None,
    ) -> Done[ProblemStateSaved]:
        """Keep how a learner's work at a problem stands in the system that runs it.

        Args:
            user_id: whose.
            course_id: of the problem.
            usage_key: of the problem.
            state: JSON text, sealed before it is stored.
            grade: raw points, None when it was not graded.
            max_grade: raw points possible then.
            provenance: who reports, through what.
            idempotency: what makes a repeat harmless.

        Raises:
            InvalidPointsError: not finite, or so large that sums of them may not be.
        """
        for points in (grade, max_grade):
            if points is not None and not abs(points) <= MOST_POINTS:
                raise InvalidPointsError(points)
        stream_id = problem_state_stream(user_id, usage_key)

        async def decide(work: Work) -> ProblemStateSaved:
            now = self._clock()
            problem = work.find(ProblemState, stream_id)
            if problem is None:
                problem = work.add(ProblemState.empty(stream_id, now))
            state_id = await work.take_id(PROBLEM_STATE_IDS)
            sealed = None
            if state is not None:
                context = problem_state_context(state_id)
                sealed = await self._vault.seal(subject_of(user_id), state, context)
            return problem.happened(
                ProblemStateSaved,
                now,
                state_id=state_id,
                user_id=user_id,
                course_id=course_id,
                usage_key=usage_key,
                state=sealed,
                grade=grade,
                max_grade=max_grade,
            )

        command = Command(decide, idempotency, (IdWanted(PROBLEM_STATE_IDS),))
        return await self._execute([stream_id], command, provenance=provenance)

    async def record_import(
        self,
        course_id: str,
        importing: Importing,
        *,
        imported_by: str | None,
        provenance: Provenance = NOBODY,
    ) -> Done[GradesImported]:
        """Keep which file of grades was uploaded and what became of each row."""
        (operation_id,) = await self._log.take_ids(IdWanted(GRADE_IMPORT_IDS))
        assert operation_id is not None
        stream_id = grade_import_stream(operation_id)

        async def decide(work: Work) -> GradesImported:
            upload = work.add(GradeImport.empty(stream_id, self._clock()))
            return upload.happened(
                GradesImported,
                self._clock(),
                operation_id=operation_id,
                course_id=course_id,
                file_name=importing.file_name,
                imported_by=imported_by,
                total_rows=importing.total_rows,
                processed_rows=importing.processed_rows,
                saved_rows=importing.saved_rows,
                columns=list(importing.columns),
                rows=[dict(row) for row in importing.rows],
                error_message=importing.error_message,
            )

        return await self._execute([stream_id], Command(decide), provenance=provenance)


def known_of(learner: LearnerGrades) -> Known:
    """What is recorded of a learner, as calculations take it."""
    grade = learner.course_grade
    return Known(
        {key: from_stored(found) for key, found in learner.records.items()},
        {key: _components(found) for key, found in learner.overrides.items()},
        None if grade is None else CourseGrade(*grade),
        learner.has_passed,
    )


def _components(found: Overridden) -> Override:
    return Override(
        found.earned_all, found.possible_all, found.earned_graded, found.possible_graded
    )
