"""What one caller is told, and what happens to the others in the same batch."""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from domain.application import Claim, ClaimTakenError, StreamConflictError
from domain.errors import OutcomeUnknownError, UnavailableError
from infra.log.postgres_log import PostgresLog
from tests.infra.log.support import (
    PATIENCE,
    contiguous,
    events,
    let_pass,
    on_a_clock_of_its_own,
    stored,
    wire,
)

REFUSE = """
SELECT query_start, pg_cancel_backend(pid) FROM pg_stat_activity
WHERE application_name = 'gradelog appender' AND wait_event_type = 'Lock'
    AND datname = current_database()
"""
"""Ends an append that waits for the lock as the server does when its time is over."""


def with_log(dsn: str, test: Callable[[PostgresLog], Awaitable[Any]], **options: Any) -> Any:
    async def run() -> Any:
        log = PostgresLog(dsn, **{"timeout": PATIENCE, **options})
        try:
            return await test(log)
        finally:
            await log.close()

    return asyncio.run(run())


def test_callers_at_the_same_time_share_one_transaction(dsn: str) -> None:
    async def test(log: PostgresLog) -> None:
        await asyncio.gather(*(log.append_encoded(events(uuid4(), 1, 2)) for _ in range(100)))
        assert log.figures.events == 200
        assert log.figures.batches < 10

    with_log(dsn, test)
    assert contiguous([row[0] for row in stored(dsn)])


def test_a_conflict_fails_its_own_caller_alone(dsn: str) -> None:
    taken = uuid4()

    async def test(log: PostgresLog) -> list[Any]:
        await log.append_encoded(events(taken, 1), claims=[Claim("name:taken")])
        return await asyncio.gather(
            *(log.append_encoded(events(uuid4(), 1)) for _ in range(20)),
            log.append_encoded(events(taken, 1, 2)),
            log.append_encoded(events(uuid4(), 1), claims=[Claim("name:taken")]),
            *(
                log.append_encoded(events(uuid4(), 1), claims=[Claim(f"name:{n}")])
                for n in range(20)
            ),
            return_exceptions=True,
        )

    results = with_log(dsn, test)
    assert isinstance(results[20], StreamConflictError)
    assert isinstance(results[21], ClaimTakenError)
    positions = [r.first_position for i, r in enumerate(results) if i not in {20, 21}]
    assert sorted(positions) == list(range(2, 42))
    assert len(stored(dsn)) == 41


def test_what_the_server_refuses_in_one_append_does_not_touch_the_others(dsn: str) -> None:
    async def test(log: PostgresLog) -> list[Any]:
        return await asyncio.gather(
            log.append_encoded(events(uuid4(), 1)),
            log.append_encoded(events(uuid4(), 1, data=b"\xff not UTF-8")),
            log.append_encoded(events(uuid4(), 1)),
            return_exceptions=True,
        )

    first, refused, last = with_log(dsn, test)
    assert isinstance(refused, psycopg.errors.CharacterNotInRepertoire)
    assert {first.first_position, last.first_position} == {1, 2}
    assert len(stored(dsn)) == 2


def test_two_appends_to_one_version_of_a_stream_are_never_both_stored(dsn: str) -> None:
    stream = uuid4()

    async def test(log: PostgresLog) -> list[Any]:
        appends = (log.append_encoded(events(stream, 1)) for _ in range(10))
        return await asyncio.gather(*appends, return_exceptions=True)

    results = with_log(dsn, test)
    assert sum(isinstance(r, StreamConflictError) for r in results) == 9
    assert len(stored(dsn)) == 1


def test_nobody_is_told_stored_before_the_commit(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as db:
        # A deferred constraint runs at commit, after the server has sent the rows.
        db.execute(
            """
            CREATE FUNCTION gradelog.fail_at_commit() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'no commit today'; END $$;
            CREATE CONSTRAINT TRIGGER late AFTER INSERT ON gradelog.events
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
            WHEN (NEW.type = 'test.Noted') EXECUTE FUNCTION gradelog.fail_at_commit();
            """
        )

    async def test(log: PostgresLog) -> None:
        with pytest.raises(psycopg.errors.RaiseException, match="no commit today"):
            await log.append_encoded(events(uuid4(), 1))

    with_log(dsn, test)
    assert stored(dsn) == []


def test_an_answer_comes_no_earlier_than_the_row_is_visible_to_others(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute(
            """
            CREATE FUNCTION gradelog.dawdle() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_sleep(0.2); RETURN NULL; END $$;
            CREATE CONSTRAINT TRIGGER late AFTER INSERT ON gradelog.events
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION gradelog.dawdle();
            """
        )

        async def test(log: PostgresLog) -> None:
            await log.append_encoded(events(uuid4(), 1))
            row = db.execute("SELECT count(*) FROM gradelog.events").fetchone()
            assert row == (1,)

        with_log(dsn, test)


def test_claims_stand_with_their_last_event_and_can_be_released(dsn: str) -> None:
    async def test(log: PostgresLog) -> None:
        owner = uuid4()
        claim = Claim("team:blue", owner, b"kept")
        await log.append_encoded(events(uuid4(), 1))
        await log.append_encoded(events(owner, 1, 2), claims=[claim])
        held = (await log.find_claims(["team:blue", "team:red"]))["team:blue"]
        assert (held.stream_id, held.payload, held.position) == (owner, b"kept", 3)

        await log.append_encoded(events(owner, 3), releases=["team:blue"])
        assert await log.find_claims(["team:blue"]) == {}
        await log.append_encoded(events(uuid4(), 1), claims=[claim])

    with_log(dsn, test)


def test_claims_without_events_are_stored_beside_conflicts_of_others(dsn: str) -> None:
    async def test(log: PostgresLog) -> None:
        taken = uuid4()
        await log.append_encoded(events(taken, 1))
        refused, *stored_ = await asyncio.gather(
            log.append_encoded(events(taken, 1), claims=[Claim("lost", after=0)]),
            log.append_encoded([], claims=[Claim("alone")]),
            log.append_encoded(
                events(uuid4(), 1, 2), claims=[Claim("first", after=1), Claim("last")]
            ),
            return_exceptions=True,
        )
        assert isinstance(refused, StreamConflictError)
        assert not [one for one in stored_ if isinstance(one, Exception)]
        held = await log.find_claims(["lost", "alone", "first", "last"])
        assert {name: claim.position for name, claim in held.items()} == {
            "alone": 1,
            "first": 2,
            "last": 3,
        }
        await log.append_encoded([], claims=[Claim("later")])
        assert (await log.find_claims(["later"]))["later"].position == 3

    with_log(dsn, test)


def test_a_release_of_a_refused_append_releases_nothing(dsn: str) -> None:
    async def test(log: PostgresLog) -> None:
        stream = uuid4()
        await log.append_encoded(events(stream, 1), claims=[Claim("team:blue")])
        with pytest.raises(StreamConflictError):
            await log.append_encoded(events(stream, 1), releases=["team:blue"])
        assert "team:blue" in await log.find_claims(["team:blue"])

    with_log(dsn, test)


def test_an_expired_claim_may_be_taken_again(dsn: str) -> None:
    async def test(log: PostgresLog) -> None:
        past = datetime.now(UTC) - timedelta(seconds=1)
        await log.append_encoded(events(uuid4(), 1), claims=[Claim("key:1", expires_at=past)])
        assert await log.find_claims(["key:1"]) == {}
        await log.append_encoded(events(uuid4(), 1), claims=[Claim("key:1", payload=b"new")])
        assert (await log.find_claims(["key:1"]))["key:1"].payload == b"new"

    with_log(dsn, test)


def test_an_append_that_waits_too_long_for_the_lock_ends_and_stores_nothing(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The server says no after a second; however late that is heard, it is in time.
    monkeypatch.setattr("infra.log.appender.SERVER_SHARE", 1 / PATIENCE)

    async def test(log: PostgresLog) -> None:
        with psycopg.connect(dsn, autocommit=True) as db:
            db.execute("SELECT pg_advisory_lock(7454127093424619623)")
            with pytest.raises(UnavailableError, match="statement timeout"):
                await log.append_encoded(events(uuid4(), 1))

    with_log(dsn, test)
    assert stored(dsn) == []


def test_without_a_database_an_append_ends_and_says_that_nothing_is_stored(dsn: str) -> None:
    async def test() -> None:
        async with wire(dsn) as cut:
            cut.refuse = True
            log = PostgresLog(cut.dsn, timeout=PATIENCE)
            waiting = asyncio.create_task(log.append_encoded(events(uuid4(), 1)))
            await cut.refused.wait()
            let_pass(PATIENCE)
            with pytest.raises(UnavailableError):
                await waiting
            cut.refuse = False  # it recovers by itself
            assert (await log.append_encoded(events(uuid4(), 1))).first_position == 1
            await log.close()

    on_a_clock_of_its_own(test)


def test_an_append_whose_answer_was_lost_is_settled_and_stored_once(dsn: str) -> None:
    async def test() -> None:
        async with wire(dsn) as cut:
            log = PostgresLog(cut.dsn, timeout=PATIENCE)
            stream = uuid4()
            await log.append_encoded(events(stream, 1))
            cut.deaf_to = "append_events"
            asyncio.get_running_loop().create_task(hear_again(cut))
            results = await asyncio.gather(
                log.append_encoded(events(stream, 2, 3), claims=[Claim("key:1")]),
                log.append_encoded(events(uuid4(), 1)),
                log.append_encoded(events(stream, 1)),
                return_exceptions=True,
            )
            assert [r.first_position for r in results[:2]] == [2, 4]
            assert isinstance(results[2], StreamConflictError)
            assert log.figures.resent
            await log.close()

    async def hear_again(cut: Any) -> None:
        await cut.swallowed.wait()
        cut.deaf_to = None

    asyncio.run(test())
    assert [row[:1] for row in stored(dsn)] == [(1,), (2,), (3,), (4,)]


def test_what_may_be_stored_is_not_called_refused_on_a_second_try(dsn: str) -> None:
    async def test() -> None:
        async with wire(dsn) as cut:
            log = PostgresLog(cut.dsn, timeout=PATIENCE)
            await log.append_encoded(events(uuid4(), 1))
            cut.deaf_to = "append_events"
            waiting = asyncio.create_task(log.append_encoded(events(uuid4(), 1)))
            await cut.swallowed.wait()
            with psycopg.connect(dsn, autocommit=True) as db:
                # The first try is stored; every further one finds the lock held.
                assert db.execute("SELECT count(*) FROM gradelog.events").fetchone() == (2,)
                db.execute("SELECT pg_advisory_lock(7454127093424619623)")
                cut.deaf_to = None
                refused = set()
                while len(refused) < 2:  # and is refused, before there is one more
                    refused |= {begun for begun, _ in db.execute(REFUSE).fetchall()}
                    await asyncio.sleep(0.01)
                let_pass(PATIENCE)
                with pytest.raises(OutcomeUnknownError):
                    await waiting
            await log.close()

    on_a_clock_of_its_own(test)


def test_a_claim_that_cannot_be_sent_fails_its_own_caller_alone(dsn: str) -> None:
    async def test(log: PostgresLog) -> list[Any]:
        return await asyncio.gather(
            log.append_encoded(events(uuid4(), 1)),
            log.append_encoded(events(uuid4(), 1), claims=[Claim("\ud800")]),
            log.append_encoded(events(uuid4(), 2**40)),
            log.append_encoded(events(uuid4(), 1)),
            return_exceptions=True,
        )

    first, claimed, versioned, last = with_log(dsn, test)
    assert isinstance(claimed, UnicodeEncodeError)
    assert isinstance(versioned, struct.error)
    assert {first.first_position, last.first_position} == {1, 2}


def test_an_answer_that_stays_lost_is_an_unknown_outcome_and_no_failure(dsn: str) -> None:
    async def test() -> None:
        async with wire(dsn) as cut:
            log = PostgresLog(cut.dsn, timeout=PATIENCE)
            await log.append_encoded(events(uuid4(), 1))
            cut.deaf_to = "append_events"
            waiting = asyncio.create_task(log.append_encoded(events(uuid4(), 1)))
            await cut.swallowed.wait()
            let_pass(PATIENCE)
            with pytest.raises(OutcomeUnknownError, match="idempotency"):
                await waiting
            await log.close()

    on_a_clock_of_its_own(test)
    assert len(stored(dsn)) == 2  # it was stored, which nobody could know


def test_a_backend_that_is_terminated_in_the_middle_costs_nothing_but_time(dsn: str) -> None:
    async def test(log: PostgresLog) -> None:
        with psycopg.connect(dsn, autocommit=True) as db:
            await log.append_encoded(events(uuid4(), 1))
            db.execute("SELECT pg_advisory_lock(7454127093424619623)")
            waiting = asyncio.create_task(log.append_encoded(events(uuid4(), 1)))
            while not db.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'gradelog appender' AND wait_event_type = 'Lock'"
                " AND datname = current_database()"
            ).fetchall():
                await asyncio.sleep(0.01)
            db.execute("SELECT pg_advisory_unlock_all()")
            assert (await waiting).first_position == 2

    with_log(dsn, test)
    assert len(stored(dsn)) == 2


def test_a_full_queue_turns_the_next_caller_away(dsn: str) -> None:
    async def test(log: PostgresLog) -> None:
        results = await asyncio.gather(
            *(log.append_encoded(events(uuid4(), 1)) for _ in range(40)), return_exceptions=True
        )
        refused = [r for r in results if isinstance(r, UnavailableError)]
        assert refused
        assert len(stored(dsn)) == 40 - len(refused)

    with_log(dsn, test, queue=10)


def test_the_figures_tell_how_many_appends_wait(dsn: str) -> None:
    async def test(log: PostgresLog) -> None:
        waiting = [asyncio.create_task(log.append_encoded(events(uuid4(), 1))) for _ in range(5)]
        await asyncio.sleep(0)
        assert log.figures.waiting == 5
        await asyncio.gather(*waiting)
        assert log.figures.waiting == 0

    with_log(dsn, test)


def test_a_caller_that_gives_up_while_waiting_stores_nothing(dsn: str) -> None:
    async def test(log: PostgresLog) -> None:
        first = asyncio.create_task(log.append_encoded(events(uuid4(), 1)))
        gone = asyncio.create_task(log.append_encoded(events(uuid4(), 1)))
        await asyncio.sleep(0)
        gone.cancel()
        await first
        with pytest.raises(asyncio.CancelledError):
            await gone

    with_log(dsn, test)
    assert len(stored(dsn)) == 1


def test_more_than_a_batch_holds_is_stored_in_the_order_of_the_calls(dsn: str) -> None:
    async def test(log: PostgresLog) -> None:
        data = b'"' + b"x" * 200_000 + b'"'
        appended = await asyncio.gather(
            *(log.append_encoded(events(uuid4(), 1, data=data)) for _ in range(100))
        )
        assert [a.first_position for a in appended] == list(range(1, 101))
        assert log.figures.batches > 1

    with_log(dsn, test)


def test_the_log_refuses_to_be_rewritten(dsn: str) -> None:
    async def test(log: PostgresLog) -> None:
        await log.append_encoded(events(uuid4(), 1))

    with_log(dsn, test)
    with psycopg.connect(dsn, autocommit=True) as db:
        for statement in (
            "UPDATE gradelog.events SET data = '{}'",
            "DELETE FROM gradelog.events",
            "TRUNCATE gradelog.events",
        ):
            with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
                db.execute(statement)
