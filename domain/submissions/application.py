"""The commands of the submissions interface.

Each public command validates what needs no history, seals what learners wrote, and then
decides on the streams it touches. ``prepare_*`` does the first part alone, so that many
commands can be carried out together with ``execute_all``: those about one stream in order
and in one append, different streams side by side.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar
from uuid import UUID, uuid4

from domain.application import (
    Application,
    Claim,
    Clock,
    Command,
    Done,
    Idempotency,
    IdWanted,
    Log,
    Outcome,
    Work,
    rebuild,
)
from domain.events import NOBODY, Provenance
from domain.submissions import fields
from domain.submissions.errors import (
    DuplicateTeamSubmissionsError,
    FieldMessage,
    SubmissionInternalError,
    SubmissionNotFoundError,
    SubmissionRequestError,
    TeamSubmissionInternalError,
    TeamSubmissionNotFoundError,
    TeamSubmissionRequestError,
)
from domain.submissions.fields import FieldError, Form, StudentItemKey
from domain.submissions.student_item import (
    NewScore,
    NewSubmission,
    ScoreReset,
    ScoreSet,
    StudentItem,
    SubmissionCreated,
    student_item_stream,
)
from domain.submissions.team_submission import (
    TeamSubmission,
    TeamSubmissionCreated,
    active_team_claim,
)

R = TypeVar("R")

STUDENT_ITEM_IDS = "student_item_ids"
SUBMISSION_IDS = "submission_ids"
SCORE_IDS = "score_ids"
TEAM_SUBMISSION_IDS = "team_submission_ids"

REMEMBERED_SUBMISSIONS = 50_000
NO_STREAM = UUID(int=0)


class Vault(Protocol):
    """Encrypts what a learner wrote with that learner's key."""

    async def seal(self, subject: str, text: str, context: str) -> str:
        """Encrypt text for a subject; only the same context opens it again."""


def submission_claim(submission_uuid: UUID) -> str:
    """The key under which the log knows the student item of a submission."""
    return f"submission:{submission_uuid}"


def answer_context(submission_uuid: UUID) -> str:
    """What binds a sealed answer to its submission."""
    return f"answer:{submission_uuid}"


def reason_context(score_id: int) -> str:
    """What binds the sealed reason of an annotation to its score."""
    return f"reason:{score_id}"


def team_subject(team_submission_uuid: UUID) -> str:
    """Whose key seals the answer of a team."""
    return f"team-submission:{team_submission_uuid}"


@dataclass(frozen=True, slots=True)
class CreatedSubmission:
    """A stored submission and its answer as JSON text."""

    event: SubmissionCreated
    answer_text: str


@dataclass(frozen=True, slots=True)
class CreatedTeamSubmission:
    """A stored team submission and its answer as JSON text."""

    team: TeamSubmission
    event: TeamSubmissionCreated
    answer_text: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """A command that has passed what can be checked without history."""

    stream_ids: tuple[UUID, ...]
    command: Command[Any]
    submission_uuid: UUID | None = None


class Submissions(Application):
    """Submissions, scores and resets, of learners and of teams."""

    def __init__(self, log: Log, clock: Clock, vault: Vault) -> None:
        super().__init__(log, clock)
        self._vault = vault
        self._items_of: dict[UUID, UUID] = {}

    # --- one learner ------------------------------------------------------------------------

    async def create_submission(
        self,
        student_item: object,
        answer: object,
        submitted_at: object = None,
        attempt_number: object = None,
        team_submission: object = None,
        *,
        provenance: Provenance = NOBODY,
        idempotency: Idempotency[CreatedSubmission] | None = None,
    ) -> Done[CreatedSubmission]:
        """Hand in an answer.

        Args:
            student_item: dict of ``student_id``, ``course_id``, ``item_id``, ``item_type``.
            answer: any JSON value but null, at most 102400 characters of JSON text.
            submitted_at: datetime or ISO text, naive means UTC; now when falsy.
            attempt_number: 0 or more; one more than the last attempt when None.
            team_submission: uuid of an active team submission, or an object with ``uuid``.
            provenance: who hands in, through what.
            idempotency: under which the answer of this command is kept.

        Raises:
            SubmissionRequestError: bad fields, all of them in ``field_errors``.

        Source: edx-submissions, ``submissions.api.create_submission``.
        """
        prepared = await self.prepare_create_submission(
            student_item,
            answer,
            submitted_at,
            attempt_number,
            team_submission,
            idempotency=idempotency,
        )
        return await self._execute(prepared.stream_ids, prepared.command, provenance=provenance)

    async def prepare_create_submission(
        self,
        student_item: object,
        answer: object,
        submitted_at: object = None,
        attempt_number: object = None,
        team_submission: object = None,
        *,
        idempotency: Idempotency[CreatedSubmission] | None = None,
    ) -> Prepared:
        """Check a submission and seal its answer; see ``create_submission``."""
        key = fields.student_item(student_item)
        form = Form()
        number = None
        if attempt_number is not None:
            number = form.check("attempt_number", fields.integer, attempt_number)
        at = form.check("submitted_at", fields.moment, submitted_at) if submitted_at else None
        text = form.check("answer", fields.answer_text, answer)
        team_uuid = await self._active_team(form, team_submission, idempotency)
        form.refuse_if_bad()
        assert text is not None
        submission_uuid = uuid4()
        sealed = await self._vault.seal(key.student_id, text, answer_context(submission_uuid))
        stream_id = _stream_of(key)

        async def decide(work: Work) -> CreatedSubmission:
            now = self._clock()
            team = None if team_uuid is None else work.find(TeamSubmission, team_uuid)
            if team_uuid is not None and (team is None or team.deleted):
                raise SubmissionRequestError(field_errors=_unknown_team(team_uuid))
            item, submission_id = await self._item_for_submission(work, key, stream_id, now)
            event = item.create_submission(
                NewSubmission(
                    submission_uuid, submission_id, at, number, sealed, len(text), team_uuid
                ),
                at=now,
            )
            if team is not None:
                team.add_member(key.student_id, submission_uuid, at=now)
            work.claims.append(Claim(submission_claim(submission_uuid), stream_id))
            return CreatedSubmission(event, text)

        ids = (IdWanted(STUDENT_ITEM_IDS, stream_id), IdWanted(SUBMISSION_IDS))
        streams = (stream_id,) if team_uuid is None else (stream_id, team_uuid)
        return Prepared(streams, Command(decide, idempotency, ids), submission_uuid)

    async def set_score(
        self,
        submission_uuid: object,
        points_earned: object,
        points_possible: object,
        annotation_creator: object = None,
        annotation_type: object = None,
        annotation_reason: object = None,
        *,
        provenance: Provenance = NOBODY,
        idempotency: Idempotency[ScoreSet] | None = None,
    ) -> Done[ScoreSet]:
        """Say what a submission is worth.

        Args:
            submission_uuid: a UUID, or text in any form that Python's UUID parser takes.
            points_earned: whole points, 0 or more; above the possible is extra credit.
            points_possible: whole points; 0 hides the score.
            annotation_creator: opaque id of who gives the reason; None for no annotation.
            annotation_type: kind of the annotation, needed with a creator.
            annotation_reason: why; empty when None.
            provenance: who sets the score, through what.
            idempotency: under which the answer of this command is kept.

        Raises:
            SubmissionNotFoundError: never created, or deleted.
            SubmissionInternalError: bad points; the only argument is the field errors.
            SubmissionRequestError: a malformed uuid or annotation.

        Source: edx-submissions, ``submissions.api.set_score``.
        """
        prepared = await self.prepare_set_score(
            submission_uuid,
            points_earned,
            points_possible,
            annotation_creator,
            annotation_type,
            annotation_reason,
            idempotency=idempotency,
        )
        return await self._execute(prepared.stream_ids, prepared.command, provenance=provenance)

    async def prepare_set_score(
        self,
        submission_uuid: object,
        points_earned: object,
        points_possible: object,
        annotation_creator: object = None,
        annotation_type: object = None,
        annotation_reason: object = None,
        *,
        stream_id: UUID | None = None,
        idempotency: Idempotency[ScoreSet] | None = None,
    ) -> Prepared:
        """Find the submission of a score; see ``set_score``.

        ``stream_id`` is given for a submission that is prepared but not stored yet.
        """
        found_uuid = _parsed_uuid(submission_uuid)
        if stream_id is None:
            stream_id = await self._stream_of_submission(found_uuid)
        if stream_id is None:
            raise SubmissionNotFoundError(f"No submission matching uuid {submission_uuid}")

        async def decide(work: Work) -> ScoreSet:
            item = work.find(StudentItem, stream_id)
            if item is None:
                raise SubmissionNotFoundError(f"No submission matching uuid {submission_uuid}")
            item.refuse_unknown(found_uuid, submission_uuid)
            earned, possible = _points(points_earned, points_possible)
            annotation = _annotation(annotation_creator, annotation_type, annotation_reason)
            score_id = await work.take_id(SCORE_IDS)
            score = NewScore(
                score_id,
                earned,
                possible,
                await self._sealed(annotation, item.key.student_id, score_id),
            )
            return item.set_score(found_uuid, score, at=self._clock())

        return Prepared((stream_id,), Command(decide, idempotency, (IdWanted(SCORE_IDS),)))

    async def set_latest_score(
        self,
        student_item: object,
        points_earned: object,
        points_possible: object,
        annotation_creator: object = None,
        annotation_type: object = None,
        annotation_reason: object = None,
        *,
        missing_answer: object = None,
        provenance: Provenance = NOBODY,
        idempotency: Idempotency[ScoreSet] | None = None,
    ) -> Done[ScoreSet]:
        """Say what the latest active submission of a student item is worth; see ``set_score``.

        Args:
            student_item: dict of ``student_id``, ``course_id``, ``item_id``, ``item_type``.
            points_earned: as for ``set_score``, and so are the next ones.
            points_possible: whole points.
            annotation_creator: who gives the reason.
            annotation_type: kind of the annotation.
            annotation_reason: why.
            missing_answer: the answer of a submission that is handed in together with its
                score where there is none; without it such a score is refused.
            provenance: who sets the score, through what.
            idempotency: under which the answer of this command is kept.

        Raises:
            SubmissionNotFoundError: nothing was handed in, or all of it was deleted.
            SubmissionRequestError: a bad student item, another item type, a bad annotation.
            SubmissionInternalError: bad points.
        """
        key = fields.student_item(student_item)
        stream_id = _stream_of(key)

        async def decide(work: Work) -> ScoreSet:
            item = work.find(StudentItem, stream_id)
            if item is not None:
                item.refuse_other_type(key.item_type)
            latest = None if item is None else item.latest_attempt()
            # Points are looked at first: what is refused leaves no submission behind.
            _points(points_earned, points_possible)
            _annotation(annotation_creator, annotation_type, annotation_reason)
            if latest is None:
                if missing_answer is None:
                    raise SubmissionNotFoundError("nothing was handed in for this item")
                created = await self.prepare_create_submission(key.as_dict(), missing_answer)
                made: CreatedSubmission = await created.command.decide(work)
                latest = made.event.submission_uuid
            score = await self.prepare_set_score(
                latest,
                points_earned,
                points_possible,
                annotation_creator,
                annotation_type,
                annotation_reason,
                stream_id=stream_id,
            )
            return await score.command.decide(work)  # type: ignore[no-any-return]

        command = Command(decide, idempotency, (IdWanted(SCORE_IDS),))
        return await self._execute((stream_id,), command, provenance=provenance)

    async def reset_score(
        self,
        student_id: object,
        course_id: object,
        item_id: object,
        clear_state: bool = False,
        emit_signal: bool = True,
        *,
        provenance: Provenance = NOBODY,
        idempotency: Idempotency[ScoreReset | None] | None = None,
    ) -> Done[ScoreReset | None]:
        """Let the score of a student item count no longer; do nothing for an unknown item.

        Args:
            student_id: as in the student item.
            course_id: as in the student item.
            item_id: as in the student item.
            clear_state: also delete all active submissions of the item.
            emit_signal: whether subscribers hear of it.
            provenance: who resets, through what.
            idempotency: under which the answer of this command is kept.

        Source: edx-submissions, ``submissions.api.reset_score``.
        """
        prepared = self.prepare_reset_score(
            student_id, course_id, item_id, clear_state, emit_signal, idempotency=idempotency
        )
        return await self._execute(prepared.stream_ids, prepared.command, provenance=provenance)

    def prepare_reset_score(
        self,
        student_id: object,
        course_id: object,
        item_id: object,
        clear_state: bool = False,
        emit_signal: bool = True,
        *,
        idempotency: Idempotency[ScoreReset | None] | None = None,
    ) -> Prepared:
        """Address a reset; see ``reset_score``."""
        key = (student_id, course_id, item_id)
        # What cannot be stored is no item; the nil stream has no events.
        stream_id = student_item_stream(*map(str, key)) if fields.storable(*key) else NO_STREAM

        async def decide(work: Work) -> ScoreReset | None:
            item = work.find(StudentItem, stream_id)
            if item is None:
                return None
            score_id = await work.take_id(SCORE_IDS)
            return item.reset_score(
                score_id=score_id,
                clear_state=bool(clear_state),
                emit_signal=bool(emit_signal),
                cause="clear_state",
                at=self._clock(),
            )

        return Prepared((stream_id,), Command(decide, idempotency))

    async def execute_all(
        self, prepared: Sequence[Prepared], *, provenance: Provenance = NOBODY
    ) -> list[Outcome[Any] | BaseException]:
        """Carry out many commands; outcomes in the order of the commands.

        Commands about the same stream are carried out in their order and stored in one
        append; a refused one does not touch the others. What else goes wrong with an append
        (no database, unknown outcome) is the outcome of each command in it.
        """
        groups: dict[tuple[UUID, ...], list[int]] = {}
        for index, one in enumerate(prepared):
            groups.setdefault(one.stream_ids, []).append(index)

        async def carry_out(stream_ids: tuple[UUID, ...], indexes: list[int]) -> None:
            for part in _without_repeats(prepared, indexes):
                try:
                    found: Sequence[Outcome[Any] | BaseException] = await self._execute_all(
                        stream_ids, [prepared[i].command for i in part], provenance=provenance
                    )
                except Exception as error:  # noqa: BLE001 - handed to each command of the part
                    found = [error] * len(part)
                outcomes.update(zip(part, found, strict=True))

        outcomes: dict[int, Outcome[Any] | BaseException] = {}
        await asyncio.gather(*(carry_out(ids, indexes) for ids, indexes in groups.items()))
        return [outcomes[i] for i in range(len(prepared))]

    # --- teams ------------------------------------------------------------------------------

    async def create_submission_for_team(
        self,
        course_id: object,
        item_id: object,
        team_id: object,
        submitting_user_id: object,
        team_member_ids: Iterable[object],
        answer: object,
        submitted_at: object = None,
        attempt_number: object = 1,
        item_type: object = "openassessment",
        *,
        provenance: Provenance = NOBODY,
    ) -> Done[CreatedTeamSubmission]:
        """Hand in one answer for a team and a submission for each member, all or nothing.

        Members with an active submission of another team for the item are left out.

        Raises:
            TeamSubmissionRequestError: bad fields of the team's record.
            DuplicateTeamSubmissionsError: the team has an active submission for the item.
            SubmissionRequestError: bad answer, member id or item type.

        Source: edx-submissions, ``submissions.team_api.create_submission_for_team``.
        """
        form = Form()
        course = form.check("course_id", fields.limited_text(255), course_id)
        item = form.check("item_id", fields.limited_text(255), item_id)
        team = form.check("team_id", fields.limited_text(255), team_id)
        submitted_by = form.check("submitted_by", _user_id, submitting_user_id)
        number = form.check("attempt_number", fields.integer, attempt_number)
        at = form.check("submitted_at", fields.moment, submitted_at) if submitted_at else None
        form.refuse_if_bad(TeamSubmissionRequestError)
        assert course is not None
        assert item is not None
        assert team is not None
        await self._refuse_second_team_submission(course, item, team)
        form = Form()
        text = form.check("answer", fields.answer_text, answer)
        form.refuse_if_bad()
        assert text is not None
        members = [
            fields.student_item(
                {
                    "student_id": student_id,
                    "course_id": course,
                    "item_id": item,
                    "item_type": item_type,
                }
            )
            for student_id in team_member_ids
        ]
        team_uuid = uuid4()
        uuids = [uuid4() for _ in members]
        sealed, *parts = await asyncio.gather(
            self._vault.seal(team_subject(team_uuid), text, answer_context(team_uuid)),
            *(
                self._vault.seal(member.student_id, text, answer_context(submission_uuid))
                for member, submission_uuid in zip(members, uuids, strict=True)
            ),
        )
        claim = active_team_claim(course, item, team)

        async def decide(work: Work) -> CreatedTeamSubmission:
            if await self._log.find_claims([claim]):
                raise DuplicateTeamSubmissionsError("Can only have one submission per team.")
            now = self._clock()
            made: list[dict[str, str]] = []
            skipped: list[dict[str, str]] = []
            teams = await self._teams_of_others(work, members, team_uuid, team)
            team_submission_id = await work.take_id(TEAM_SUBMISSION_IDS)
            for member, submission_uuid, part in zip(members, uuids, parts, strict=True):
                if (other := teams.get(member.student_id)) is not None:
                    skipped.append({"student_id": member.student_id, "team_id": other})
                    continue
                student_item, submission_id = await self._item_for_submission(
                    work, member, _stream_of(member), now
                )
                student_item.create_submission(
                    NewSubmission(
                        submission_uuid,
                        submission_id,
                        at or now,
                        number,
                        part,
                        len(text),
                        team_uuid,
                    ),
                    at=now,
                )
                work.claims.append(Claim(submission_claim(submission_uuid), student_item.id))
                made.append(
                    {"student_id": member.student_id, "submission_uuid": str(submission_uuid)}
                )
            work.claims.append(Claim(claim, team_uuid))
            created = work.add(
                TeamSubmission.create(
                    team_uuid,
                    at=now,
                    team_submission_id=team_submission_id,
                    course_id=course,
                    item_id=item,
                    item_type=members[0].item_type if members else str(item_type),
                    team_id=team,
                    submitted_by=submitted_by,
                    attempt_number=number,
                    submitted_at=at or now,
                    answer=sealed,
                    answer_size=len(text),
                    member_submissions=made,
                    skipped_members=skipped,
                )
            )
            event = created.pending_events[0]
            assert isinstance(event, TeamSubmissionCreated)
            return CreatedTeamSubmission(created, event, text)

        streams = [team_uuid, *dict.fromkeys(_stream_of(member) for member in members)]
        return await self._execute(streams, Command(decide), provenance=provenance)

    async def set_team_score(
        self,
        team_submission_uuid: object,
        points_earned: object,
        points_possible: object,
        annotation_creator: object = None,
        annotation_type: object = None,
        annotation_reason: object = None,
        *,
        provenance: Provenance = NOBODY,
    ) -> Done[list[ScoreSet]]:
        """Score every active submission of a team, all or nothing; see ``set_score``.

        Source: edx-submissions, ``submissions.team_api.set_score``.
        """
        annotation = _annotation(annotation_creator, annotation_type, annotation_reason)

        async def decide(work: Work, team: TeamSubmission) -> list[ScoreSet]:
            now = self._clock()
            parts = _active_parts(work, team)
            earned, possible = _points(points_earned, points_possible)
            ids = await work.take_ids(SCORE_IDS, len(parts))
            scored = []
            for (item, submission_uuid), score_id in zip(parts, ids, strict=True):
                sealed = await self._sealed(annotation, item.key.student_id, score_id)
                score = NewScore(score_id, earned, possible, sealed, team.id)
                scored.append(item.set_score(submission_uuid, score, at=now))
            team.set_score(earned, possible, score_ids=ids, at=now)
            return scored

        return await self._execute_on_team(team_submission_uuid, decide, provenance)

    async def reset_team_scores(
        self,
        team_submission_uuid: object,
        clear_state: bool = False,
        *,
        provenance: Provenance = NOBODY,
    ) -> Done[list[ScoreReset]]:
        """Reset the scores of all members, all or nothing; see ``reset_score``.

        ``clear_state`` also deletes the team submission, so that the team may hand in again.

        Source: edx-submissions, ``submissions.team_api.reset_scores``.
        """

        async def decide(work: Work, team: TeamSubmission) -> list[ScoreReset]:
            now = self._clock()
            items = [item for item, _ in _active_parts(work, team)]
            ids = await work.take_ids(SCORE_IDS, len(items))
            resets = [
                item.reset_score(
                    score_id=score_id,
                    clear_state=clear_state,
                    emit_signal=True,
                    cause="team_clear_state",
                    at=now,
                )
                for item, score_id in zip(items, ids, strict=True)
            ]
            team.reset_scores(clear_state=clear_state, score_ids=ids, at=now)
            if clear_state:
                work.releases.append(active_team_claim(team.course_id, team.item_id, team.team_id))
            return resets

        return await self._execute_on_team(team_submission_uuid, decide, provenance)

    # --- shared -----------------------------------------------------------------------------

    async def _stream_of_submission(self, submission_uuid: UUID) -> UUID | None:
        """The student item of a submission: it never moves, so it is remembered."""
        known = self._items_of.get(submission_uuid)
        if known is not None:
            return known
        claim = submission_claim(submission_uuid)
        held = (await self._log.find_claims([claim])).get(claim)
        if held is None or held.stream_id is None:
            return None
        self._remember_item(submission_uuid, held.stream_id)
        return held.stream_id

    def _remember_item(self, submission_uuid: UUID, stream_id: UUID) -> None:
        while len(self._items_of) >= REMEMBERED_SUBMISSIONS:
            del self._items_of[next(iter(self._items_of))]
        self._items_of[submission_uuid] = stream_id

    async def _item_for_submission(
        self, work: Work, key: StudentItemKey, stream_id: UUID, at: datetime
    ) -> tuple[StudentItem, int]:
        """The student item, taken up when it is new, and the id of its next submission."""
        item = work.find(StudentItem, stream_id)
        if item is not None:
            item.refuse_other_type(key.item_type)
        else:
            student_item_id = await work.take_id(STUDENT_ITEM_IDS)
            item = work.add(
                StudentItem.register(
                    key, stream_id=stream_id, student_item_id=student_item_id, at=at
                )
            )
        return item, await work.take_id(SUBMISSION_IDS)

    async def _active_team(
        self, form: Form, team_submission: object, idempotency: Idempotency[Any] | None
    ) -> UUID | None:
        """The uuid of an active team submission, given as object, UUID or text.

        A command that was carried out before is answered again, whatever became of the team.
        """
        if team_submission is None:
            return None
        given = getattr(team_submission, "uuid", team_submission)
        try:
            team_uuid = fields.submission_uuid(given)
            found = await self._find_team(team_uuid)
        except (ValueError, SubmissionRequestError):
            found = None
        if found is None or found.deleted:
            if idempotency and await self._log.find_claims([idempotency.key]):
                return None
            form.errors.update(_unknown_team(given))
            return None
        return found.id

    async def _find_team(self, team_uuid: UUID) -> TeamSubmission | None:
        events = (await self._log.read_streams([team_uuid])).get(team_uuid)
        found = rebuild(events) if events else None
        return found if isinstance(found, TeamSubmission) else None

    async def _refuse_second_team_submission(self, course: str, item: str, team: str) -> None:
        if await self._log.find_claims([active_team_claim(course, item, team)]):
            raise DuplicateTeamSubmissionsError("Can only have one submission per team.")

    async def _teams_of_others(
        self, work: Work, members: Sequence[StudentItemKey], team_uuid: UUID, team_id: str
    ) -> dict[str, str]:
        """Team id of each member who has handed in with another team."""
        others: dict[str, UUID] = {}
        for member in members:
            item = work.find(StudentItem, _stream_of(member))
            other = item.other_team(team_uuid) if item else None
            if other is not None:
                others[member.student_id] = other
        if not others:
            return {}
        streams = await self._log.read_streams(set(others.values()))
        found = {
            uuid: aggregate.team_id
            for uuid, events in streams.items()
            if isinstance(aggregate := rebuild(events), TeamSubmission)
        }
        return {
            student_id: found[uuid] for student_id, uuid in others.items() if found[uuid] != team_id
        }

    async def _execute_on_team(
        self,
        team_submission_uuid: object,
        decide: Callable[[Work, TeamSubmission], Awaitable[R]],
        provenance: Provenance,
    ) -> Done[R]:
        not_found = TeamSubmissionNotFoundError(
            f"No team submission matching uuid {team_submission_uuid}"
        )
        if team_submission_uuid is None:
            raise not_found
        team_uuid = _parsed_team_uuid(team_submission_uuid)
        known = await self._find_team(team_uuid)
        if known is None or known.deleted:
            raise not_found
        streams = [
            team_uuid,
            *dict.fromkeys(
                student_item_stream(student_id, known.course_id, known.item_id)
                for student_id, _ in known.members
            ),
        ]

        async def decide_on_team(work: Work) -> R:
            team = work.find(TeamSubmission, team_uuid)
            if team is None or team.deleted:
                raise not_found
            return await decide(work, team)

        return await self._execute(streams, Command(decide_on_team), provenance=provenance)

    async def _sealed(
        self, annotation: dict[str, str] | None, student_id: str, score_id: int
    ) -> dict[str, str] | None:
        if annotation is None or not annotation["reason"]:
            return annotation
        reason = await self._vault.seal(student_id, annotation["reason"], reason_context(score_id))
        return {**annotation, "reason": reason}


def _without_repeats(prepared: Sequence[Prepared], indexes: Iterable[int]) -> list[list[int]]:
    """Parts in which no idempotency key stands twice: a repeat must find what it repeats."""
    parts: list[list[int]] = [[]]
    seen: set[str] = set()
    for index in indexes:
        idempotency = prepared[index].command.idempotency
        if idempotency and idempotency.key in seen:
            parts.append([])
            seen.clear()
        if idempotency:
            seen.add(idempotency.key)
        parts[-1].append(index)
    return parts


def _stream_of(key: StudentItemKey) -> UUID:
    return student_item_stream(key.student_id, key.course_id, key.item_id)


def _active_parts(work: Work, team: TeamSubmission) -> list[tuple[StudentItem, UUID]]:
    """The members' submissions that are still active, each with its student item."""
    parts = []
    for student_id, submission_uuid in team.members:
        item = work.find(StudentItem, student_item_stream(student_id, team.course_id, team.item_id))
        if item is not None and submission_uuid in item.attempts:
            parts.append((item, submission_uuid))
    return parts


def _parsed_uuid(value: object) -> UUID:
    try:
        return fields.submission_uuid(value)
    except ValueError:
        raise SubmissionRequestError(f"“{value}” is not a valid UUID.") from None


def _parsed_team_uuid(value: object) -> UUID:
    try:
        return fields.submission_uuid(value)
    except (ValueError, SubmissionRequestError) as error:
        raise TeamSubmissionInternalError(
            f"Attempt to get team submission for uuid {value} caused error: {error}"
        ) from None


def _unknown_team(given: object) -> dict[str, list[FieldMessage]]:
    message = FieldMessage(f"Object with uuid={given} does not exist.", "does_not_exist")
    return {"team_submission_uuid": [message]}


def _points(points_earned: object, points_possible: object) -> tuple[int, int]:
    form = Form()
    earned = form.check("points_earned", fields.integer, points_earned)
    possible = form.check("points_possible", fields.integer, points_possible)
    if earned is None or possible is None:
        raise SubmissionInternalError(form.errors)
    return earned, possible


def _annotation(creator: object, kind: object, reason: object) -> dict[str, str] | None:
    """A whole annotation, or None without a creator; the reason is not sealed yet."""
    if creator is None:
        return None

    def rule(value: object) -> str:
        return fields.text(value, max_length=255, allow_blank=True, trim=False)

    def reason_rule(value: object) -> str:
        return fields.text(value, max_length=fields.MAX_ANSWER_SIZE, allow_blank=True, trim=False)

    form = Form()
    annotation = {
        "creator": form.check("annotation_creator", rule, creator),
        "annotation_type": form.check("annotation_type", rule, kind),
        "reason": form.check("annotation_reason", reason_rule, "" if reason is None else reason),
    }
    form.refuse_if_bad()
    return {name: value for name, value in annotation.items() if value is not None}


def _user_id(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise FieldError(
            FieldMessage(
                f"Incorrect type. Expected pk value, received {type(value).__name__}.",
                "incorrect_type",
            )
        )
    try:
        return fields.integer(value)
    except FieldError:
        raise FieldError(
            FieldMessage(f'Invalid pk "{value}" - object does not exist.', "does_not_exist")
        ) from None
