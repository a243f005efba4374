"""Members come, go and come back from the dead: nothing is lost and nothing counts twice."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import psycopg
import pytest

from consumers.following.offsets import Offsets, Standing
from consumers.kafka.client import Partition
from domain.events import Recorded
from projections.read_model import Row
from tests.consumers.following.conftest import Place, all_of
from tests.consumers.following.publisher import Publisher, passed

pytestmark = pytest.mark.kafka


@dataclass(frozen=True, slots=True)
class StallingOffsets(Offsets):
    """Like a process that is not given the processor between reading and writing."""

    stalled: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)

    def move(
        self,
        db: psycopg.Connection[Row],
        before: Mapping[Partition, Standing],
        after: Mapping[Partition, Standing],
    ) -> None:
        if not self.stalled.is_set():
            self.stalled.set()
            assert self.go_on.wait(60)
        Offsets.move(self, db, before, after)


def test_two_members_share_and_one_takes_over_what_the_other_leaves(
    place: Place, publisher: Publisher
) -> None:
    one = place.member("one", batch=50)
    one.until(lambda f: len(f.positions) == 5)
    publisher.publish(passed(1000, courses=16))
    place.member("two", batch=50)
    for n in range(1, 10):
        publisher.publish(passed(200, after=800 + n * 200, courses=16))
        if n == 5:
            one.until(lambda f: 0 < len(f.positions) < 5)
    all_of(place, 2800)
    one.leave()
    publisher.publish(passed(400, after=2800, courses=16))
    all_of(place, 3200)
    assert set(range(2801, 3201)) <= place.by("two")


def test_a_member_that_was_thought_dead_writes_nothing(place: Place, publisher: Publisher) -> None:
    # To be of another group is to read what somebody else reads, and not to know it.
    offsets = StallingOffsets("readers")
    zombie = place.member("zombie", group="others", offsets=offsets)
    publisher.publish(passed(100))
    assert offsets.stalled.wait(60)
    place.member("successor")
    all_of(place, 100)
    offsets.go_on.set()
    zombie.until(lambda f: f.figures.fenced > 0)
    publisher.publish(passed(20, after=100))
    all_of(place, 120)
    assert set(range(1, 101)) <= place.by("successor")


def test_two_who_read_the_same_at_the_same_time_apply_it_once(
    place: Place, publisher: Publisher
) -> None:
    members = [place.member(name, group=name, batch=20) for name in ("one", "two")]
    for n in range(20):
        publisher.publish(passed(50, after=n * 50, courses=8))
    all_of(place, 1000)
    for member in members:
        member.until(lambda f: max(f.positions.values(), default=0) == 1000)


@dataclass(frozen=True, slots=True)
class OvertakenOffsets(Offsets):
    """Like a member beside whom another one goes through the same step, one event ahead."""

    place: Place | None = None
    overtaken: threading.Event = field(default_factory=threading.Event)

    def move(
        self,
        db: psycopg.Connection[Row],
        before: Mapping[Partition, Standing],
        after: Mapping[Partition, Standing],
    ) -> None:
        if max(s.position for s in after.values()) == 1 and not self.overtaken.is_set():
            assert self.place is not None
            with self.place.connect() as other, other.transaction():
                Offsets.move(self, other, before, after)
                other.execute("INSERT INTO seen (position, member) VALUES (1, 'other')")
            self.overtaken.set()
        Offsets.move(self, db, before, after)


def test_who_is_overtaken_within_a_step_leaves_its_rest_to_what_is_read_anew(
    place: Place, publisher: Publisher
) -> None:
    def before(events: Sequence[Recorded]) -> None:
        if len(events) > 1:
            raise ValueError("they go one by one")

    publisher.publish(passed(6, courses=1))
    offsets = OvertakenOffsets("readers", place=place)
    member = place.member(before=before, offsets=offsets)
    member.until(lambda f: f.figures.fenced > 0)
    publisher.publish(passed(6, after=6, courses=1))
    all_of(place, 12)


@pytest.mark.fault
def test_a_lost_database_is_found_again(place: Place, publisher: Publisher) -> None:
    member = place.member(batch=10)
    member.until(lambda f: len(f.positions) == 5)
    name = psycopg.conninfo.conninfo_to_dict(place.dsn)["dbname"]
    for n in range(8):
        publisher.publish(passed(100, after=n * 100), settle=False)
        place.rows(
            f"""
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = '{name}' AND pid <> pg_backend_pid()
            """
        )
    publisher.flush()
    all_of(place, 800)
    assert member.following.figures.reconnects > 0
    member.until(lambda f: f.error is None)


def test_a_process_that_stops_in_the_middle_of_a_batch_has_done_nothing_of_it(
    place: Place, publisher: Publisher
) -> None:
    publisher.publish(passed(100))
    broken = threading.Event()

    def before(events: object) -> None:
        if not broken.is_set():
            broken.set()
            raise psycopg.OperationalError("the server closed the connection unexpectedly")

    place.member(before=before)
    all_of(place, 100)
    assert broken.is_set()
