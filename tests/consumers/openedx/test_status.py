"""How far the event bus is written, told to an operator."""

from pathlib import Path

import psycopg

from consumers.openedx.signals import PASSING_STATUS
from tests.infra.cli.support import Cli


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
        db.execute("UPDATE gradelog.openedx_relay SET error = 'there is no topic grades'")
    assert cli.ask("relay", "status")["event_bus"]["error"] == "there is no topic grades"
    told = bus.run("relay", "status").out
    assert "the event bus of Open edX" in told
    assert "there is no topic grades" in told
