"""What has to be so in the end, whatever happened."""

import json
import time
from collections.abc import Collection, Iterable
from typing import Any, Final

import psycopg

from consumers.kafka.client import Client, Message
from consumers.messages import BadMessageError, parse, place_in_log, place_of, topic_names
from tests import looking
from tests.consumers.feed.comparing import assert_same_rows, wait_until_fed
from tests.consumers.relay import reading
from tests.consumers.relay.reading import Read, check_against_log
from tests.faults.writing import Acknowledged

PATIENCE: Final = 300.0


def rows(dsn: str, statement: Any, arguments: Iterable[Any] = ()) -> list[Any]:
    """Ask a database that may be away for a while."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return looking.rows(dsn, statement, *arguments)
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def head(dsn: str) -> int:
    ((found,),) = rows(dsn, "SELECT coalesce(max(position), 0) FROM gradelog.events")
    return int(found)


def acknowledged_writes_are_in_the_log(dsn: str, acknowledged: Collection[Acknowledged]) -> None:
    """Each stands where its answer said, and holds what it was about."""
    stored = dict(rows(dsn, "SELECT position, data FROM gradelog.events"))
    assert sorted(stored) == list(range(1, len(stored) + 1)), "the log has a gap"
    lost = [one for one in acknowledged if one.holds not in stored.get(one.position, "\0")]
    assert not lost, f"{len(lost)} acknowledged writes are not in the log: {lost[:5]}"


def topics_hold_the_log(dsn: str, client: Client, prefix: str) -> Read:
    """Every event counts once and in its turn, whatever else stands between."""
    read = Read()
    for partition, messages in reading.raw(client, topic_names(prefix).values()).items():
        read.messages[partition] = messages
        reading._follow(read, partition, [m for m in messages if is_readable(m)])
    check_against_log(read, dsn)
    return read


def is_readable(message: Message) -> bool:
    """Whether it is an event or a mark."""
    try:
        parse(message)
    except BadMessageError:
        return False
    return True


def first_times_are_in_order(read: Read) -> None:
    """Not even something that had to be kept aside: every event follows all before it."""
    for partition, messages in read.messages.items():
        reached = 0
        for message in messages:
            previous, position = place_in_log(message) or (0, 0)
            assert previous <= reached, f"{partition}: {message.offset} comes too early"
            reached = max(reached, position)


def copy_has_the_same_rows(dsn: str, copy: str) -> None:
    """The read models that were fed from Kafka are those that were fed from the log."""
    wait_until_fed(dsn, dsn, within=PATIENCE)
    wait_until_fed(dsn, copy, within=PATIENCE)
    assert_same_rows(dsn, copy)


def told_once_and_in_order(dsn: str, copy: str) -> None:
    """The subscriber wrote down each event once, those of a key in the order of the log."""
    places = {
        position: place_of(json.loads(data))
        for position, data in rows(dsn, "SELECT position, data FROM gradelog.events")
    }
    told = [p for (p,) in rows(copy, "SELECT position FROM listening.told ORDER BY n")]
    assert len(told) == len(set(told)), f"{len(told) - len(set(told))} events were told twice"
    missing = places.keys() - set(told)
    assert not missing, f"{len(missing)} events were not told, {sorted(missing)[:5]} among them"
    assert len(told) == len(places)
    last: dict[tuple[str, bytes], int] = {}
    for position in told:
        place = places[position]
        assert position > last.get(place, 0), f"{position} was told after {last[place]}"
        last[place] = position
