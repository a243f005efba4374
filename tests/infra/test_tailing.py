"""The log as others read it: bounded parts of it, and its end as it grows."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import psycopg
import pytest

from api.event_pages import EVERYTHING, Page, Selection
from domain.errors import UnavailableError
from domain.events import NOBODY
from infra.log.postgres_log import PostgresLog
from infra.log.reader import LogGapError
from infra.tailing import READERS, PostgresEventPages
from tests import facts
from tests.infra.log.support import PATIENCE, let_pass, on_a_clock_of_its_own

A, B = "course-v1:A+1+2026", "course-v1:B+1+2026"

CONNECTIONS = """
SELECT count(*), count(*) FILTER (WHERE wait_event_type = 'Lock') FROM pg_stat_activity
WHERE application_name = 'gradelog events' AND datname = current_database()
"""


def store(dsn: str, *events: Any) -> int:
    with psycopg.connect(dsn) as db:
        return facts.store(db, events)


@asynccontextmanager
async def opened(dsn: str, **more: Any) -> AsyncIterator[PostgresEventPages]:
    pages = PostgresEventPages(dsn, timeout=PATIENCE, **more)
    try:
        yield pages
    finally:
        await pages.close()


def positions(page: Page) -> list[int]:
    return [event.position for event in page.events]


def test_a_selection_is_looked_for_in_a_bounded_part_and_always_advances(dsn: str) -> None:
    async def run() -> None:
        store(dsn, *(facts.score_set(course_id=A) for _ in range(25)))
        store(dsn, *(facts.score_set(course_id=B) for _ in range(2)))
        async with opened(dsn, window=10) as pages:
            selection, after = Selection(course_id=B), 0
            found: list[tuple[int, list[int]]] = []
            while after < 27:
                page = await pages.page(selection, after=after, limit=100)
                assert page.head == 27
                after = page.position
                found.append((after, positions(page)))
            assert found == [(10, []), (20, []), (27, [26, 27])]
            assert await pages.page(selection, after=27, limit=9) == Page((), 27, 27)
            everything = await pages.page(EVERYTHING, after=0, limit=100)
            assert positions(everything) == list(range(1, 28))

    asyncio.run(run())


def test_a_full_page_ends_with_its_last_event(dsn: str) -> None:
    async def run() -> None:
        store(dsn, *(facts.score_set(course_id=c) for c in (A, B) * 5))
        async with opened(dsn) as pages:
            page = await pages.page(Selection(course_id=A), after=0, limit=2)
            assert (positions(page), page.position) == ([1, 3], 3)

    asyncio.run(run())


def test_a_hole_in_the_log_is_damage(dsn: str) -> None:
    async def run() -> None:
        store(dsn, *(facts.score_set() for _ in range(3)))
        with psycopg.connect(dsn) as db:
            db.execute("ALTER TABLE gradelog.events DISABLE TRIGGER USER")
            db.execute("DELETE FROM gradelog.events WHERE position = 2")
        async with opened(dsn) as pages:
            with pytest.raises(LogGapError):
                await pages.page(EVERYTHING, after=0, limit=10)

    asyncio.run(run())


def test_no_more_is_read_at_a_time_than_is_allowed_and_nobody_waits_for_ever(dsn: str) -> None:
    async def run() -> None:
        store(dsn, facts.score_set())
        async with opened(dsn) as pages:
            many = [pages.page(EVERYTHING, after=0, limit=1) for _ in range(READERS * 10)]
            assert [positions(page) for page in await asyncio.gather(*many)] == [[1]] * len(many)
            with psycopg.connect(dsn) as db, psycopg.connect(dsn, autocommit=True) as outside:
                assert outside.execute(CONNECTIONS).fetchone() == (READERS, 0)
                db.execute("LOCK TABLE gradelog.events IN ACCESS EXCLUSIVE MODE")
                waiting = asyncio.create_task(pages.page(EVERYTHING, after=0, limit=1))
                while outside.execute(CONNECTIONS).fetchone() != (READERS, 1):
                    await asyncio.sleep(0.01)
                let_pass(PATIENCE)
                with pytest.raises(UnavailableError):
                    await waiting
            assert positions(await pages.page(EVERYTHING, after=0, limit=1)) == [1]

    on_a_clock_of_its_own(run)


def test_the_end_of_the_log_is_followed_from_now_on(dsn: str) -> None:
    async def run() -> None:
        store(dsn, facts.score_set())
        log = PostgresLog(dsn, timeout=PATIENCE)
        async with opened(dsn) as pages, aclosing(pages.tail()) as tail:
            assert await anext(tail) == Page((), 1, 1)
            store(dsn, facts.score_set())  # without a bell
            assert positions(await anext(tail)) == [2]
            await log.append([facts.score_set(student_id="new")], provenance=NOBODY)
            assert positions(await anext(tail)) == [3]
        await log.close()

    asyncio.run(run())
