"""The relay as operators meet it: the command, beside the API, in health and figures."""

import json
import signal
from pathlib import Path

import psycopg
import pytest

from consumers.kafka.client import Client
from tests.consumers.relay.filling import execute, scores, store
from tests.consumers.relay.reading import check_against_log, read_topics, wait_until_published
from tests.infra.cli.support import Cli, eventually, figure, get, is_running


@pytest.fixture
def cli(tmp_path: Path, dsn: str) -> Cli:
    """The command on a database of the test's own, and without Kafka."""
    return Cli(tmp_path, DATABASE_URL=dsn).but(KAFKA_BOOTSTRAP_SERVERS=None)


@pytest.fixture
def with_kafka(cli: Cli, kafka: str, topic_prefix: str) -> Cli:
    return cli.but(KAFKA_BOOTSTRAP_SERVERS=kafka, GRADELOG_KAFKA_TOPIC_PREFIX=topic_prefix)


def test_without_kafka_the_command_says_what_is_missing(cli: Cli) -> None:
    done = cli.run("relay")
    assert done.code == 2
    assert "set KAFKA_BOOTSTRAP_SERVERS" in done.err
    nothing = {"position": 0, "lag": None, "holder": None, "error": None}
    assert cli.ask("relay", "status") == nothing


def test_without_kafka_nothing_speaks_of_a_relay(cli: Cli) -> None:
    with cli.start("serve", "--port", "0") as server:
        address = server.address()
        assert "relay" not in json.loads(get(address, "/health/ready"))
        assert "gradelog_relay" not in get(address, "/metrics")


def test_of_a_relay_that_works_elsewhere_everybody_tells_until_it_is_switched_off(
    cli: Cli, dsn: str
) -> None:
    works = "holder = 'far:7:a', expires_at = now() + interval '1 hour', updated_at = now()"
    execute(dsn, f"UPDATE gradelog.relay SET epoch = 1, {works}")
    with cli.start("api", "--port", "0") as server:
        address = server.address()

        def is_told(**more: str | None) -> bool:
            # Both leave it out when the database does not answer soon, too.
            told = json.loads(get(address, "/health/ready")).get("relay")
            told_in_figures = "gradelog_relay_lag" in get(address, "/metrics")
            status = cli.ask("relay", "status")
            expected = {"position": 0, "lag": 0, "holder": None, "error": None} | more
            return told == status == expected and told_in_figures

        def is_off() -> bool:
            health, figures = get(address, "/health/ready"), get(address, "/metrics")
            status = cli.ask("relay", "status")
            assert (status["lag"], status["holder"]) == (None, None)
            return "relay" not in json.loads(health) and "gradelog_relay_lag" not in figures

        eventually(lambda: is_told(holder="far:7:a"))
        # It has just ended, and may be coming again.
        execute(dsn, "UPDATE gradelog.relay SET holder = NULL, expires_at = '-infinity'")
        eventually(is_told)
        execute(dsn, "UPDATE gradelog.relay SET updated_at = now() - interval '6 minutes'")
        eventually(is_off)
        # One that keeps trying says so every few seconds.
        execute(dsn, "UPDATE gradelog.relay SET updated_at = now(), error = 'Kafka is away'")
        eventually(lambda: is_told(error="Kafka is away"))
        execute(dsn, "UPDATE gradelog.relay SET updated_at = now() - interval '6 minutes'")
        eventually(is_off)
        # One that died has not ended in order.
        execute(dsn, "UPDATE gradelog.relay SET holder = 'far:7:a', error = NULL")
        eventually(is_told)
        execute(dsn, "UPDATE gradelog.relay SET updated_at = now() - interval '25 hours'")
        eventually(is_off)
    told = cli.run("relay", "status").out
    assert "not counted: KAFKA_BOOTSTRAP_SERVERS is not set here" in told


@pytest.mark.kafka
def test_the_command_publishes_until_it_is_told_to_end(
    with_kafka: Cli, dsn: str, kafka_client: Client, topic_prefix: str
) -> None:
    head = store(dsn, *scores(100))
    with with_kafka.start("relay") as relay:
        assert relay.line() == "the relay runs"
        wait_until_published(dsn, head, alive=lambda: relay.process.poll() is None)
        status = with_kafka.ask("relay", "status")
        assert (status["position"], status["lag"], status["error"]) == (head, 0, None)
        # It renews its lease again and again, and may have been late just now.
        eventually(lambda: f":{relay.pid}:" in (with_kafka.ask("relay", "status")["holder"] or ""))
        assert relay.end(signal.SIGTERM) == 0
    assert with_kafka.ask("relay", "status")["holder"] is None
    check_against_log(read_topics(kafka_client, topic_prefix), dsn)


@pytest.mark.kafka
def test_serving_publishes_too_and_tells_how_far(with_kafka: Cli, dsn: str) -> None:
    head = store(dsn, *scores(100))
    with with_kafka.start("serve", "--port", "0") as server:
        address = server.address()
        wait_until_published(dsn, head)
        with psycopg.connect(dsn, autocommit=True) as db:
            # Grading may have added something meanwhile.
            eventually(
                lambda: (
                    db.execute(
                        "SELECT position = (SELECT max(position) FROM gradelog.events) FROM gradelog.relay"
                    ).fetchone()
                    == (True,)
                )
            )

        def is_told() -> bool:
            # It is left out when the database does not answer soon.
            state = json.loads(get(address, "/health/ready")).get("relay", {})
            assert state.get("position", head) >= head
            return state.get("holder") is not None and (state["lag"], state["error"]) == (0, None)

        eventually(is_told)
        assert figure(address, "gradelog_relay_position") >= head
        for name, value in (("lag", 0), ("working", 1), ("failing", 0)):
            eventually(lambda: figure(address, f"gradelog_relay_{name}") == value)  # noqa: B023
        relay = server.child("infra.cli.main relay")
        assert server.end(signal.SIGTERM) == 0
        assert not is_running(relay)


def test_requests_are_answered_while_kafka_is_away(cli: Cli, dsn: str) -> None:
    away = cli.but(KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    execute(dsn, "UPDATE gradelog.relay SET epoch = 3, error = 'KafkaError: away'")
    with away.start("serve", "--port", "0") as server:
        address = server.address()
        ready = eventually(lambda: json.loads(get(address, "/health/ready")))
        assert ready["status"] == "ok"
        assert ready["relay"]["holder"] is None
        assert ready["relay"]["error"]
        assert figure(address, "gradelog_relay_failing") == 1
        server.child("infra.cli.main relay")
