"""The gradebook over HTTP, one worker: pages, filters, bulk updates, files."""

import base64
import itertools
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from tests.benchmarks.bare import bare
from tests.benchmarks.classes import Class, fill, username
from tests.benchmarks.harness import Figure, Settings, percentile, rounds, scratch
from tests.benchmarks.over_http import Server, load, server

PAGE = 50
CONNECTIONS = 16
CELLS = 500
REQUESTS = 3000
"""Different ones of a sample; they begin anew when they are through."""


def gradebook(of: Class, **query: Any) -> str:
    values = {"page_size": PAGE, **query}
    text = "&".join(f"{name}={quote(str(value), safe='')}" for name, value in values.items())
    return f"/api/grades/v1/gradebook/{quote(of.course_id, safe='')}/?{text}"


def page(of: Class, place: int) -> str:
    """The page that begins after so many learners."""
    cursor = base64.b64encode(f"p={of.enrollments[place] - 1}".encode()).decode()
    return gradebook(of, cursor=cursor)


def pages(of: Class) -> Iterator[str]:
    """Pages that begin anywhere in a course, all of them full."""
    while True:
        yield page(of, random.randrange(max(1, of.size - PAGE)))


class Reader:
    """Asks one server for gradebooks, and keeps how long the answers took."""

    def __init__(self, started: Server) -> None:
        self._server = started
        self.latencies: dict[str, list[float]] = {}
        self.size = 0

    def rate(
        self,
        name: str,
        paths: Iterator[str],
        seconds: float,
        *,
        connections: int = CONNECTIONS,
        **more: Any,
    ) -> float:
        """Requests a second; the size of answers is kept, and the p99 of this sample."""
        requests = [(path, None) for path in itertools.islice(paths, more.pop("count", REQUESTS))]
        job = {"method": "GET", "connections": connections, "again": True, "status": 200}
        found = self._server.load(seconds, requests, **{**job, **more})
        self.latencies.setdefault(name, []).append(found["p99"])
        self.size = max(self.size, found["bytes"])
        return float(found["rate"])

    def p99(self, name: str, of: str, unit_target: tuple[str, float] | None = None) -> Figure:
        """The p99 of each sample of what was measured under a name."""
        target, at_most = unit_target or ("", None)
        return Figure(name, "ms", target, at_most=at_most, samples=self.latencies[of])


def measure(settings: Settings) -> Iterator[Figure]:
    largest = settings.amount(20_000)
    subsections = 40 if settings.scale >= 0.1 else 8
    sizes = {n: max(10, largest // n) for n in (100, 10, 1)}
    classes = {n: Class(size, subsections, f"C{n}") for n, size in sizes.items()}
    large = classes[1]
    with scratch(settings.dsn) as dsn:
        fill(dsn, [large, classes[10], classes[100]])
        with server(dsn) as started:
            reader = Reader(started)
            yield first_walk(reader, large)
            with bare(reader.size) as port:
                yield from of_pages(settings, reader, classes, port)
            yield from of_filters(settings, reader, large)
            yield from of_bulk_updates(settings, started, large)
            yield from of_files(settings, started, large)


def first_walk(reader: Reader, of: Class) -> Figure:
    """Each page of a course once, in order, by a server that has shown none of them."""
    places = range(0, of.size, PAGE)
    paths = (page(of, place) for place in places)
    rate = reader.rate("walk", paths, 600, connections=1, again=False, count=len(places))
    name = f"each page of {of.size:,} learners for the first time, 1 connection"
    return Figure(name, "pages/s", samples=[rate])


def of_pages(
    settings: Settings, reader: Reader, classes: dict[int, Class], port: int
) -> Iterator[Figure]:
    seconds, large = settings.seconds, classes[1]

    def at_random(of: Class) -> Callable[[], float]:
        return lambda: reader.rate(of.course_id, pages(of), seconds)

    def ready_bytes() -> float:
        job = {"method": "GET", "port": port, "token": "", "connections": CONNECTIONS}
        found = load(
            {**job, "seconds": seconds, "requests": [("/", None)], "again": True, "status": 200}
        )
        return float(found["rate"])

    def unchanged() -> float:
        path = page(large, large.size // 2)
        response = httpx.get(reader_url(reader) + path, headers=reader_headers(reader))
        tag = {"If-None-Match": response.headers["etag"]}
        return reader.rate("unchanged", iter([path]), seconds, status=304, headers=tag)

    baseline = f"ready bytes of that size, {CONNECTIONS} connections"
    name = f"page of {PAGE} of {{:,}} learners, {CONNECTIONS} connections"
    whole = name.format(large.size)
    yield from rounds(
        settings,
        (Figure(baseline, "pages/s", note=f"{reader.size:,} bytes"), ready_bytes),
        (
            Figure(whole, "pages/s", "400", at_least=400, baseline=baseline),
            at_random(large),
        ),
        *(
            (Figure(name.format(of.size), "pages/s", baseline=whole), at_random(of))
            for of in (classes[10], classes[100])
        ),
        (Figure("the same page again, unchanged (304)", "pages/s", baseline=whole), unchanged),
    )
    for of in classes.values():
        target = ("under 60", 60.0) if of is large else None
        yield reader.p99(f"{name.format(of.size)}, p99", of.course_id, target)


def reader_url(reader: Reader) -> str:
    return reader._server.url


def reader_headers(reader: Reader) -> dict[str, str]:
    return reader._server.headers
