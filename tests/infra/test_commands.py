"""The commands on the real log: races, retries, idempotency keys, teams."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from domain.application import Idempotency, IdWanted
from domain.errors import IdempotencyKeyReusedError, OutcomeUnknownError
from domain.events import Event, Provenance
from domain.submissions.application import CreatedSubmission, Submissions
from domain.submissions.errors import (
    DuplicateTeamSubmissionsError,
    SubmissionInternalError,
    SubmissionNotFoundError,
    SubmissionRequestError,
    TeamSubmissionNotFoundError,
)
from domain.submissions.student_item import (
    ScoreSet,
    SubmissionCreated,
    SubmissionDeleted,
    student_item_stream,
)
from infra.log.postgres_log import PostgresLog
from infra.vault import Vault
from tests.infra.log.support import (
    PATIENCE,
    Wire,
    let_pass,
    on_a_clock_of_its_own,
    stored,
    wire,
)

NOW = datetime(2026, 3, 1, tzinfo=UTC)
BY = Provenance(actor="tester")


@pytest.fixture(autouse=True)
def _patient_rivals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domain.application.DECIDING_SECONDS", PATIENCE)


@dataclass
class Process:
    """What one process has: its own connections and its own cache."""

    log: PostgresLog
    commands: Submissions

    async def events(self, student: str) -> list[Event]:
        stream = student_item_stream(student, "course", "item")
        return (await self.log.read_streams([stream])).get(stream, [])


def item(student: str, item_type: str = "essay") -> dict[str, str]:
    return {
        "student_id": student,
        "course_id": "course",
        "item_id": "item",
        "item_type": item_type,
    }


def run(dsn: str, test: Callable[..., Awaitable[Any]], processes: int = 1) -> Any:
    async def go() -> Any:
        async with AsyncExitStack() as stack:
            opened = []
            for _ in range(processes):
                log, vault = PostgresLog(dsn, timeout=PATIENCE), Vault(dsn, timeout=PATIENCE)
                stack.push_async_callback(log.close)
                stack.push_async_callback(vault.close)
                opened.append(Process(log, Submissions(log, lambda: NOW, vault)))
            return await test(*opened)

    return asyncio.run(go())


def test_racing_first_submissions_share_one_item_and_number_their_attempts(dsn: str) -> None:
    async def test(*processes: Process) -> None:
        done = await asyncio.gather(
            *(p.commands.create_submission(item("a"), n) for n in range(10) for p in processes)
        )
        created = [d.value.event for d in done]
        assert {e.student_item_id for e in created} == {created[0].student_item_id}
        assert sorted(e.attempt_number for e in created) == list(range(1, 31))
        assert len({e.submission_id for e in created}) == 30

    run(dsn, test, processes=3)


def test_a_decision_on_what_another_process_changed_is_taken_again(dsn: str) -> None:
    async def test(one: Process, two: Process) -> None:
        created = (await one.commands.create_submission(item("a"), "x")).value.event
        await two.commands.set_score(created.submission_uuid, 1, 2)
        await one.commands.set_score(created.submission_uuid, 2, 2)
        await two.commands.reset_score("a", "course", "item", clear_state=True)
        # The first still remembers the submission as active.
        with pytest.raises(SubmissionNotFoundError):
            await one.commands.set_score(created.submission_uuid, 1, 2)
        again = (await two.commands.create_submission(item("a"), "y")).value.event
        await one.commands.set_score(again.submission_uuid, 1, 2)

    run(dsn, test, processes=2)


def test_it_is_taken_again_also_by_who_stood_still_until_his_time_was_over(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("domain.application.DECIDING_SECONDS", 0.0)

    async def test(one: Process, two: Process) -> None:
        created = (await one.commands.create_submission(item("a"), "x")).value.event
        await two.commands.set_score(created.submission_uuid, 1, 2)
        await one.commands.set_score(created.submission_uuid, 2, 2)
        scores = [event for event in await two.events("a") if isinstance(event, ScoreSet)]
        assert [score.points_earned for score in scores] == [1, 2]

    run(dsn, test, processes=2)


def test_another_item_type_is_refused_and_changes_nothing(dsn: str) -> None:
    async def test(process: Process) -> None:
        await process.commands.create_submission(item("a"), "x")
        before = len(stored(dsn))
        with pytest.raises(SubmissionRequestError) as caught:
            await process.commands.create_submission(item("a", "quiz"), "x")
        assert "non_field_errors" in caught.value.field_errors
        assert len(stored(dsn)) == before

    run(dsn, test)


def test_all_bad_fields_of_a_submission_are_told_at_once(dsn: str) -> None:
    async def test(process: Process) -> None:
        with pytest.raises(SubmissionRequestError) as caught:
            await process.commands.create_submission(item("a"), None, "never", -1, "no-such-team")
        assert set(caught.value.field_errors) == {
            "answer",
            "submitted_at",
            "attempt_number",
            "team_submission_uuid",
        }
        assert caught.value.field_errors["team_submission_uuid"] == [
            "Object with uuid=no-such-team does not exist."
        ]
        assert stored(dsn) == []

    run(dsn, test)


def test_bad_scores_are_refused_in_the_order_of_the_interface(dsn: str) -> None:
    async def test(process: Process) -> None:
        commands = process.commands
        with pytest.raises(SubmissionRequestError, match="must be serializable"):
            await commands.set_score(7, "bad", 10)
        with pytest.raises(SubmissionRequestError, match="“x” is not a valid UUID"):
            await commands.set_score("x", "bad", 10)
        unknown = str(uuid4())
        with pytest.raises(SubmissionNotFoundError, match=unknown):
            await commands.set_score(unknown, "bad", 10)
        created = (await commands.create_submission(item("a"), "x")).value.event
        uuid = created.submission_uuid
        with pytest.raises(SubmissionInternalError) as caught:
            await commands.set_score(uuid, -1, True)
        assert caught.value.args == (
            {
                "points_earned": ["Ensure this value is greater than or equal to 0."],
                "points_possible": ["A valid integer is required."],
            },
        )
        with pytest.raises(SubmissionRequestError) as refused:
            await commands.set_score(uuid, 1, 2, "staff", None, "why")
        assert refused.value.field_errors == {"annotation_type": ["This field may not be null."]}
        assert not [e for e in await process.events("a") if isinstance(e, ScoreSet)]
        for form in (str(uuid).upper(), uuid.hex, "{" + str(uuid) + "}", uuid.urn, uuid):
            await commands.set_score(form, "7", 5.0)
        await commands.set_score(uuid, 1, 2, "staff", "staff_defined", None)
        assert (await process.events("a"))[-1].annotation == {
            "creator": "staff",
            "annotation_type": "staff_defined",
            "reason": "",
        }

    run(dsn, test)


def test_answers_and_reasons_are_not_in_the_log_as_they_were_written(dsn: str) -> None:
    async def test(process: Process) -> None:
        created = (await process.commands.create_submission(item("a"), "my secret")).value
        await process.commands.set_score(
            created.event.submission_uuid, 1, 2, "staff", "note", "a private reason"
        )
        text = "".join(row[3] for row in stored(dsn))
        assert "secret" not in text
        assert "private" not in text

    run(dsn, test)


def key(name: str, request: bytes = b"request") -> Idempotency[CreatedSubmission]:
    return Idempotency(name, request, lambda created: str(created.event.submission_uuid).encode())


def test_the_same_key_with_the_same_request_is_carried_out_once(dsn: str) -> None:
    async def test(one: Process, two: Process) -> None:
        first = await one.commands.create_submission(item("a"), "x", idempotency=key("k"))
        again = await two.commands.create_submission(item("a"), "x", idempotency=key("k"))
        assert again.replay == str(first.value.event.submission_uuid).encode()
        assert again.position == first.position
        with pytest.raises(IdempotencyKeyReusedError):
            await two.commands.create_submission(item("a"), "y", idempotency=key("k", b"another"))
        race = await asyncio.gather(
            *(
                p.commands.create_submission(item("b"), "x", idempotency=key("k2"))
                for p in [one, two] * 5
            )
        )
        assert sum(d.replay is None for d in race) == 1
        assert len([e for e in await one.events("b") if isinstance(e, SubmissionCreated)]) == 1

    run(dsn, test, processes=2)


def test_a_command_that_found_nothing_to_do_does_nothing_later_either(dsn: str) -> None:
    async def test(one: Process, two: Process) -> None:
        promise = Idempotency("k", b"reset", lambda _: b"done")
        reset = ("a", "course", "item")
        first = await one.commands.reset_score(*reset, idempotency=promise)
        assert (first.value, first.position) == (None, None)
        created = (await one.commands.create_submission(item("a"), "x")).value.event
        await one.commands.set_score(created.submission_uuid, 1, 2)
        again = await two.commands.reset_score(*reset, idempotency=promise)
        assert again.replay == b"done"
        assert isinstance((await one.events("a"))[-1], ScoreSet)

    run(dsn, test, processes=2)


def test_each_of_many_commands_is_answered_again_with_its_own_position(dsn: str) -> None:
    async def test(process: Process) -> None:
        async def send() -> list[int | None]:
            prepared = [
                await process.commands.prepare_create_submission(
                    item("a"), n, idempotency=key(f"k{n}")
                )
                for n in range(3)
            ]
            return [outcome.position for outcome in await process.commands.execute_all(prepared)]

        assert await send() == [2, 3, 4]
        assert await send() == [2, 3, 4]

    run(dsn, test)


def test_a_repeat_with_the_same_key_settles_an_unknown_outcome(dsn: str) -> None:
    async def test() -> None:
        async with wire(dsn) as cut:
            await settle(cut)

    async def settle(cut: Wire) -> None:
        log, vault = PostgresLog(cut.dsn, timeout=PATIENCE), Vault(dsn, timeout=PATIENCE)
        commands = Submissions(log, lambda: NOW, vault)
        created = (await commands.create_submission(item("a"), "x")).value.event
        prepared = await commands.prepare_create_submission(item("a"), "y", idempotency=key("k"))
        # Ids and streams are asked for on other connections: only the append goes deaf.
        await log.take_ids(IdWanted("submission_ids"))
        cut.deaf_to = "append_events"
        waiting = asyncio.create_task(commands.execute_all([prepared]))
        await cut.swallowed.wait()
        let_pass(PATIENCE)
        (outcome,) = await waiting
        assert isinstance(outcome, OutcomeUnknownError)
        cut.deaf_to = None
        cut.cut()
        settled = await commands.create_submission(item("a"), "y", idempotency=key("k"))
        assert settled.replay == str(prepared.submission_uuid).encode()
        assert created.attempt_number == 1
        await log.close()
        await vault.close()

    on_a_clock_of_its_own(test)
    assert len([row for row in stored(dsn) if "answer_size" in row[3]]) == 2


def test_many_commands_at_once_have_each_its_own_outcome(dsn: str) -> None:
    async def test(process: Process) -> None:
        commands = process.commands
        prepared = []
        for n in range(20):
            create = await commands.prepare_create_submission(item(f"s{n % 5}"), n)
            score = await commands.prepare_set_score(
                create.submission_uuid, "bad" if n == 7 else n, 20, stream_id=create.stream_ids[0]
            )
            prepared += [create, score]
        outcomes = await commands.execute_all(prepared, provenance=BY)
        refused = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, Exception)]
        assert refused == [15]
        assert isinstance(outcomes[15], SubmissionInternalError)
        rows = stored(dsn)
        for outcome in outcomes:
            if not isinstance(outcome, Exception):
                event = getattr(outcome.value, "event", outcome.value)
                _, stream, version, _ = rows[outcome.position - 1]
                assert (stream, version) == (event.originator_id, event.originator_version)
        attempts = [e for e in await process.events("s0") if isinstance(e, SubmissionCreated)]
        assert [a.attempt_number for a in attempts] == [1, 2, 3, 4]
        assert process.log.figures.batches < 5

    run(dsn, test)


def test_attempts_are_numbered_in_the_order_of_the_decisions(dsn: str) -> None:
    async def test() -> None:
        async with AsyncExitStack() as stack:
            log, vault = PostgresLog(dsn, timeout=PATIENCE), Vault(dsn, timeout=PATIENCE)
            stack.push_async_callback(log.close)
            stack.push_async_callback(vault.close)
            # A clock that goes backwards, as those of two machines do.
            times = iter(NOW - timedelta(seconds=n) for n in range(100))
            commands = Submissions(log, lambda: next(times), vault)
            numbers = []
            prepared = [await commands.prepare_create_submission(item("a"), n) for n in range(5)]
            for one in reversed(prepared):
                (outcome,) = await commands.execute_all([one])
                numbers.append(outcome.value.event.attempt_number)
            assert numbers == [1, 2, 3, 4, 5]

    asyncio.run(test())


def test_a_repeat_is_answered_again_whatever_became_of_the_team(dsn: str) -> None:
    async def test(process: Process) -> None:
        team = await hand_in_as_team(process, "blue", ["a"])
        part = (item("b", "openassessment"), "x", None, None, team.id)
        first = await process.commands.create_submission(*part, idempotency=key("k"))
        await process.commands.reset_team_scores(team.id, clear_state=True)
        again = await process.commands.create_submission(*part, idempotency=key("k"))
        assert again.replay == str(first.value.event.submission_uuid).encode()
        with pytest.raises(SubmissionRequestError):
            await process.commands.create_submission(*part, idempotency=key("k2"))

    run(dsn, test)


def test_a_reset_of_an_unknown_item_writes_nothing(dsn: str) -> None:
    async def test(process: Process) -> None:
        done = await process.commands.reset_score("nobody", "course", "item", clear_state=True)
        assert (done.value, done.position) == (None, None)

    run(dsn, test)
    assert stored(dsn) == []


# --- teams ----------------------------------------------------------------------------------


async def hand_in_as_team(
    process: Process, team: str, members: list[str], answer: Any = "together"
) -> Any:
    done = await process.commands.create_submission_for_team(
        "course", "item", team, 7, members, answer
    )
    return done.value.team


def test_a_team_hands_in_once_and_again_after_it_was_cleared(dsn: str) -> None:
    async def test(process: Process, other: Process) -> None:
        team = await hand_in_as_team(process, "blue", ["a", "b"])
        assert [student for student, _ in team.members] == ["a", "b"]
        with pytest.raises(DuplicateTeamSubmissionsError, match="one submission per team"):
            await hand_in_as_team(other, "blue", ["a", "b"])
        await other.commands.reset_team_scores(team.id, clear_state=True)
        with pytest.raises(TeamSubmissionNotFoundError):
            await process.commands.set_team_score(team.id, 1, 2)
        again = await hand_in_as_team(process, "blue", ["a", "b"])
        assert again.id != team.id
        deleted = [e for e in await process.events("a") if isinstance(e, SubmissionDeleted)]
        assert [e.cause for e in deleted] == ["team_clear_state"]

    run(dsn, test, processes=2)


def test_racing_submissions_of_one_team_leave_one(dsn: str) -> None:
    async def test(*processes: Process) -> None:
        results = await asyncio.gather(
            *(hand_in_as_team(p, "blue", ["a", "b"]) for p in processes * 3),
            return_exceptions=True,
        )
        won = [r for r in results if not isinstance(r, Exception)]
        assert len(won) == 1
        lost = [r for r in results if isinstance(r, Exception)]
        assert all(isinstance(r, DuplicateTeamSubmissionsError) for r in lost)
        created = [e for e in await processes[0].events("a") if isinstance(e, SubmissionCreated)]
        assert len(created) == 1

    run(dsn, test, processes=3)


def test_members_who_handed_in_with_another_team_are_left_out(dsn: str) -> None:
    async def test(process: Process) -> None:
        await process.commands.create_submission(item("c", "openassessment"), "alone")
        await hand_in_as_team(process, "red", ["a"])
        blue = await hand_in_as_team(process, "blue", ["a", "b", "c"])
        assert [student for student, _ in blue.members] == ["b", "c"]
        stream = (await process.log.read_streams([blue.id]))[blue.id]
        assert stream[0].skipped_members == [{"student_id": "a", "team_id": "red"}]

    run(dsn, test)


def test_a_team_is_scored_as_a_whole_or_not_at_all(dsn: str) -> None:
    async def test(process: Process) -> None:
        team = await hand_in_as_team(process, "blue", ["a", "b"])
        before = len(stored(dsn))
        with pytest.raises(SubmissionInternalError):
            await process.commands.set_team_score(team.id, "bad", 2)
        assert len(stored(dsn)) == before
        scored = (
            await process.commands.set_team_score(team.id, 8, 10, "staff", "note", "well done")
        ).value
        assert {e.student_id for e in scored} == {"a", "b"}
        assert len({e.score_id for e in scored}) == 2
        # One member's part is cleared: the team goes on without it.
        await process.commands.reset_score("a", "course", "item", clear_state=True)
        scored = (await process.commands.set_team_score(team.id, 9, 10)).value
        assert [e.student_id for e in scored] == ["b"]

    run(dsn, test)


def test_who_joins_a_team_is_scored_and_cleared_with_it(dsn: str) -> None:
    async def test(process: Process) -> None:
        team = await hand_in_as_team(process, "blue", ["a"])
        part = (item("c", "openassessment"), "me too", None, None, team.id)
        await process.commands.create_submission(*part)
        scored = (await process.commands.set_team_score(team.id, 1, 2)).value
        assert {e.student_id for e in scored} == {"a", "c"}
        await process.commands.reset_team_scores(team.id, clear_state=True)
        again = await hand_in_as_team(process, "blue", ["a", "c"])
        assert [student for student, _ in again.members] == ["a", "c"]

    run(dsn, test)


def test_the_names_of_a_team_may_be_long(dsn: str) -> None:
    async def test(process: Process) -> None:
        names = ["é" * 255, "ü" * 255, "ö" * 255]
        for _ in range(2):
            done = await process.commands.create_submission_for_team(*names, 7, ["a"], "x")
            await process.commands.reset_team_scores(done.value.team.id, clear_state=True)

    run(dsn, test)


def test_a_key_that_stands_twice_in_one_request_is_answered_twice(dsn: str) -> None:
    async def test(process: Process) -> None:
        prepared = [
            await process.commands.prepare_create_submission(item("a"), n, idempotency=key(name))
            for n, name in enumerate(("k", "other", "k"))
        ]
        first, other, again = await process.commands.execute_all(prepared)
        assert again.replay == str(first.value.event.submission_uuid).encode()
        assert (first.position, other.position, again.position) == (2, 3, 2)

    run(dsn, test)


def test_many_processes_on_one_item_all_get_through(dsn: str) -> None:
    async def test(*processes: Process) -> None:
        async def create(process: Process) -> None:
            for n in range(15):
                await process.commands.create_submission(item("a"), n)

        await asyncio.gather(*(create(process) for process in processes))
        created = [e for e in await processes[0].events("a") if isinstance(e, SubmissionCreated)]
        assert sorted(e.attempt_number for e in created) == list(range(1, 91))

    run(dsn, test, processes=6)


def test_the_largest_attempt_is_the_last(dsn: str) -> None:
    async def test(process: Process) -> None:
        await process.commands.create_submission(item("a"), "x", attempt_number=2**31 - 1)
        with pytest.raises(SubmissionRequestError) as caught:
            await process.commands.create_submission(item("a"), "y")
        assert list(caught.value.field_errors) == ["attempt_number"]

    run(dsn, test)


def test_a_bad_member_or_answer_rolls_the_whole_team_back(dsn: str) -> None:
    async def test(process: Process) -> None:
        with pytest.raises(SubmissionRequestError):
            await hand_in_as_team(process, "blue", ["a", ""])
        with pytest.raises(SubmissionRequestError):
            await hand_in_as_team(process, "blue", ["a"], answer={1, 2})
        assert stored(dsn) == []
        assert (await hand_in_as_team(process, "blue", [])).members == []

    run(dsn, test)


def test_a_member_given_twice_has_two_submissions(dsn: str) -> None:
    async def test(process: Process) -> None:
        team = await hand_in_as_team(process, "blue", ["a", "a"])
        assert len({uuid for _, uuid in team.members}) == 2
        with pytest.raises(TeamSubmissionNotFoundError, match="None"):
            await process.commands.set_team_score(None, 1, 2)
        with pytest.raises(TeamSubmissionNotFoundError):
            await process.commands.set_team_score(UUID(int=1), 1, 2)

    run(dsn, test)
