"""How far the event bus is written, told to an operator."""

import json
from pathlib import Path

import psycopg

from consumers.openedx.signals import ENROLLED, PASSING_STATUS
from tests.infra.cli.support import Cli, figure, get


def test_it_is_told_where_there_is_one_and_what_is_wrong(dsn: str, tmp_path: Path) -> None:
    cli = Cli(tmp_path, DATABASE_URL=dsn)
    assert "event_bus" not in cli.ask("relay", "status")
    bus = cli.but(
        KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1",
        GRADELOG_EVENT_BUS_TOPICS=f'{{"{PASSING_STATUS}": "grades"}}',
        GRADELOG_SCHEMA_REGISTRY_URL="http://127.0.0.1:1",
    )
    nothing = {"position": 0, "lag": 0, "holder": None, "error": None}
    assert bus.ask("relay", "status") == {**nothing, "event_bus": nothing}
    with psycopg.connect(dsn) as db:
        db.execute(
            "UPDATE gradelog.openedx_relay"
            " SET error = 'there is no topic grades', updated_at = now()"
        )
    assert cli.ask("relay", "status")["event_bus"]["error"] == "there is no topic grades"
    told = bus.run("relay", "status").out
    assert "the event bus of Open edX" in told
    assert "there is no topic grades" in told
    with psycopg.connect(dsn) as db:
        db.execute("UPDATE gradelog.openedx_relay SET updated_at = now() - interval '6 minutes'")
    assert "event_bus" in bus.ask("relay", "status")
    assert "event_bus" not in cli.ask("relay", "status")


def test_topics_that_are_only_read_are_no_event_bus_to_write(dsn: str, tmp_path: Path) -> None:
    cli = Cli(
        tmp_path,
        DATABASE_URL=dsn,
        KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1",
        GRADELOG_EVENT_BUS_TOPICS=json.dumps({ENROLLED: "enrolments"}),
        GRADELOG_SCHEMA_REGISTRY_URL="http://127.0.0.1:1",
    )
    assert "event_bus" not in cli.ask("relay", "status")


def test_readiness_and_figures_speak_of_it(dsn: str, tmp_path: Path) -> None:
    cli = Cli(tmp_path, DATABASE_URL=dsn)
    with cli.start("serve", "--port", "0") as server:
        address = server.address()
        assert "event_bus" not in json.loads(get(address, "/health/ready"))
        assert "gradelog_event_bus" not in get(address, "/metrics")
        with psycopg.connect(dsn) as db:
            db.execute(
                "UPDATE gradelog.openedx_relay SET epoch = 1, position = 0, error = 'no topic',"
                " updated_at = now()"
            )
        state = json.loads(get(address, "/health/ready"))["event_bus"]
        assert state == {"position": 0, "lag": 0, "holder": None, "error": "no topic"}
        assert figure(address, "gradelog_event_bus_failing") == 1
        assert figure(address, "gradelog_event_bus_working") == 0
        assert figure(address, "gradelog_event_bus_lag") == 0
        assert "Whether a process publishes events to the event bus" in get(address, "/metrics")
        with psycopg.connect(dsn) as db:
            db.execute(
                "UPDATE gradelog.openedx_relay SET updated_at = now() - interval '6 minutes'"
            )
        assert "event_bus" not in json.loads(get(address, "/health/ready"))
        assert "gradelog_event_bus" not in get(address, "/metrics")
