"""A copy serves when all that there was is applied, and tells how it is fed."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from infra.feed import feeding
from infra.log.reader import connect
from projections import positions
from projections.positions import SERVING
from projections.rebuild import prune
from projections.submissions import Submissions
from tests.consumers.feed import term
from tests.consumers.feed.comparing import wait_until_fed
from tests.consumers.feed.conftest import PARTITIONS, settings
from tests.infra.cli.support import Cli, eventually
from tests.projections.support import rows
from tests.school import School

pytestmark = pytest.mark.kafka


def test_a_read_model_serves_although_there_is_always_something_new(
    published: School, copy: str, kafka: str, topic_prefix: str
) -> None:
    term.begin(published)
    of_copy = settings(copy, kafka, topic_prefix, keys_url=published.dsn)
    with (
        always_writing(published),
        feeding(of_copy, copy, [Submissions]),
        psycopg.connect(copy, autocommit=True) as db,
    ):
        eventually(
            lambda: db.execute("SELECT state FROM gradelog.read_models").fetchone() == (SERVING,)
        )


class NextSubmissions(Submissions):
    """As a newer version of the code has them."""

    version = Submissions.version + 1


def test_a_new_version_is_built_beside_the_one_that_serves(
    published: School, copy: str, kafka: str, topic_prefix: str
) -> None:
    term.begin(published)
    term.go_on(published, seed=1, steps=20)
    old, new = Submissions.schema(), NextSubmissions.schema()
    of_copy = settings(copy, kafka, topic_prefix, keys_url=published.dsn)
    with connect(copy) as db:
        with feeding(of_copy, copy, [Submissions]):
            eventually(lambda: state_of(db, old) == SERVING)
            with feeding(of_copy, copy, [NextSubmissions]):
                eventually(lambda: state_of(db, new) == SERVING)
                assert state_of(db, old) == SERVING
                wait_until_fed(published.dsn, copy, [Submissions])
                eventually(lambda: rows(db, new) == rows(db, old))
        # The old code comes back after its tables were dropped, and finds nothing applied.
        expected = rows(db, old)
        eventually(lambda: prune(db, [NextSubmissions]) == [old])
        with feeding(of_copy, copy, [Submissions]):
            eventually(lambda: state_of(db, old) == SERVING)
            wait_until_fed(published.dsn, copy, [Submissions])
            assert rows(db, old) == expected
            assert any(expected.values())


def state_of(db: Connection[Any], schema: str) -> str | None:
    found = positions.standing(db, schema)
    return None if found is None else found.state


def test_when_nobody_feeds_a_copy_that_is_told(
    published: School, copy: str, kafka: str, topic_prefix: str, far: Cli
) -> None:
    term.begin(published)
    of_copy = settings(copy, kafka, topic_prefix, keys_url=published.dsn)
    with feeding(of_copy, copy, [Submissions]):
        eventually(lambda: (now := feed_of(far))["messages_left"] == 0 and now["members"] == 1)
    with psycopg.connect(copy) as db:
        db.execute("UPDATE gradelog.kafka_feed_members SET seen_at = seen_at - interval '1 hour'")
    found = feed_of(far)
    assert (found["members"], found["messages_left"], found["trouble"]) == (0, None, None)
    assert found["partitions_unread"] == PARTITIONS + 1
    assert found["silent_seconds"] >= 3600
    assert "nobody feeds submissions" in far.run("projections", "status").out


def test_a_member_that_reaches_no_broker_says_so(copy: str, far: Cli) -> None:
    with feeding(settings(copy, "127.0.0.1:1", "nowhere"), copy, [Submissions]):
        found = eventually(lambda: (now := feed_of(far))["trouble"] and now)
        assert "topics cannot be looked at" in found["trouble"]
        assert (found["members"], found["partitions_unread"]) == (1, None)


def feed_of(far: Cli) -> dict[str, Any]:
    """What the operator is told of who feeds the submissions."""
    (found,) = far.ask("projections", "status")["read_models"]
    return found["feed"]  # type: ignore[no-any-return]


@contextmanager
def always_writing(school: School) -> Iterator[None]:
    """Somebody hands in something twenty times a second."""
    stop = threading.Event()

    def write() -> None:
        earned = 0
        while not stop.wait(0.05):
            earned = (earned + 1) % 6
            school.score("learner0", "p1", earned, 5, course_id=term.PHYSICS)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)
