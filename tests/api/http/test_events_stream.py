"""Streams of events: nothing is left out, nothing comes twice, nobody waits for anybody."""

import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from api.http.config import HttpConfig
from domain.submissions.student_item import SubmissionCreated
from tests import facts
from tests.api.http.event_stream import Reader
from tests.api.http.site import SECRET, Site, serving
from tests.infra.cli.support import PATIENCE, Cli, eventually
from tests.infra.log.support import Writer

SCOPE = "events:read"


class Clock:
    """The time of the server, as far as tokens are concerned."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(dsn: str, clock: Clock) -> Iterator[Site]:
    """A server whose streams say something every moment, called by who may read."""
    config = HttpConfig(jwt_secret=SECRET, event_keep_alive=0.1, event_streams=250)
    with serving(dsn, config, clock=clock) as site:
        yield site.as_("warehouse", scopes=[SCOPE])


def store(site: Site, *events: Any) -> int:
    with psycopg.connect(site.dsn) as db:
        return facts.store(db, events)


def scores(count: int, **fields: Any) -> list[Any]:
    return [facts.score_set(points_earned=n, **fields) for n in range(count)]


def reader(site: Site, **more: Any) -> Reader:
    return Reader(site.url, site.headers, **more)


def log_positions(site: Site, after: int = 0) -> list[int]:
    statement = "SELECT position FROM gradelog.events WHERE position > %s ORDER BY position"
    return [position for (position,) in site.rows(statement, after)]


# --- what comes -------------------------------------------------------------------------------


def test_an_event_comes_as_a_cloud_event_when_it_happens(log: Site) -> None:
    store(log, *scores(3))
    with reader(log) as following:
        assert following.answer.status == 200
        assert following.answer.headers["Content-Type"].startswith("text/event-stream")
        assert following.answer.headers["Cache-Control"] == "no-store"
        assert following.answer.headers["X-Log-Position"] == "3"
        eventually(lambda: following.comments)  # it listens
        store(log, facts.score_set(points_earned=7))
        assert following.until(1) == [4]
        ((_, name, data),) = following.events
        assert (name, data["type"], data["position"]) == ("submissions.ScoreSet",) * 2 + (4,)
        assert data["data"]["points_earned"] == 7
        assert following.retry == 1000


def test_a_stream_begins_where_its_reader_says(log: Site) -> None:
    store(log, *scores(5))
    with reader(log, after=2) as following, reader(log, after=0, last=3) as resuming:
        assert following.until(3) == [3, 4, 5]
        assert resuming.until(2) == [4, 5]
        store(log, *scores(1))
        assert following.until(4) == [3, 4, 5, 6]
        assert resuming.until(3) == [4, 5, 6]


def test_long_histories_come_whole_and_go_on(log: Site) -> None:
    head = store(log, *scores(2500))
    with reader(log, after=0) as following:
        following.until(head)
        store(log, *scores(2))
        assert following.until(head + 2) == list(range(1, head + 3))


def test_only_what_was_asked_for_comes(log: Site) -> None:
    wanted, other = "course-v1:A+1+2026", "course-v1:B+1+2026"
    store(log, *scores(2, course_id=wanted), *scores(2, course_id=other))
    with (
        reader(log, after=0, course_id=wanted) as of_course,
        reader(log, after=0, type=["submissions.ScoreReset"]) as of_type,
        reader(log, after=0, student_id="zoe", course_id=other) as of_student,
    ):
        of_course.until(2)
        store(log, facts.score_reset(course_id=wanted), *scores(1, course_id=other))
        store(log, facts.score_set(course_id=other, student_id="zoe"))
        assert of_course.until(3) == [1, 2, 5]
        assert of_type.until(1) == [5]
        assert of_student.until(1) == [7]


def test_who_asks_for_little_is_told_how_far_he_has_seen(log: Site) -> None:
    head = store(log, *scores(20))
    with reader(log, after=0, course_id="course-v1:Nobody+1+2026") as following:
        eventually(lambda: head in following.marks)
        more = store(log, *scores(5))
        eventually(lambda: more in following.marks)
        assert not following.events
        assert following.marks == sorted(following.marks)
        eventually(lambda: following.comments.count(": keep-alive") >= 2)


@pytest.mark.parametrize(
    ("parameters", "last"),
    [
        ({"after": "-1"}, None),
        ({"after": "x"}, None),
        ({"after": 2**64}, None),
        ({"after": 10**6}, None),
        ({"type": "submissions.Nothing"}, None),
        ({"course_id": ""}, None),
        ({"courseid": "c"}, None),
        ({}, "x"),
        ({}, 10**6),
    ],
)
def test_what_cannot_be_meant_is_refused(log: Site, parameters: Any, last: Any) -> None:
    with reader(log, last=last, reads=False, **parameters) as refused:
        assert refused.answer.status == 400
        assert json.loads(refused.answer.read())["errors"]


def test_head_of_a_stream_has_no_events(log: Site) -> None:
    store(log, *scores(1))
    answer = log.client.head(log.url + "/api/events/v1/stream/?after=0", headers=log.headers)
    assert (answer.status_code, answer.content) == (200, b"")


# --- who may ----------------------------------------------------------------------------------


def test_a_stream_ends_when_its_token_does(log: Site, clock: Clock) -> None:
    with reader(log) as following:
        eventually(lambda: following.marks or following.comments)
        clock.ahead = 4000.0
        assert following.ended.wait(30)
        assert following.whole
    with reader(log, reads=False) as again:
        assert again.answer.status == 401


def test_streams_are_limited_and_a_place_is_free_again(dsn: str) -> None:
    config = HttpConfig(jwt_secret=SECRET, event_streams=2, event_keep_alive=0.1)
    with serving(dsn, config) as site:
        log = site.as_("warehouse", scopes=[SCOPE])
        with reader(log), reader(log), reader(log, reads=False) as third:
            assert third.answer.status == 503
            assert third.answer.headers["Retry-After"]
            assert third.answer.headers["Content-Type"] == "application/problem+json"

        def comes_in() -> bool:
            with reader(log, reads=False) as one:
                return one.answer.status == 200

        eventually(comes_in)


# --- many, slow, and broken -------------------------------------------------------------------


def test_nothing_is_lost_or_repeated_under_several_writers(log: Site, tmp_path: Path) -> None:
    writers = [Writer(log.dsn, tmp_path / f"{n}", tasks=8, appends=60, shared=5) for n in range(2)]
    writers[0].wait_until_under_way()
    with reader(log, after=0) as whole, reader(log) as live:
        for writer in writers:
            assert writer.process.wait(60) == 0
        there = log_positions(log)
        assert whole.until(len(there)) == there
        began = int(live.answer.headers["X-Log-Position"])
        assert live.until(len(there) - began) == there[began:]


def test_a_reader_who_does_not_read_keeps_nobody_waiting_and_misses_nothing(log: Site) -> None:
    text = "x" * 20_000
    course = "course-v1:Slow+1+2026"
    with (
        reader(log, after=0, course_id=course, reads=False, buffer=4096) as slow,
        reader(log, after=0, course_id=course) as quick,
    ):
        deadline = time.monotonic() + PATIENCE
        while not figure(log, "gradelog_event_streams_fell_behind_total"):
            assert time.monotonic() < deadline
            head = store(log, *(submission(text, course_id=course) for _ in range(40)))
            assert quick.until(head)[-1] == head
        slow.read()
        assert slow.until(head) == list(range(1, head + 1))
        store(log, submission(text, course_id=course))
        assert slow.until(head + 1)[-1] == head + 1


def submission(text: str, **fields: Any) -> SubmissionCreated:
    return facts.submission_created(answer=text, **fields)


def figure(site: Site, name: str) -> float:
    for line in site.client.get(site.url + "/metrics").text.splitlines():
        if line.startswith((name + "{", name + " ")):
            return float(line.rpartition(" ")[2])
    return 0.0


def test_many_readers_get_the_same(log: Site) -> None:
    readers = [reader(log, after=0) for _ in range(200)]
    try:
        eventually(lambda: figure(log, "gradelog_event_streams") == 200)
        for _ in range(5):
            head = store(log, *scores(20))
        for one in readers:
            assert one.until(head) == list(range(1, head + 1))
    finally:
        for one in readers:
            one.__exit__()
    eventually(lambda: figure(log, "gradelog_event_streams") == 0)


def test_while_nobody_listens_nothing_is_read(log: Site) -> None:
    def tails() -> int:
        statement = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        ((count,),) = log.rows(statement + " AND application_name = 'gradelog tail'")
        return int(count)

    assert tails() == 0
    with reader(log), reader(log):
        eventually(lambda: tails() == 1)
    eventually(lambda: tails() == 0)
    with reader(log, after=0) as again:
        store(log, *scores(3))
        assert again.until(3) == [1, 2, 3]


def test_a_stream_outlives_its_connection_to_the_database(log: Site) -> None:
    statement = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'gradelog tail'"
    )
    with reader(log) as following:
        eventually(lambda: log.rows(statement)[0][0])
        head = store(log, *scores(4))
        assert following.until(4) == [1, 2, 3, 4]
        eventually(lambda: log.rows(statement)[0][0])
        assert store(log, *scores(4)) == head + 4
        assert following.until(8) == list(range(1, 9))


# --- a server that ends -----------------------------------------------------------------------


@pytest.fixture
def cli(dsn: str, tmp_path: Path) -> Cli:
    return Cli(tmp_path, DATABASE_URL=dsn)


def authorization(cli: Cli) -> dict[str, str]:
    token = cli.run("token", "--username", "warehouse", "--scope", SCOPE).out.strip()
    return {"Authorization": f"Bearer {token}"}


def write(dsn: str, count: int) -> int:
    with psycopg.connect(dsn) as db:
        return facts.store(db, scores(count))


def test_streams_end_in_good_order_and_at_once_when_the_server_is_told_to(
    cli: Cli, dsn: str
) -> None:
    with cli.start("api", "--port", "0") as server:
        url, headers = server.address(), authorization(cli)
        with Reader(url, headers, after=0) as one, Reader(url, headers, after=0) as other:
            write(dsn, 3)
            one.until(3)
            other.until(3)
            assert server.end(signal.SIGTERM) == 0
            for following in (one, other):
                assert following.ended.wait(30)
                assert following.whole
        assert "Cancel" not in server.err


@pytest.mark.fault
def test_a_reader_goes_on_where_he_was_after_the_server_was_killed(cli: Cli, dsn: str) -> None:
    headers = authorization(cli)
    stop = threading.Event()

    def keep_writing() -> None:
        while not stop.is_set():
            write(dsn, 7)
            stop.wait(0.01)

    seen: list[int] = []
    writer = threading.Thread(target=keep_writing)
    writer.start()
    try:
        for _ in range(3):
            with cli.start("api", "--port", "0") as server:
                last = seen[-1] if seen else None
                with Reader(server.address(), headers, after=0, last=last) as following:
                    following.until(50)
                    server.end(signal.SIGKILL)
                    assert following.ended.wait(30)
                    assert not following.whole
                    seen += following.positions
    finally:
        stop.set()
        writer.join(30)
    assert len(seen) >= 150
    assert seen == list(range(1, len(seen) + 1))


def test_a_reader_who_leaves_is_forgotten(log: Site) -> None:
    where = log.url.removeprefix("http://").split(":")
    with socket.create_connection((where[0], int(where[1]))) as raw:
        request = (
            "GET /api/events/v1/stream/ HTTP/1.1\r\nHost: gradelog\r\n"
            f"Authorization: {log.headers['Authorization']}\r\nX-Request-ID: {uuid4()}\r\n\r\n"
        )
        raw.sendall(request.encode())
        eventually(lambda: figure(log, "gradelog_event_streams") == 1)
    eventually(lambda: figure(log, "gradelog_event_streams") == 0)
