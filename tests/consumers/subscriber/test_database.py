"""The subscriber's own database: who reads for it, what it waits for, tables of older versions."""

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from consumers.kafka.clients import ClientSettings
from consumers.subscriber import Subscriber
from consumers.subscriber import database as subscriber_database
from consumers.subscriber.database import as_usual, connect
from consumers.subscriber.tables import Tables
from tests import looking
from tests.consumers.following.publisher import Publisher, passed
from tests.consumers.subscriber.conftest import Service
from tests.school import wait_until

AS_VERSION_1 = """
CREATE SCHEMA old;
CREATE TABLE old.attempts (subscription text NOT NULL, topic text NOT NULL, partition int NOT NULL,
    began bigint NOT NULL, until bigint NOT NULL, attempts int NOT NULL, careful bigint NOT NULL,
    PRIMARY KEY (subscription, topic, partition));
CREATE TABLE old.parked (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscription text NOT NULL, topic text NOT NULL, partition int NOT NULL,
    "offset" bigint NOT NULL, position bigint, type text, key bytea, payload bytea,
    header_names text[] NOT NULL, header_values bytea[] NOT NULL, produced_at bigint NOT NULL,
    error text NOT NULL, attempts int NOT NULL, parked_at timestamptz NOT NULL DEFAULT now());
CREATE INDEX parked_keys ON old.parked (subscription, topic, key);
INSERT INTO old.attempts VALUES ('of old', 'gradelog.courses', 3, 7, 9, 1, -1);
INSERT INTO old.parked (subscription, topic, partition, "offset", header_names, header_values,
    produced_at, error, attempts)
SELECT 'of old', 'gradelog.courses', 3, 7, '{}', '{}', 0, 'parked twice', 1
FROM generate_series(1, 2);
"""


def shown(db: psycopg.Connection[Any], name: str) -> str:
    ((value,),) = db.execute(f"SELECT current_setting('{name}')").fetchall()
    return str(value)


def test_the_server_ends_what_stands_still(dsn: str) -> None:
    with connect(dsn, "certificates") as db:
        assert shown(db, "idle_in_transaction_session_timeout") == "1min"
        assert shown(db, "application_name") == "gradelog subscriber certificates"
        assert shown(db, "lock_timeout") == "10s"
        with db.transaction():
            as_usual(db)
            assert shown(db, "lock_timeout") == "0"
        assert shown(db, "lock_timeout") == "10s"


def test_what_the_connection_string_says_comes_first(dsn: str) -> None:
    options = "-c idle_in_transaction_session_timeout=9s -c lock_timeout=3s -c search_path=own"
    own = make_conninfo(dsn, options=options, application_name="mine", connect_timeout=7)
    with connect(own, "certificates") as db:
        assert shown(db, "idle_in_transaction_session_timeout") == "9s"
        assert (shown(db, "search_path"), shown(db, "application_name")) == ("own", "mine")
        with db.transaction():
            as_usual(db)
            assert shown(db, "lock_timeout") == "3s"
        assert db.info.get_parameters()["connect_timeout"] == "7"


def test_what_was_chosen_for_the_database_stays(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as db:
        name = psycopg.sql.Identifier(db.info.dbname)
        db.execute(
            psycopg.sql.SQL("ALTER DATABASE {} SET idle_in_transaction_session_timeout = 0").format(
                name
            )
        )
    with connect(dsn, "certificates") as db:
        assert shown(db, "idle_in_transaction_session_timeout") == "0"


def test_a_string_that_cannot_be_read_is_refused_at_once() -> None:
    with pytest.raises(psycopg.ProgrammingError):
        Subscriber("nowhere:9092", "postgresql://nobody@ no where", "certificates")


def test_tables_of_an_older_version_are_brought_up_to_date(dsn: str) -> None:
    tables = Tables("of old", "old")
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute(AS_VERSION_1)
        for _ in range(2):
            tables.create(db)
        assert db.execute("SELECT began, until, topic_id FROM old.attempts").fetchall() == [
            (7, 9, None)
        ]
        topics = ["gradelog.courses"]
        first, second = tables.parked.all(db, topics, after=0, limit=None)
        for _ in range(2):
            tables.parked.park(db, first.message, None, "again", 1, topic_id=None)
        assert tables.parked.drop(db, [first.id, second.id]) == 2


def test_tables_that_are_there_are_not_waited_for(dsn: str) -> None:
    tables = Tables("here", "kit")
    with psycopg.connect(dsn, autocommit=True) as db, psycopg.connect(dsn) as other:
        tables.create(db)
        other.execute("LOCK kit.attempts, kit.parked IN ROW EXCLUSIVE MODE")
        db.execute("SET lock_timeout = 1")
        tables.create(db)


def test_the_group_is_of_a_database_a_name_and_topics(new_database: Callable[[], str]) -> None:
    def group(dsn: str, name: str = "a", prefix: str = "gradelog", schema: str = "kit") -> str:
        tables = Tables(name, schema)
        with psycopg.connect(dsn, autocommit=True) as db:
            tables.create(db)
            return tables.group(db, prefix)

    one, two = new_database(), new_database()
    assert group(one) == group(one)
    assert group(one).startswith("gradelog-subscriber.a.gradelog.")
    others = (group(two), group(one, "b"), group(one, prefix="test"), group(one, schema="another"))
    assert len({group(one), *others}) == 5


def test_a_copy_of_the_database_has_a_group_of_its_own(dsn: str, server: str) -> None:
    tables = Tables("a", "kit")
    with psycopg.connect(dsn, autocommit=True) as db:
        tables.create(db)
        group, name = tables.group(db, "gradelog"), db.info.dbname
    copy = f"{name}_copy"
    with psycopg.connect(server, autocommit=True) as db:
        create = psycopg.sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        db.execute(create.format(psycopg.sql.Identifier(copy), psycopg.sql.Identifier(name)))
        try:
            with psycopg.connect(make_conninfo(server, dbname=copy), autocommit=True) as copied:
                assert tables.group(copied, "gradelog") != group
        finally:
            drop = psycopg.sql.SQL("DROP DATABASE {} WITH (FORCE)")
            db.execute(drop.format(psycopg.sql.Identifier(copy)))


def test_whoever_ends_before_he_could_join_keeps_no_connection(dsn: str) -> None:
    nowhere = ClientSettings("127.0.0.1:1", timeout=0.2)
    subscriber = Subscriber(nowhere, dsn, "certificates")
    stop = threading.Event()
    thread = threading.Thread(
        target=subscriber.run, args=(lambda _db, _events: None,), kwargs={"stop": stop}
    )
    thread.start()
    try:
        wait_until(lambda: (f := subscriber._following) is not None and f.error is not None)
        following = subscriber._following
        assert following is not None
    finally:
        stop.set()
        thread.join(60)
    assert not following._database.is_there
    ours = "SELECT FROM pg_stat_activity WHERE application_name LIKE 'gradelog subscriber %'"
    wait_until(lambda: not looking.rows(dsn, ours))


@pytest.mark.kafka
def test_services_of_one_name_with_databases_of_their_own_take_nothing_from_each_other(
    service: Service, publisher: Publisher, new_database: Callable[[], str]
) -> None:
    other = Service(service.kafka, new_database(), service.prefix)
    publisher.publish(passed(100, courses=8))
    with other.running:
        service.run()
        other.run()
        service.until(range(1, 101))
        other.until(range(1, 101))


@pytest.mark.kafka
def test_who_holds_a_partition_is_told_and_waited_for(
    service: Service, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriber_database, "HELD", "100ms")
    publisher.publish(passed(10))
    subscriber = service.run(attempts=1)
    service.until(range(1, 11))

    def tries() -> int:
        """How often the partition was waited for that was waited for most often."""
        found = Counter(
            (entry["topic"], entry["partition"])
            for entry in service.logged
            if "another member holds" in str(entry.get("error")) and "partition" in entry
        )
        return max(found.values(), default=0)

    with psycopg.connect(service.dsn) as held:
        held.execute("SELECT 1 FROM gradelog_subscriber.offsets FOR UPDATE")
        publisher.publish(passed(10, after=10))
        wait_until(lambda: "another member holds" in str(subscriber.status().error))
        wait_until(lambda: tries() > 2)
    service.until(range(1, 21))
    wait_until(lambda: subscriber.status().error is None)
    assert subscriber.parked() == []
