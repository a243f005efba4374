"""The gradebook over HTTP, one worker: pages, filters, bulk updates, files."""

import base64
import itertools
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from tests.benchmarks.bare import bare
from tests.benchmarks.classes import Class, username
from tests.benchmarks.harness import Figure, Settings, percentile, rounds, scratch
from tests.benchmarks.over_http import Server, load, server
from tests.benchmarks.storing import fill

PAGE = 50
CONNECTIONS = 16
FILTERING = 4
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

    def __init__(self, started: Server, seconds: float) -> None:
        self._server = started
        self._seconds = seconds
        self.p50: dict[str, list[float]] = {}
        self.p99: dict[str, list[float]] = {}
        self.size = 0

    def rate(
        self, name: str, paths: Iterator[str], *, connections: int = CONNECTIONS, **more: Any
    ) -> float:
        """Requests a second; latencies of each sample are kept under a name."""
        requests = [(path, None) for path in itertools.islice(paths, REQUESTS)]
        job = {"method": "GET", "connections": connections, "again": True, "status": 200}
        found = self._server.load(self._seconds, requests, **{**job, **more})
        self.p50.setdefault(name, []).append(found["p50"])
        self.p99.setdefault(name, []).append(found["p99"])
        self.size = max(self.size, found["bytes"])
        return float(found["rate"])

    def walk(self, of: Class) -> float:
        """Each page of a course once, in order: milliseconds a page."""
        begin = time.perf_counter()
        with httpx.Client(base_url=self._server.url, headers=self._server.headers) as client:
            places = range(0, of.size, PAGE)
            for place in places:
                self.size = max(self.size, len(client.get(page(of, place)).content))
        return (time.perf_counter() - begin) / len(places) * 1000

    def tag(self, path: str) -> str:
        """What the answer is known by, to callers of the same host as the load generator."""
        headers = {**self._server.headers, "Host": "localhost"}
        response = httpx.get(self._server.url + path, headers=headers)
        return str(response.headers["etag"])

    def latency(self, name: str, of: str, most: float | None = None) -> Figure:
        """The p99 of each sample that was taken under a name."""
        target = f"under {most:.0f}" if most else ""
        note = f"p50 {percentile(self.p50[of], 0.5):.1f}"
        return Figure(f"{name}, p99", "ms", target, at_most=most, samples=self.p99[of], note=note)


def measure(settings: Settings) -> Iterator[Figure]:
    largest = settings.amount(20_000)
    subsections = 40 if settings.scale >= 0.1 else 8
    large, middle, small = (
        Class(max(10, largest // part), subsections, f"C{part}") for part in (1, 10, 100)
    )
    with scratch(settings.dsn) as dsn:
        fill(dsn, [large, middle, small])
        with server(dsn) as started:
            yield from of_pages(settings, Reader(started, settings.seconds), large, middle, small)
            yield from of_filters(settings, Reader(started, settings.seconds), large)
            yield of_bulk_updates(settings, started, large)
            yield from of_files(settings, started, large)


# --- pages ------------------------------------------------------------------------------------


def of_pages(
    settings: Settings, reader: Reader, large: Class, middle: Class, small: Class
) -> Iterator[Figure]:
    first = f"each page of {large.size:,} learners for the first time, one by one"
    yield Figure(first, "ms", samples=[reader.walk(large)])
    again = page(large, large.size // 2)
    tag = {"If-None-Match": reader.tag(again)}
    name = f"page of {PAGE} of {{:,}} learners, {CONNECTIONS} connections"
    whole, baseline = name.format(large.size), "ready bytes of that size from the framework"
    with bare(reader.size) as port:
        yield from rounds(
            settings,
            (
                Figure(baseline, "pages/s", note=f"{reader.size:,} bytes"),
                lambda: ready_bytes(port, settings.seconds),
            ),
            (
                Figure(whole, "pages/s", "400", at_least=400, baseline=baseline),
                lambda: reader.rate("large", pages(large)),
            ),
            *(
                (
                    Figure(name.format(of.size), "pages/s", baseline=whole),
                    lambda of=of: reader.rate("smaller", pages(of)),
                )
                for of in (middle, small)
            ),
            (
                Figure("the same page again, unchanged (304)", "pages/s", baseline=whole),
                lambda: reader.rate("unchanged", iter([again]), status=304, headers=tag),
            ),
        )
    yield reader.latency(whole, "large", 60)


def ready_bytes(port: int, seconds: float) -> float:
    """Answers a second of a server that does nothing but send them."""
    job = {"method": "GET", "port": port, "token": "", "connections": CONNECTIONS}
    job |= {"seconds": seconds, "requests": [("/", None)], "again": True, "status": 200}
    return float(load(job)["rate"])


# --- filters ----------------------------------------------------------------------------------


def of_filters(settings: Settings, reader: Reader, of: Class) -> Iterator[Figure]:
    def between() -> tuple[int, int]:
        low = random.randrange(90)
        return low, low + 10

    def by_name() -> str:
        return gradebook(of, user_contains=username(random.randrange(1, of.size))[-4:])

    def by_course_grade() -> str:
        low, high = between()
        return gradebook(of, course_grade_min=low, course_grade_max=high)

    def by_assignment() -> str:
        low, high = between()
        cell = of.cell(random.randrange(of.subsections))
        return gradebook(of, assignment=cell, assignment_grade_min=low, assignment_grade_max=high)

    def by_cohort() -> str:
        return gradebook(of, cohort_id=random.choice(of.cohort_ids))

    filters = {
        "part of a name": by_name,
        "range of the course grade": by_course_grade,
        "range of an assignment's grade": by_assignment,
        "cohort": by_cohort,
    }
    yield from rounds(
        settings,
        *(
            (
                Figure(f"filtered by {name}, {FILTERING} connections", "pages/s"),
                lambda name=name, path=path: reader.rate(
                    name, iter(path, None), connections=FILTERING
                ),
            )
            for name, path in filters.items()
        ),
    )
    for name in filters:
        yield reader.latency(f"filtered by {name}", name, 100)


# --- writing ----------------------------------------------------------------------------------


def of_bulk_updates(settings: Settings, started: Server, of: Class) -> Figure:
    """From a request with many cells to a page that shows the last of them."""
    cells = min(CELLS, of.size)
    points = itertools.count(1)

    def update(client: httpx.Client) -> float:
        earned = next(points) + 0.25  # nobody has that by work
        learners = random.sample(range(1, of.size + 1), cells)
        items = [
            {
                "user_id": user_id,
                "usage_id": of.cell(user_id % of.subsections),
                "grade": {"earned_graded_override": earned, "comment": "Seen."},
            }
            for user_id in learners
        ]
        path = gradebook(of).partition("?")[0] + "bulk-update"
        begin = time.perf_counter()
        response = client.post(path, json=items)
        shown = client.get(page(of, learners[-1] - 1)).json()["results"][0]
        seconds = time.perf_counter() - begin
        entry = shown["section_breakdown"][learners[-1] % of.subsections]
        if response.status_code != 202 or entry["score_earned"] != earned:
            raise RuntimeError(f"{response.status_code}: {response.text[:1000]}")
        return seconds

    figure = Figure(f"bulk update of {cells} cells, shown", "s", "under 2", at_most=2)
    with httpx.Client(base_url=started.url, headers=started.headers, timeout=120) as client:
        figure.samples = [update(client) for _ in range(settings.rounds)]
    return figure


# --- files ------------------------------------------------------------------------------------


def of_files(settings: Settings, started: Server, of: Class) -> Iterator[Figure]:
    """The whole course as CSV, and the memory that the server takes for it."""
    path = f"/api/bulk_grades/course/{quote(of.course_id, safe='')}/"
    seconds = Figure(f"CSV of {of.size:,} learners", "s", "under 15", at_most=15)
    grown = Figure("memory that it adds at its peak", "MB", "constant")
    with httpx.Client(base_url=started.url, headers=started.headers, timeout=120) as client:
        for _ in range(settings.rounds):
            before = memory(started.pid, "VmRSS")
            Path(f"/proc/{started.pid}/clear_refs").write_text("5")  # forget the peak
            begin = time.perf_counter()
            lines = size = 0
            with client.stream("GET", path) as response:
                for chunk in response.iter_bytes():
                    lines += chunk.count(b"\r\n")
                    size += len(chunk)
            seconds.samples.append(time.perf_counter() - begin)
            grown.samples.append(memory(started.pid, "VmHWM") - before)
            if lines != of.size + 1:
                raise RuntimeError(f"{response.status_code}, {lines} lines")
    seconds.note, grown.note = f"{size / 1e6:.1f} MB", f"of {before:.0f} MB"
    yield from (seconds, grown)


def memory(pid: int, name: str) -> float:
    """Megabytes of a process: ``VmRSS`` now, ``VmHWM`` at most."""
    for text in Path(f"/proc/{pid}/status").read_text().splitlines():
        if text.startswith(f"{name}:"):
            return int(text.split()[1]) / 1024
    raise LookupError(name)
