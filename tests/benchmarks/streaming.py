"""Live subscriptions: what those who only listen cost those who write."""

import itertools
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.benchmarks.commands import ANSWER, item
from tests.benchmarks.harness import Figure, Settings, scratch
from tests.benchmarks.over_http import Server, server

SUBSCRIBERS = 500
CONNECTIONS = 8
EVERY = 0.04
"""Seconds between two writes of a connection: 200 a second together."""

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
        p99_of_writes(started, numbers, settings.seconds)
        for _ in range(settings.rounds):
            alone.samples.append(p99_of_writes(started, numbers, settings.seconds))
            with listening(started, subscribers):
                heard.samples.append(p99_of_writes(started, numbers, settings.seconds))
    yield from (alone, heard)


def p99_of_writes(started: Server, numbers: Iterator[int], seconds: float) -> float:
    requests = [
        (
            "/api/submissions/v1/submissions/",
            {"student_item": item(next(numbers)), "answer": ANSWER},
        )
        for _ in range(int(seconds * 2 * 400))
    ]
    found = started.load(seconds * 2, requests, connections=CONNECTIONS, every=EVERY)
    return float(found["p99"])


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
            opened = stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
            opened.sendall(request)
            if not opened.recv(4096).startswith(b"HTTP/1.1 200"):
                raise RuntimeError("the server does not take so many streams")
        yield
