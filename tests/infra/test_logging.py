"""What a line of the log holds, as a process of its own writes it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

SPEAKS = """
import asyncio, logging, sys
import structlog
from infra.logging import WithRequest, configure
from infra.settings import read_settings

configure(read_settings(), role="api", quiet=len(sys.argv) > 1)

async def app(scope, receive, send):
    scope["id"] = "r-1"
    structlog.get_logger("ours").warning("too late", item="i-1")
    logging.getLogger("uvicorn.error").warning("theirs %s", 7, extra={"color_message": "x"})

asyncio.run(WithRequest(app, key="id")({"type": "http"}, None, None))
structlog.get_logger("ours").info("calm")
logging.getLogger("psycopg.pool").info("chatter")
try:
    answer = "what a learner wrote"
    raise ValueError("no")
except ValueError:
    logging.getLogger("ours").exception("failed")
"""


def spoken(*arguments: str, **variables: str) -> str:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("GRADELOG_")}
    done = subprocess.run(
        [sys.executable, "-c", SPEAKS, *arguments],
        env={**inherited, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == ""
    return done.stderr


def entries(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_ours_and_theirs_are_lines_of_json_with_role_and_request() -> None:
    ours, theirs, calm, failed = entries(spoken())
    assert (ours["event"], ours["item"], ours["logger"]) == ("too late", "i-1", "ours")
    assert (theirs["event"], theirs["logger"]) == ("theirs 7", "uvicorn.error")
    assert ours["request_id"] == theirs["request_id"] == "r-1"
    assert "request_id" not in calm
    assert {entry["role"] for entry in (ours, theirs, calm, failed)} == {"api"}
    assert ours["timestamp"].endswith("Z")


def test_a_traceback_tells_where_and_never_what_was_in_the_variables() -> None:
    text = spoken()
    failed = entries(text)[-1]
    assert failed["exception"][0]["exc_type"] == "ValueError"
    assert "what a learner wrote" not in text


def test_a_quiet_command_warns_only_unless_a_level_was_asked_for() -> None:
    assert {entry["level"] for entry in entries(spoken("quiet"))} == {"warning", "error"}
    asked = entries(spoken("quiet", GRADELOG_LOG_LEVEL="INFO"))
    assert "info" in {entry["level"] for entry in asked}


def test_people_get_lines_that_they_can_read() -> None:
    text = spoken(GRADELOG_LOG_FORMAT="console", NO_COLOR="1")
    assert "too late" in text
    assert "item=i-1" in text
    assert "Traceback" in text
    assert "\x1b" not in text
    assert "what a learner wrote" not in text
