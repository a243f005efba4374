"""Live subscriptions: what those who only listen cost those who write."""

import itertools
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.benchmarks.commands import ANSWER, item
from tests.benchmarks.harness import PATIENCE, Figure, Settings, percentile, scratch
from tests.benchmarks.over_http import Server, server

SUBSCRIBERS = 500
CONNECTIONS = 8
EVERY = 0.04
"""Seconds between two writes of a connection: 200 a second together."""

TURNS = 4
"""So often alone and listened to take turns within a round, so that noise meets both alike."""

NEVER = "courses.CourseFlagsChanged"
"""What the subscribers wait for, and nobody writes."""


def measure(settings: Settings) -> Iterator[Figure]:
    subscribers = settings.amount(SUBSCRIBERS)
    alone = Figure("write over HTTP at 200/s, p99, nobody listens", "ms")
    heard = Figure(
        f"the same, {subscribers} idle SSE subscribers",
        "ms",
        "1.1 x at most",
        baseline=alone.name,
    )
    numbers = itertools.count()
    with scratch(settings.dsn) as dsn, server(dsn) as started:
        writes(started, numbers, settings.seconds)
        for _ in range(settings.rounds):
            before: list[float] = []
            after: list[float] = []
            for turn in range(TURNS):
                for listened in (turn % 2 == 0, turn % 2 == 1):
                    if listened:
                        with listening(started, subscribers):
                            after += writes(started, numbers, settings.seconds)
                    else:
                        before += writes(started, numbers, settings.seconds)
            alone.samples.append(percentile(before, 0.99))
            heard.samples.append(percentile(after, 0.99))
        alone.note = f"{len(before):,} writes a sample"
    yield from (alone, heard)


def writes(started: Server, numbers: Iterator[int], seconds: float) -> list[float]:
    """Milliseconds that each write took."""
    requests = [
        (
            "/api/submissions/v1/submissions/",
            {"student_item": item(next(numbers)), "answer": ANSWER},
        )
        for _ in range(int(seconds * 2 * 400))
    ]
    found = started.load(seconds * 2, requests, connections=CONNECTIONS, every=EVERY)
    return [float(latency) for latency in found["latencies"]]


@contextmanager
def listening(started: Server, count: int) -> Iterator[None]:
    """So many open streams of events, in which nothing comes."""
    ((name, value),) = started.headers.items()
    port = int(started.url.rpartition(":")[2])
    request = (
        f"GET /api/events/v1/stream/?type={NEVER} HTTP/1.1\r\nHost: localhost\r\n"
        f"{name}: {value}\r\n\r\n"
    ).encode()
    with ExitStack() as stack:
        for _ in range(count):
            opened = stack.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE))
            opened.sendall(request)
            if not opened.recv(4096).startswith(b"HTTP/1.1 200"):
                raise RuntimeError("the server does not take so many streams")
        yield
