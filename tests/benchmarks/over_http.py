"""The submissions interface over HTTP, one worker, under the load of another process."""

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from tests.benchmarks.commands import ANSWER, item
from tests.benchmarks.harness import Figure, Settings, end, rounds, scratch

SECRET = "a secret of the benchmarks, long enough to sign tokens"
ROOT = Path(__file__).parents[2]


def load(job: dict[str, Any]) -> dict[str, Any]:
    """Let the load generator do its job; every answer must have the status it names, or 201."""
    wanted = str(job.pop("status", 201))
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.load"],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    if set(result["statuses"]) != {wanted}:
        raise RuntimeError(f"the server answered {result['statuses']}")
    return result


class Server:
    """An API process with one worker and a projector beside it."""

    def __init__(self, port: int, token: str, pid: int) -> None:
        self._port = port
        self._token = token
        self.pid = pid
        self._numbers = itertools.count()
        self.uuids: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"JWT {self._token}"}

    def load(self, seconds: float, requests: list[tuple[str, Any]], **more: Any) -> dict[str, Any]:
        return load(
            {
                "method": "POST",
                "port": self._port,
                "token": self._token,
                "connections": 64,
                "seconds": seconds,
                "requests": requests,
                **more,
            }
        )

    def create(self, seconds: float) -> float:
        requests = [
            (
                "/api/submissions/v1/submissions/",
                {"student_item": item(next(self._numbers)), "answer": ANSWER},
            )
            for _ in range(int(seconds * 6000))
        ]
        return float(self.load(seconds, requests)["rate"])

    def score(self, seconds: float) -> float:
        score = {"points_earned": 7, "points_possible": 10}
        uuids = itertools.cycle(self.uuids)
        requests = [
            (f"/api/submissions/v1/submissions/{next(uuids)}/score/", score)
            for _ in range(int(seconds * 6000))
        ]
        return float(self.load(seconds, requests)["rate"])

    def bulk(self, commands: int) -> float:
        lines = [
            json.dumps(
                {
                    "id": n,
                    "command": "create_submission",
                    "student_item": item(next(self._numbers)),
                    "answer": ANSWER,
                }
            )
            for n in range(commands)
        ]
        body = ("\n".join(lines) + "\n").encode()
        begin = time.perf_counter()
        uuids = []
        with (
            httpx.Client(timeout=120) as client,
            client.stream(
                "POST",
                f"{self.url}/api/submissions/v1/commands/",
                content=body,
                headers={**self.headers, "Content-Type": "application/x-ndjson"},
            ) as response,
        ):
            for line in response.iter_lines():
                result = json.loads(line)
                if result["status"] != 201:
                    raise RuntimeError(line)
                uuids.append(result["result"]["uuid"])
        seconds = time.perf_counter() - begin
        self.uuids = uuids
        return commands / seconds


@contextmanager
def server(dsn: str, *, projector: bool = True) -> Iterator[Server]:
    """Start the programs that serve a database, and end them."""
    with TemporaryDirectory() as home:
        environment = {
            **os.environ,
            "DATABASE_URL": dsn,
            "GRADELOG_HOME": home,
            "GRADELOG_JWT_SECRET": SECRET,
            "GRADELOG_LOG_LEVEL": "WARNING",
            # A command that is late counts as slow, and ends no measure.
            "GRADELOG_APPEND_TIMEOUT": "60",
        }

        def gradelog(*arguments: str) -> list[str]:
            return [sys.executable, "-m", "infra.cli.main", *arguments]

        token = subprocess.run(
            gradelog("token", "--username", "bench", "--staff"),
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        command = gradelog("serve" if projector else "api", "--port", "0", "--json")
        running = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        try:
            assert running.stdout is not None
            address = json.loads(running.stdout.readline())["address"]
            yield Server(int(address.rsplit(":", 1)[1].strip("/")), token, running.pid)
        finally:
            end(running)


def measure(settings: Settings) -> Iterator[Figure]:
    seconds = settings.seconds
    with scratch(settings.dsn) as dsn, server(dsn) as started:
        started.bulk(2000)
        yield from rounds(
            settings,
            (
                Figure(
                    "create_submission over HTTP, 64 connections",
                    "requests/s",
                    "2,000",
                    at_least=2000,
                ),
                lambda: started.create(seconds),
            ),
            (
                Figure("set_score over HTTP, 64 connections", "requests/s", "2,000", at_least=2000),
                lambda: started.score(seconds),
            ),
            (
                Figure("bulk commands/ over HTTP", "commands/s", "8,000", at_least=8000),
                lambda: started.bulk(settings.amount(20_000)),
            ),
        )
