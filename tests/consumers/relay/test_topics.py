"""Topics that are gone, or other than they were."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import psycopg
import pytest
from kafka import KafkaAdminClient
from kafka.admin import NewPartitions

from consumers.kafka.client import Admin, NewTopic, Partition
from tests.consumers.relay.conftest import School
from tests.consumers.relay.filling import execute, relay_row, scores, store
from tests.consumers.relay.reading import check_against_log, read_topics, wait_until_published
from tests.projections.support import wait_until

pytestmark = pytest.mark.kafka


@pytest.fixture
def admin(school: School) -> Iterator[Admin]:
    with closing(school.client.admin()) as made:
        yield made


def topic_ids(school: School) -> set[str]:
    with psycopg.connect(school.dsn) as db:
        return {str(id_) for (id_,) in db.execute("SELECT topic_id FROM gradelog.relay_topics")}


def error_of(school: School) -> str:
    """What keeps the relay from publishing."""
    return relay_row(school.dsn)["error"] or ""


@pytest.mark.parametrize("name", ["courses", "people"])
def test_when_a_topic_is_deleted_everything_is_published_again(
    school: School, admin: Admin, name: str
) -> None:
    head = store(school.dsn, *scores(200))
    with school.relaying():
        wait_until_published(school.dsn, head)
        before = topic_ids(school)
        admin.delete([f"{school.prefix}.{name}"])
        wait_until(lambda: len(topic_ids(school) - before) == 1)
        wait_until_published(school.dsn, store(school.dsn, *scores(10, first=201)))
    read = read_topics(school.client, school.prefix)
    check_against_log(read, school.dsn)


def test_topics_that_were_deleted_while_no_relay_ran_are_made_anew(
    school: School, admin: Admin
) -> None:
    head = store(school.dsn, *scores(200))
    with school.relaying():
        wait_until_published(school.dsn, head)
    names = [f"{school.prefix}.courses", f"{school.prefix}.people"]
    admin.delete(names)
    wait_until(lambda: not admin.topics(names))
    # The number of partitions is chosen when a topic is made: so this is how it is changed.
    school.topics = replace(school.topics, partitions=7)
    with school.relaying():
        wait_until(lambda: school.prefix in str(admin.topics([f"{school.prefix}.courses"])))
        wait_until_published(school.dsn, store(school.dsn, *scores(1, first=201)))
    read = read_topics(school.client, school.prefix)
    assert len(read.messages) == 8
    check_against_log(read, school.dsn)
    assert read.repeats == 0


def test_another_setting_does_not_move_what_is_published(school: School) -> None:
    store(school.dsn, *scores(50))
    with school.relaying():
        wait_until_published(school.dsn, 50)
    school.topics = replace(school.topics, partitions=9)
    with school.relaying():
        wait_until_published(school.dsn, store(school.dsn, *scores(50, first=51)))
    read = read_topics(school.client, school.prefix)
    assert len(read.messages) == 5
    check_against_log(read, school.dsn)
    assert read.repeats == 0


def test_a_topic_with_more_partitions_than_it_had_is_refused(
    school: School, admin: Admin, topics: KafkaAdminClient
) -> None:
    head = store(school.dsn, *scores(100))
    with school.relaying():
        wait_until_published(school.dsn, head)
    topic = f"{school.prefix}.courses"
    topics.create_partitions({topic: NewPartitions(6)})
    wait_until(lambda: admin.topics([topic])[topic].partitions == 6)
    store(school.dsn, *scores(10, first=101))
    with school.relaying():
        wait_until(lambda: f"the topic {topic} has 6 partitions" in error_of(school))
        assert relay_row(school.dsn)["position"] == head
        # As the message says.
        admin.delete([topic])
        wait_until_published(school.dsn, head + 10)
        wait_until(lambda: relay_row(school.dsn)["error"] is None)
    check_against_log(read_topics(school.client, school.prefix), school.dsn)


def test_a_topic_made_anew_that_holds_what_was_meant_for_the_old_one_is_refused(
    school: School, admin: Admin
) -> None:
    head = store(school.dsn, *scores(100))
    with school.relaying():
        wait_until_published(school.dsn, head)
    topic = f"{school.prefix}.courses"
    admin.delete([topic])
    wait_until(lambda: not admin.topics([topic]))
    admin.create([NewTopic(topic, 7)])
    with closing(school.client.producer()) as late:
        late.send(Partition(topic, 1), key=b"any", value=b"{}", headers=[])
        late.flush(30)
    with school.relaying():
        wait_until(lambda: "was made anew with 7 partitions instead of 4" in error_of(school))
        # As the message says.
        admin.delete([topic])
        wait_until(lambda: relay_row(school.dsn)["error"] is None)
        wait_until_published(school.dsn, store(school.dsn, *scores(10, first=101)))
    read = read_topics(school.client, school.prefix)
    assert len(read.messages) == 5
    check_against_log(read, school.dsn)


def test_people_in_several_partitions_are_refused(school: School, admin: Admin) -> None:
    admin.create([NewTopic(f"{school.prefix}.people", 3)])
    store(school.dsn, *scores(10))
    with school.relaying():
        wait_until(lambda: "has 3 partitions and must have 1" in error_of(school))
    assert relay_row(school.dsn)["position"] == 0


def test_a_log_that_was_never_published_to_these_topics_is_published_whole(
    school: School,
) -> None:
    head = store(school.dsn, *scores(100))
    execute(school.dsn, "UPDATE gradelog.relay SET position = 60")
    with school.relaying():
        wait_until_published(school.dsn, head)
    check_against_log(read_topics(school.client, school.prefix), school.dsn)
