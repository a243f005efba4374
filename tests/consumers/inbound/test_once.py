"""Whatever is sent twice, out of order or by two members counts once."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from confluent_kafka import Producer

from consumers.inbound.consuming import KEPT_FOR, PARTITIONS
from consumers.inbound.requests import Once, Request
from consumers.kafka.client import Partition
from tests.consumers.inbound.support import Desk
from tests.infra.cli.support import eventually

pytestmark = pytest.mark.kafka

USER = {"username": "ada"}
MOVE = """
UPDATE gradelog.inbound_offsets SET next_offset = %s WHERE next_offset > 0 RETURNING topic
"""
PLACES = "SELECT count(*) FROM gradelog.inbound_offsets"
MEMBERS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'gradelog inbound'
"""


def attributes(message_id: str) -> dict[str, str | bytes | None]:
    """Headers of a message about a user."""
    return {
        "ce_specversion": "1.0",
        "ce_id": message_id,
        "ce_source": "/lms",
        "ce_type": "gradelog.inbound.UserChanged",
        "content-type": "application/json",
    }


def key_of(message_id: str) -> str:
    """The key of the claim that stands for a message."""
    return Request(
        id=message_id,
        source="/lms",
        type="any",
        about="",
        content=b"",
        carry_out=lambda *_: NotImplemented,
        via="test",
    ).key


@contextmanager
def transactions(bootstrap: str) -> Iterator[Producer]:
    """A sender with transactions, as Kafka Connect and Spring are."""
    made = Producer({"bootstrap.servers": bootstrap, "transactional.id": f"lms-{uuid4().hex}"})
    made.init_transactions(60)
    yield made
    made.flush(10)


def test_a_repeat_appends_nothing(desk: Desk) -> None:
    message = desk.post.roster("UserChanged", {"username": "ada", "is_active": True})
    desk.post.roster("UserChanged", {"username": "ada", "is_active": False})
    desk.post.roster("UserChanged", {"is_active": True, "username": "ada"}, id=message)
    desk.post.roster(
        "UserChanged", {"username": "ada", "is_active": True}, id=message, structured=True
    )
    desk.carried_out()
    assert desk.figures() == (2, 2, 0)
    assert len(desk.events("learners.UserRegistered", "learners.UserActivationChanged")) == 2


def test_a_repeat_that_would_be_refused_by_now_is_still_a_repeat(desk: Desk) -> None:
    desk.post.roster("UserChanged", USER)
    role = {"username": "ada", "course_id": "course-v1:A+B+C", "role": "staff"}
    message = desk.post.roster("CourseRoleGranted", role)
    desk.carried_out()
    # Whoever the name stood for is unknown now.
    desk.rows("DELETE FROM gradelog.claims WHERE key LIKE 'username:%' RETURNING key")
    desk.post.roster("CourseRoleGranted", role, id=message)
    desk.post.roster("CourseRoleGranted", role)
    desk.carried_out()
    assert desk.figures() == (2, 1, 1)


def test_the_same_id_with_another_content_is_parked(desk: Desk) -> None:
    message = desk.post.roster("UserChanged", USER)
    desk.post.roster("UserChanged", {"username": "eve", "is_staff": True}, id=message)
    desk.post.roster("UserChanged", {"username": "bob"}, id=message, source="/another")
    desk.carried_out()
    assert desk.figures() == (2, 0, 1)
    assert [reason for reason, _ in desk.parked()] == ["reused id"]
    assert {user["username"] for user in desk.events("learners.UserRegistered")} == {"ada", "bob"}


def test_messages_of_one_key_are_carried_out_in_their_order(desk: Desk) -> None:
    names = [f"user-{n}" for n in range(8)]
    for step in range(12):
        for name in names:
            user = {"username": name, "is_active": step % 2 == 0}
            desk.post.roster("UserChanged", user, key=name)
    desk.carried_out()
    for name in names:
        rows = desk.rows(
            """
            SELECT e.data::jsonb -> 'is_active' FROM gradelog.events e
            WHERE e.stream_id = (SELECT stream_id FROM gradelog.events
                WHERE type = 'learners.UserRegistered' AND data::jsonb ->> 'username' = %s)
            ORDER BY version
            """,
            name,
        )
        assert [active for (active,) in rows] == [step % 2 == 0 for step in range(12)]


def test_without_a_key_those_about_the_same_person_stay_in_order(desk: Desk) -> None:
    topic = desk.post.topic("roster")
    for step in range(20):
        user = {"username": "ada", "is_active": step % 2 == 0}
        headers = attributes(f"step-{step}")
        desk.post.raw("roster", json.dumps(user).encode(), headers, key=None, partition=3)
    desk.carried_out()
    events = desk.events("learners.UserRegistered", "learners.UserActivationChanged")
    assert [event["is_active"] for event in events] == [step % 2 == 0 for step in range(20)]
    assert desk.rows(
        "SELECT next_offset FROM gradelog.inbound_offsets WHERE topic = %s AND partition = 3", topic
    ) == [(20,)]


def test_a_member_goes_on_where_the_last_one_has_stopped(desk: Desk) -> None:
    for n in range(50):
        desk.post.roster("UserChanged", {"username": f"user-{n}"}, key=f"user-{n}")
    desk.carried_out()
    # Not only are repeats recognised: nothing is read twice.
    desk.rows("DELETE FROM gradelog.claims WHERE key LIKE 'inbound:%' RETURNING key")
    desk.post.roster("UserChanged", {"username": "last"})
    desk.carried_out()
    assert desk.figures() == (51, 0, 0)


def registered(desk: Desk, count: int) -> None:
    """Wait until so many users are there: of what changes hands, some may be repeated."""
    desk.post.flush()
    eventually(lambda: len(desk.events("learners.UserRegistered")) >= count)


def test_two_members_share_the_topics(desk: Desk) -> None:
    with desk.member():
        desk.post.roster("UserChanged", {"username": "first"})
        registered(desk, 1)
        for n in range(300):
            desk.post.roster("UserChanged", {"username": f"user-{n}"}, key=f"user-{n}")
        with desk.member():
            # A member connects when it is given its first partitions.
            eventually(lambda: desk.rows(MEMBERS) == [(2,)])
            for n in range(300, 600):
                desk.post.roster("UserChanged", {"username": f"user-{n}"}, key=f"user-{n}")
            registered(desk, 601)
        for n in range(600, 700):
            desk.post.roster("UserChanged", {"username": f"user-{n}"}, key=f"user-{n}")
        registered(desk, 701)
    assert len(desk.events("learners.UserRegistered")) == 701
    assert desk.parked() == []


def test_a_topic_made_anew_is_read_from_its_beginning(desk: Desk) -> None:
    desk.post.roster("UserChanged", {"username": "before"})
    desk.carried_out()
    desk.post.make_anew()
    desk.post.roster("UserChanged", {"username": "after"})
    desk.carried_out()
    assert len(desk.events("learners.UserRegistered")) == 2


def test_an_id_is_remembered_as_long_as_the_topics_keep_messages(desk: Desk) -> None:
    desk.post.roster("UserChanged", USER)
    desk.carried_out()
    ((left,),) = desk.rows(
        "SELECT min(expires_at) - now() FROM gradelog.claims WHERE key LIKE 'inbound:%'"
    )
    assert left > KEPT_FOR - timedelta(hours=1)


def test_a_part_of_a_message_is_never_taken_for_another_message() -> None:
    now = datetime.now(UTC)
    part = Once(key_of("m"), b"", now)("user")
    assert part.key.startswith(key_of("m"))
    assert not part.key.isprintable()  # as those of messages are


@pytest.mark.parametrize("library", ["kafka-python", "confluent"])
def test_what_its_sender_takes_back_is_never_carried_out(desk: Desk, library: str) -> None:
    desk.settings = desk.settings.model_copy(update={"kafka_client": library})
    with transactions(desk.post.bootstrap) as sender:
        for name, counts in (("aborted", False), ("committed", True)):
            sender.begin_transaction()
            for n in range(3):
                sender.produce(
                    desk.post.topic("roster"),
                    json.dumps({"username": f"{name}-{n}"}).encode(),
                    b"one",
                    headers=attributes(f"{name}-{n}"),
                )
            if counts:
                sender.commit_transaction(30)
            else:
                sender.flush(30)
                sender.abort_transaction(30)
    desk.post.roster("UserChanged", {"username": "last"})
    desk.post.sent += 3
    desk.carried_out()
    users = [user["username"] for user in desk.events("learners.UserRegistered")]
    assert sorted(users) == ["committed-0", "committed-1", "committed-2", "last"]


@pytest.mark.parametrize("codec", ["gzip", "lz4", "zstd", "snappy"])
def test_our_topics_take_what_is_compressed_in_any_way(desk: Desk, codec: str) -> None:
    # Those of the other tests are made by the sender; these are not there yet.
    settings = desk.settings
    prefix = f"{settings.kafka_topic_prefix}.own"
    desk.settings = settings.model_copy(update={"kafka_topic_prefix": prefix})
    with desk.member():
        eventually(lambda: desk.rows(PLACES) == [(2 * PARTITIONS,)])
        sender = Producer({"bootstrap.servers": desk.post.bootstrap, "compression.type": codec})
        for n in range(20):
            user = {"username": f"user-{n}", "full_name": "a" * 200}
            sender.produce(
                f"{prefix}.inbound.roster",
                json.dumps(user).encode(),
                b"one",
                headers=attributes(f"{codec}-{n}"),
            )
        assert sender.flush(30) == 0
        eventually(lambda: len(desk.events("learners.UserRegistered")) == 20)


def test_offsets_are_told_to_the_broker(desk: Desk) -> None:
    for n in range(10):
        desk.post.roster("UserChanged", {"username": f"user-{n}"}, key="one")
    desk.carried_out()
    committed = desk.post.committed(f"{desk.post.prefix}.inbound")
    found = {partition: offset for partition, offset in committed.items() if offset}
    (partition,) = found
    assert partition.topic == desk.post.topic("roster")
    assert found == {Partition(partition.topic, partition.number): 10}


def test_what_the_broker_has_lost_holds_nobody_up(desk: Desk) -> None:
    for n in range(5):
        desk.post.roster("UserChanged", {"username": f"user-{n}"})
    desk.carried_out()
    # It would be read from the third message on, but only the last one is there.
    desk.rows(MOVE, 2)
    desk.post.lose("roster", before=4)
    desk.post.roster("UserChanged", {"username": "next"})
    desk.carried_out_again(1)
    assert desk.figures() == (6, 1, 0)
    # It was read further than it reaches now, and what has come since is less than that.
    desk.rows(MOVE, 100)
    desk.post.roster("UserChanged", {"username": "last"})
    desk.carried_out_again(2)
    assert desk.figures() == (7, 3, 0)
    assert len(desk.events("learners.UserRegistered")) == 7


def test_the_other_client_does_the_same(desk: Desk) -> None:
    desk.settings = desk.settings.model_copy(update={"kafka_client": "confluent"})
    for n in range(20):
        desk.post.roster("UserChanged", {"username": f"user-{n}"}, key=f"user-{n}")
    message = desk.post.roster("UserChanged", {"username": "again"})
    desk.carried_out()
    desk.post.roster("UserChanged", {"username": "again"}, id=message)
    desk.carried_out()
    assert desk.figures() == (21, 1, 0)
