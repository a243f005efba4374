"""What goes wrong in us and not in the message: defects, and messages that end the process."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from consumers.inbound.carrying import MOST_ATTEMPTS, Inlet
from consumers.inbound.lanes import MOST_KEPT, SUSPICIOUS, Lanes
from consumers.inbound.requests import Commands, Once, Request
from consumers.inbound.tracks import CAREFUL_FOR
from consumers.kafka.client import Message, Partition
from domain.application import Done
from domain.errors import ConflictError, UnavailableError
from domain.events import Provenance
from infra.inbound import Workshop, workshop
from infra.settings import Settings
from tests.infra.cli.support import eventually

TOPIC = "any.inbound.users"
PARTITION = Partition(TOPIC, 0)
TOPIC_ID = UUID(int=7)

Effect = Callable[[Commands, Once, Provenance, str], Awaitable[Done[Any]]]


async def register(commands: Commands, once: Once, provenance: Provenance, name: str) -> Done[Any]:
    return await commands.learners.register_user(name, provenance=provenance, idempotency=once())


def inlet(effect: Effect) -> Inlet:
    """A topic of another format: the value is a user name."""

    def decode(message: Message) -> Request | None:
        assert message.value is not None
        name = message.value.decode()
        if name == "ignored":
            return None
        return Request(
            id=f"{message.offset}",
            source="/other",
            type="other",
            about=name,
            content=message.value,
            carry_out=lambda commands, once, provenance: effect(commands, once, provenance, name),
            via="inbound.other",
        )

    return Inlet(kind="other", topic=TOPIC, decode=decode)


def messages(*names: str, begin: int = 0) -> list[Message]:
    return [
        Message(PARTITION, begin + n, name.encode(), name.encode(), [], 0)
        for n, name in enumerate(names)
    ]


@pytest.fixture
def shop(dsn: str, tmp_path: Path) -> Iterator[Workshop]:
    with workshop(Settings(database_url=dsn, home=tmp_path), dsn) as opened:
        yield opened


def lanes_of(shop: Workshop, effect: Effect) -> Lanes:
    return Lanes(shop.carrier, shop.store, [inlet(effect)])


def begin(shop: Workshop, lanes: Lanes) -> int | None:
    found = shop.engine.run(lambda: lanes.begin({PARTITION: TOPIC_ID}))
    return found[PARTITION]


def finish(shop: Workshop, lanes: Lanes) -> None:
    shop.engine.run(lambda: lanes.drain(30))
    shop.engine.run(lambda: lanes.close(5))


def rows(dsn: str, statement: Any) -> list[Any]:
    with psycopg.connect(dsn) as db:
        return db.execute(statement).fetchall()


PARKED = "SELECT convert_from(payload, 'UTF8'), reason, attempts FROM gradelog.inbound_parked"
USERS = """
SELECT data::jsonb ->> 'username' FROM gradelog.events WHERE type = 'learners.UserRegistered'
ORDER BY 1
"""
ATTEMPTS = "SELECT message_offset, attempts FROM gradelog.inbound_attempts"


def test_a_defect_is_tried_three_times_and_parked(dsn: str, shop: Workshop) -> None:
    tries: list[str] = []

    async def effect(
        commands: Commands, once: Once, provenance: Provenance, name: str
    ) -> Done[Any]:
        if name == "bad":
            tries.append(name)
            raise RuntimeError("nobody thought of that")
        return await register(commands, once, provenance, name)

    lanes = lanes_of(shop, effect)
    assert begin(shop, lanes) is None
    shop.engine.run(lambda: lanes.take(messages("ada", "bad", "bob", "ignored")))
    finish(shop, lanes)
    assert len(tries) == 3
    assert rows(dsn, PARKED) == [("bad", "defect", 3)]
    assert rows(dsn, USERS) == [("ada",), ("bob",)]
    assert rows(dsn, ATTEMPTS) == []
    assert begin(shop, lanes_of(shop, effect)) == 4


def test_a_defect_that_passes_leaves_no_trace(dsn: str, shop: Workshop) -> None:
    failures = iter([RuntimeError("once"), ConflictError("twice")])

    async def effect(
        commands: Commands, once: Once, provenance: Provenance, name: str
    ) -> Done[Any]:
        if (failure := next(failures, None)) is not None:
            raise failure
        return await register(commands, once, provenance, name)

    lanes = lanes_of(shop, effect)
    begin(shop, lanes)
    shop.engine.run(lambda: lanes.take(messages("ada")))
    finish(shop, lanes)
    assert rows(dsn, USERS) == [("ada",)]
    assert rows(dsn, PARKED) == []
    assert rows(dsn, ATTEMPTS) == []


def test_what_is_unavailable_is_waited_for_however_long_it_takes(dsn: str, shop: Workshop) -> None:
    failures = iter([UnavailableError("away")] * 5)

    async def effect(
        commands: Commands, once: Once, provenance: Provenance, name: str
    ) -> Done[Any]:
        if (failure := next(failures, None)) is not None:
            raise failure
        return await register(commands, once, provenance, name)

    lanes = lanes_of(shop, effect)
    begin(shop, lanes)
    shop.engine.run(lambda: lanes.take(messages("ada")))
    finish(shop, lanes)
    assert rows(dsn, USERS) == [("ada",)]
    assert rows(dsn, PARKED) == []


def test_lost_races_are_run_again_however_often(dsn: str, shop: Workshop) -> None:
    failures = iter([ConflictError("others were quicker")] * (MOST_ATTEMPTS + 2))

    async def effect(
        commands: Commands, once: Once, provenance: Provenance, name: str
    ) -> Done[Any]:
        if (failure := next(failures, None)) is not None:
            raise failure
        return await register(commands, once, provenance, name)

    lanes = lanes_of(shop, effect)
    begin(shop, lanes)
    shop.engine.run(lambda: lanes.take(messages("ada")))
    finish(shop, lanes)
    assert rows(dsn, USERS) == [("ada",)]
    assert rows(dsn, PARKED) == []


def test_what_waits_is_under_no_suspicion(dsn: str, shop: Workshop) -> None:
    away = True
    tries = 0

    async def effect(
        commands: Commands, once: Once, provenance: Provenance, name: str
    ) -> Done[Any]:
        nonlocal tries
        tries += 1
        if away:
            raise UnavailableError("away")
        return await register(commands, once, provenance, name)

    # Members come and go, and the message is the first of its partition all the time.
    for _ in range(SUSPICIOUS + MOST_ATTEMPTS + 2):
        lanes = lanes_of(shop, effect)
        begin(shop, lanes)
        before = tries
        shop.engine.run(lambda: lanes.take(messages("ada")))  # noqa: B023
        eventually(lambda: tries > before or rows(dsn, PARKED))  # noqa: B023
        shop.engine.run(lambda: lanes.end([PARTITION]))  # noqa: B023
        shop.engine.run(lambda: lanes.close(5))  # noqa: B023
    away = False
    lanes = lanes_of(shop, effect)
    begin(shop, lanes)
    shop.engine.run(lambda: lanes.take(messages("ada")))
    finish(shop, lanes)
    assert rows(dsn, PARKED) == []
    assert rows(dsn, USERS) == [("ada",)]


def test_those_after_messages_taken_with_care_stay_behind_them(shop: Workshop) -> None:
    for _ in range(SUSPICIOUS):
        begin(shop, lanes_of(shop, register))
    order: list[str] = []

    async def effect(
        commands: Commands, once: Once, provenance: Provenance, name: str
    ) -> Done[Any]:
        if name == "first":
            # Time enough for the second, were it not in order.
            go_on = asyncio.Event()
            asyncio.get_running_loop().call_later(0.3, go_on.set)
            await go_on.wait()
        order.append(name)
        return await register(commands, once, provenance, name)

    lanes = lanes_of(shop, effect)
    begin(shop, lanes)
    same_key = [*messages("first"), *messages("second", begin=CAREFUL_FOR)]
    shop.engine.run(lambda: lanes.take([message._replace(key=b"one") for message in same_key]))
    finish(shop, lanes)
    assert order == ["first", "second"]


def test_a_message_that_waits_stops_its_own_partition_alone(shop: Workshop) -> None:
    go_on = asyncio.Event()

    async def effect(
        commands: Commands, once: Once, provenance: Provenance, name: str
    ) -> Done[Any]:
        await go_on.wait()
        return await register(commands, once, provenance, name)

    lanes = lanes_of(shop, effect)
    other = Partition(TOPIC, 1)
    shop.engine.run(lambda: lanes.begin({PARTITION: TOPIC_ID, other: TOPIC_ID}))
    many = messages("ada", *["ignored"] * MOST_KEPT)

    async def full() -> frozenset[Partition]:
        return lanes.standing().full

    async def let_go() -> None:
        go_on.set()

    assert shop.engine.run(lambda: lanes.take(many)).full == {PARTITION, other}
    eventually(lambda: shop.engine.run(full) == {PARTITION})
    shop.engine.run(let_go)
    eventually(lambda: shop.engine.run(full) == frozenset())
    finish(shop, lanes)


@pytest.mark.parametrize("first", [0, 1_000_000])
def test_a_message_that_ends_the_process_each_time_is_parked(
    dsn: str, shop: Workshop, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It dies before it has kept anything, however long it takes to see that it shall.
    monkeypatch.setattr("consumers.inbound.lanes.SAVE_EVERY", 3600.0)
    begun: list[str] = []

    async def effect(
        commands: Commands, once: Once, provenance: Provenance, name: str
    ) -> Done[Any]:
        if name == "deadly":
            begun.append(name)
            await asyncio.Event().wait()  # what follows never happens
        return await register(commands, once, provenance, name)

    lives = 0
    while not rows(dsn, PARKED):
        lives += 1
        lanes = lanes_of(shop, effect)
        offset = begin(shop, lanes) or first
        rest = messages("ada", "deadly", "bob", "eve", begin=first)[offset - first :]
        before = len(begun)
        shop.engine.run(lambda: lanes.take(rest))  # noqa: B023
        eventually(lambda: len(begun) > before or rows(dsn, PARKED))  # noqa: B023
        if len(begun) > before:
            shop.engine.run(lambda: lanes.close(0))  # noqa: B023 - it dies, and nothing is kept
        else:
            finish(shop, lanes)
        assert lives < 20
    assert lives == SUSPICIOUS + 3 + 1
    assert rows(dsn, PARKED) == [("deadly", "defect", 3)]
    assert rows(dsn, USERS) == [("ada",), ("bob",), ("eve",)]
    assert begin(shop, lanes_of(shop, effect)) == first + 4


def test_beginning_again_and_again_is_nothing_suspicious(
    dsn: str, shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nor has it a limit then until it must have kept that it ended well.
    monkeypatch.setattr("consumers.inbound.lanes.SAVE_EVERY", 3600.0)
    for _ in range(SUSPICIOUS + 1):
        lanes = lanes_of(shop, register)
        begin(shop, lanes)
        shop.engine.run(lambda: lanes.end([PARTITION]))  # noqa: B023
    lanes = lanes_of(shop, register)
    begin(shop, lanes)
    assert rows(dsn, "SELECT begun FROM gradelog.inbound_offsets") == [(1,)]
    shop.engine.run(lambda: lanes.take(messages("ada")))
    finish(shop, lanes)
    assert rows(dsn, ATTEMPTS) == []


def test_what_is_given_away_is_not_begun_any_more(dsn: str, shop: Workshop) -> None:
    started = asyncio.Event()
    go_on = asyncio.Event()

    async def effect(
        commands: Commands, once: Once, provenance: Provenance, name: str
    ) -> Done[Any]:
        started.set()
        await go_on.wait()
        return await register(commands, once, provenance, name)

    lanes = lanes_of(shop, effect)
    begin(shop, lanes)
    same_lane = [message._replace(key=b"one") for message in messages("ada", "bob")]
    shop.engine.run(lambda: lanes.take(same_lane))
    shop.engine.run(started.wait)
    shop.engine.run(lambda: lanes.end([PARTITION]))

    async def let_go() -> None:
        go_on.set()

    shop.engine.run(let_go)
    finish(shop, lanes)
    assert rows(dsn, USERS) == [("ada",)]
    assert begin(shop, lanes_of(shop, effect)) is None


def test_where_the_broker_has_lost_messages_those_under_way_hide_no_others(
    dsn: str, shop: Workshop
) -> None:
    gate = asyncio.Event()

    async def wait(commands: Commands, once: Once, provenance: Provenance, name: str) -> Done[Any]:
        await gate.wait()
        return await register(commands, once, provenance, name)

    async def let_go() -> None:
        gate.set()

    lanes = lanes_of(shop, wait)
    assert begin(shop, lanes) is None
    shop.engine.run(lambda: lanes.take(messages("ada", begin=509)))
    assert shop.engine.run(lambda: lanes.skip(PARTITION, range(400))) == 0
    shop.engine.run(let_go)
    shop.engine.run(lambda: lanes.drain(30))
    assert rows(dsn, USERS) == [("ada",)]
    shop.engine.run(lambda: lanes.take(messages("ben", "cleo")))
    finish(shop, lanes)
    assert rows(dsn, USERS) == [("ada",), ("ben",), ("cleo",)]
    assert begin(shop, lanes_of(shop, register)) == 2


def test_what_was_under_way_when_messages_were_lost_is_given_away_with_the_partition(
    dsn: str, shop: Workshop
) -> None:
    tried = []

    async def fail(commands: Commands, once: Once, provenance: Provenance, name: str) -> Done[Any]:
        tried.append(name)
        raise UnavailableError("not now")

    lanes = lanes_of(shop, fail)
    begin(shop, lanes)
    shop.engine.run(lambda: lanes.take(messages("ada", begin=509)))
    eventually(lambda: len(tried) > 1)
    shop.engine.run(lambda: lanes.skip(PARTITION, range(400)))
    shop.engine.run(lambda: lanes.end([PARTITION]))
    shop.engine.run(lanes._idle.wait)
    assert not rows(dsn, USERS)
