"""Sessions and passwords in the database: what is shared, what is forgotten, what has an end."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import psycopg
import pytest
from argon2 import PasswordHasher

from domain.errors import UnavailableError
from infra.passwords import (
    AT_ONCE,
    MAY_WAIT,
    Hashing,
    PasswordError,
    hash_password,
    is_outdated,
    matches,
)
from infra.postgres import Session
from infra.sessions import PostgresSessions, forget_expired
from tests.school import PATIENCE

T = TypeVar("T")

PASSWORD = "correct horse battery staple"
AT = datetime(2030, 1, 1, tzinfo=UTC)


def with_sessions(dsn: str, work: Callable[[PostgresSessions], Awaitable[T]]) -> T:
    async def run() -> T:
        sessions = PostgresSessions(dsn, timeout=PATIENCE)
        try:
            return await work(sessions)
        finally:
            await sessions.close()

    return asyncio.run(run())


def test_what_has_expired_is_forgotten_and_nothing_else(dsn: str) -> None:
    now = datetime.now(UTC)
    past, future = now - timedelta(days=1), now + timedelta(days=1)

    async def work(sessions: PostgresSessions) -> int:
        await sessions.begin(1, "ann", b"old", at=past, until=past)
        await sessions.begin(1, "ann", b"new", at=past, until=future)
        await sessions.count_attempt(b"old", limit=1, window=timedelta(0), at=past)
        await sessions.count_attempt(b"new", limit=1, window=timedelta(days=1), at=now)
        session = Session(dsn, statement_timeout=PATIENCE)
        try:
            return await forget_expired(session, within=PATIENCE)
        finally:
            await session.close()

    assert with_sessions(dsn, work) == 2
    with psycopg.connect(dsn) as db:
        assert db.execute("SELECT secret_digest FROM gradelog.sessions").fetchall() == [(b"new",)]
        assert db.execute("SELECT key FROM gradelog.sign_in_attempts").fetchall() == [(b"new",)]


def test_processes_share_a_key_and_purposes_do_not(dsn: str) -> None:
    async def work(first: PostgresSessions) -> list[bytes]:
        second = PostgresSessions(dsn, timeout=PATIENCE)
        try:
            return [
                *await asyncio.gather(*(s.signing_key("csrf") for s in (first, second) * 4)),
                await first.signing_key("another"),
            ]
        finally:
            await second.close()

    *same, other = with_sessions(dsn, work)
    assert len(set(same)) == 1
    assert len(same[0]) == 32
    assert other not in same


def test_attempts_are_counted_in_windows_however_many_ask(dsn: str) -> None:
    window = timedelta(minutes=5)

    async def work(sessions: PostgresSessions) -> None:
        async def attempt(at: datetime) -> timedelta | None:
            return await sessions.count_attempt(b"k", limit=3, window=window, at=at)

        waits = await asyncio.gather(*(attempt(AT) for _ in range(8)))
        assert sum(wait is None for wait in waits) == 3
        assert {wait for wait in waits if wait is not None} == {window}
        assert await attempt(AT + timedelta(minutes=4)) == timedelta(minutes=1)
        assert await attempt(AT + window) is None
        await sessions.take_back_attempt(b"k")
        for _ in range(3):
            assert await attempt(AT + window) is None
        assert await attempt(AT + window) is not None
        await sessions.forget_attempts(b"k")
        assert await attempt(AT + window) is None

    with_sessions(dsn, work)


def test_a_hash_of_less_effort_is_made_anew(dsn: str) -> None:
    weak = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    assert is_outdated(weak)

    async def work(sessions: PostgresSessions) -> None:
        await sessions.set_password(1, PASSWORD, at=AT)
        with psycopg.connect(dsn, autocommit=True) as db:
            db.execute("UPDATE gradelog.credentials SET password_hash = %s", (weak,))
            assert not await sessions.has_password(1, "another password", at=AT)
            assert await sessions.has_password(1, PASSWORD, at=AT)
            ((stored,),) = db.execute("SELECT password_hash FROM gradelog.credentials").fetchall()
        assert not is_outdated(stored)
        assert await sessions.has_password(1, PASSWORD, at=AT)

    with_sessions(dsn, work)


@pytest.mark.parametrize("password", ["x" * 10, "x" * 1000, "\U0001d11e" * 1000, "ten spaces"])
def test_ten_to_a_thousand_characters_are_a_password(password: str) -> None:
    assert matches(password, hash_password(password))


@pytest.mark.parametrize("password", ["", "x" * 9, "x" * 1001])
def test_less_and_more_are_none(password: str) -> None:
    with pytest.raises(PasswordError, match="10 to 1000"):
        hash_password(password)
    assert not matches(password, hash_password(PASSWORD))
    assert not matches(password, None)
    assert not matches(password, "rubbish")


def test_the_hash_of_nobody_takes_as_much_effort() -> None:
    from infra.passwords import _OF_NOBODY

    assert not is_outdated(_OF_NOBODY)
    assert not matches(PASSWORD, None)


def test_only_so_many_wait_to_be_hashed() -> None:
    async def work() -> None:
        hashing, go = Hashing(), threading.Event()
        try:
            waiting = [
                asyncio.ensure_future(hashing.run(go.wait)) for _ in range(AT_ONCE + MAY_WAIT)
            ]
            await asyncio.sleep(0)
            with pytest.raises(UnavailableError, match="too many people"):
                await hashing.run(go.wait)
            # Who does not wait any more still takes up a thread, until it is done.
            waiting[0].cancel()
            await asyncio.sleep(0)
            with pytest.raises(UnavailableError, match="too many people"):
                await hashing.run(go.wait)
            go.set()
            assert all(await asyncio.gather(*waiting[1:]))
            assert await hashing.run(go.wait)
        finally:
            go.set()
            hashing.close()

    asyncio.run(work())


def test_without_a_database_nothing_hangs() -> None:
    async def work() -> None:
        sessions = PostgresSessions("postgresql://127.0.0.1:1/nothing", timeout=0.3)
        with pytest.raises(UnavailableError):
            await sessions.find(b"", at=AT)
        await sessions.close()

    asyncio.run(work())
