"""What is published, as its readers find it: everything, once, in order."""

from collections.abc import Callable

import orjson
import psycopg
import pytest
from kafka import KafkaAdminClient

from consumers.kafka.client import Client, Message
from consumers.messages import REACHED, StoredEvent, headers_of, time_text
from domain.events import registered
from infra.log.codec import RECORDED_COLUMNS, decode_rows
from tests import facts
from tests.consumers.relay.conftest import School
from tests.consumers.relay.filling import (
    relay_row,
    scores,
    settings_of,
    store,
    store_one_of_each_type,
)
from tests.consumers.relay.reading import check_against_log, read_topics, wait_until_published
from tests.projections.support import wait_until

pytestmark = pytest.mark.kafka


def events_of(messages: list[Message]) -> list[Message]:
    return [one for one in messages if dict(one.headers)["ce_type"] != REACHED.encode()]


def test_every_event_arrives_once_and_in_order(
    each_client: Client, make_school: Callable[[Client], School]
) -> None:
    school = make_school(each_client)
    store(school.dsn, *scores(2000))
    with school.relaying():
        wait_until_published(school.dsn, 2000)
        wait_until_published(school.dsn, store(school.dsn, *scores(30, first=2001)))
    read = read_topics(each_client, school.prefix)
    check_against_log(read, school.dsn)
    assert read.repeats == 0
    assert sum(bool(taken) for taken in read.taken.values()) == 5
    for messages in read.messages.values():
        by_key: dict[bytes | None, list[int]] = {}
        for message in events_of(messages):
            position = int(dict(message.headers)["ce_position"])
            by_key.setdefault(message.key, []).append(position)
        assert all(positions == sorted(positions) for positions in by_key.values())


def test_a_message_says_what_the_log_says(school: School) -> None:
    store_one_of_each_type(school.dsn)
    with school.relaying():
        wait_until_published(
            school.dsn, len([kind for kind in registered() if kind.__module__[:7] == "domain."])
        )
    events = read_topics(school.client, school.prefix).events()
    with psycopg.connect(school.dsn) as db:
        rows = db.execute(
            f"SELECT {RECORDED_COLUMNS} FROM gradelog.events ORDER BY position"
        ).fetchall()
    for row, recorded in zip(rows, decode_rows(rows), strict=True):
        message, positioned = events[recorded.position]
        assert positioned.recorded == recorded
        assert message.value == row[4].encode()
        stored = StoredEvent(*row)
        assert list(message.headers) == headers_of(
            stored, previous=positioned.previous, source=b"/school"
        )
        headers = dict(message.headers)
        assert headers["ce_specversion"] == b"1.0"
        assert headers["ce_id"] == str(recorded.event_id).encode()
        assert headers["ce_source"] == b"/school"
        assert headers["ce_time"] == time_text(recorded.recorded_at).encode()
        assert headers["content-type"] == b"application/json"
        assert message.timestamp == int(recorded.recorded_at.timestamp() * 1000)
        state = orjson.loads(message.value)
        if state.get("course_id") is None:
            assert message.partition.topic == f"{school.prefix}.people"
            assert message.key == str(state["user_id"]).encode()
        else:
            assert message.partition.topic == f"{school.prefix}.courses"
            assert message.key == state["course_id"].encode()


def test_a_relay_goes_on_where_the_last_one_ended(school: School) -> None:
    for first in (1, 301, 601):
        head = store(school.dsn, *scores(300, first=first))
        with school.relaying(batch=70):
            wait_until_published(school.dsn, head)
        assert relay_row(school.dsn)["holder"] is None
    read = read_topics(school.client, school.prefix)
    check_against_log(read, school.dsn)
    assert read.repeats == 0


def test_a_relay_that_is_stopped_in_the_middle_leaves_nothing_out(school: School) -> None:
    head = store(school.dsn, *scores(5000))
    for _ in range(3):
        with school.relaying(batch=100) as relay:
            before = relay_row(school.dsn)["position"]
            wait_until(lambda: relay.figures.events > 200 or before + 200 >= head)  # noqa: B023
    with school.relaying():
        wait_until_published(school.dsn, head)
    read = read_topics(school.client, school.prefix)
    check_against_log(read, school.dsn)


def test_a_large_event_is_published_like_others(school: School) -> None:
    large = "x" * 3_000_000
    store(
        school.dsn,
        *scores(20),
        facts.submission_created(answer={"text": large}),
        *scores(20, first=21),
    )
    with school.relaying():
        wait_until_published(school.dsn, 41)
    read = read_topics(school.client, school.prefix)
    check_against_log(read, school.dsn)
    message, positioned = read.events()[21]
    assert message.value is not None
    assert len(message.value) > 3_000_000
    assert positioned.recorded.event.answer["text"] == large


def test_marks_tell_every_partition_how_far_everything_is(school: School) -> None:
    head = store(school.dsn, *scores(40, courses=1))
    with psycopg.connect(school.dsn) as db:
        db.execute("UPDATE gradelog.grading_progress SET position = 38, recorded_at_position = 40")
    with school.relaying():
        wait_until_published(school.dsn, head)

        def marked(graded: int) -> bool:
            read = read_topics(school.client, school.prefix)
            return all(
                marks and (marks[-1].position, marks[-1].graded) == (head, graded)
                for marks in read.marks.values()
            )

        wait_until(lambda: marked(38))
        # Grading goes on without a further event: that is told, too.
        with psycopg.connect(school.dsn) as db:
            db.execute("UPDATE gradelog.grading_progress SET position = 40")
        wait_until(lambda: marked(40))
    read = read_topics(school.client, school.prefix)
    for partition, marks in read.marks.items():
        taken = read.taken[partition]
        assert [mark.previous for mark in marks] == [taken[-1] if taken else 0] * len(marks)
        assert {mark.graded_at for mark in marks} == {40}


def test_a_mark_promises_no_grades_that_are_not_published(school: School) -> None:
    head = store(school.dsn, *scores(10))
    with psycopg.connect(school.dsn) as db:
        # As if the grader had recorded more, after the log was read.
        db.execute("UPDATE gradelog.grading_progress SET position = 10, recorded_at_position = 11")
    with school.relaying():
        wait_until_published(school.dsn, head)
        wait_until(lambda: all(read_topics(school.client, school.prefix).marks.values()))
        read = read_topics(school.client, school.prefix)
        assert {(m.graded, m.graded_at) for marks in read.marks.values() for m in marks} == {(0, 0)}
        store(school.dsn, *scores(1, first=11))
        wait_until(
            lambda: all(
                (marks[-1].position, marks[-1].graded, marks[-1].graded_at) == (11, 10, 11)
                for marks in read_topics(school.client, school.prefix).marks.values()
            )
        )


def test_topics_are_made_to_last(school: School, topics: KafkaAdminClient) -> None:
    store(school.dsn, *scores(1))
    with school.relaying():
        wait_until_published(school.dsn, 1)
    for name, partitions in (("courses", 4), ("people", 1)):
        topic = f"{school.prefix}.{name}"
        (described,) = topics.describe_topics([topic])
        assert len(described["partitions"]) == partitions
        settings = settings_of(topics, topic)
        assert settings["retention.ms"] == settings["retention.bytes"] == "-1"
        assert settings["max.message.bytes"] == str(32 * 1024 * 1024)
        assert settings["cleanup.policy"] == "delete"
