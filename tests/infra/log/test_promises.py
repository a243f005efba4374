"""The promises of the log, held by several real processes, killed ones among them."""

import random
import threading
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from uuid import UUID, uuid5

import psycopg
import pytest

from tests.infra.log.support import PATIENCE, Writer, contiguous, stored
from tests.infra.log.writer import SHARED

pytestmark = pytest.mark.timeout(300)


def assert_log_is_whole(dsn: str, promised: list[dict[str, object]]) -> None:
    rows = stored(dsn)
    assert contiguous([row[0] for row in rows])
    versions = defaultdict(list)
    places = {}
    for position, stream_id, version, _ in rows:
        versions[stream_id].append(version)
        places[position] = (stream_id, version)
    assert all(contiguous(found) for found in versions.values())
    for promise in promised:
        first, version = promise["position"], promise["version"]
        for offset in range(promise["count"]):
            assert places[first + offset] == (UUID(promise["stream"]), version + offset)


class Tail(threading.Thread):
    """Follows the log as a reader does: everything above the last position seen."""

    def __init__(self, dsn: str) -> None:
        super().__init__(daemon=True)
        self._dsn = dsn
        self._ended = threading.Event()
        self.seen: list[int] = []
        self.times = []

    def run(self) -> None:
        with psycopg.connect(self._dsn, autocommit=True) as db:
            while True:
                last = self._ended.is_set()
                rows = db.execute(
                    "SELECT position, recorded_at FROM gradelog.events WHERE position > %s"
                    " ORDER BY position",
                    (self.seen[-1] if self.seen else 0,),
                ).fetchall()
                self.seen += [row[0] for row in rows]
                self.times += [row[1] for row in rows]
                if last:
                    return
                self._ended.wait(0.001)

    def finish(self) -> None:
        self._ended.set()
        self.join()


def test_four_processes_leave_no_gap_and_a_tailing_reader_misses_nothing(
    dsn: str, tmp_path: Path
) -> None:
    tail = Tail(dsn)
    promised = []
    with ExitStack() as running:
        tail.start()
        running.callback(tail.finish)
        writers = []
        for number in range(4):
            writers.append(Writer(dsn, tmp_path / str(number), tasks=16, appends=40, shared=8))
            running.callback(writers[-1].kill)
        for writer in writers:
            assert writer.process.wait(PATIENCE) == 0
            promised += writer.acknowledged()

    assert len(promised) == 4 * 16 * 40
    assert_log_is_whole(dsn, promised)
    assert contiguous(tail.seen)
    assert len(tail.seen) == len(stored(dsn))
    assert tail.times == sorted(tail.times)


@pytest.mark.fault
@pytest.mark.parametrize("seed", range(6))
def test_a_writer_killed_at_any_moment_leaves_nothing_half_written(
    dsn: str, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    writers = []
    promised = []
    with ExitStack() as running:
        for number in range(3):
            # The others have been at it for a while when the next one begins.
            writer = Writer(dsn, tmp_path / str(number), tasks=8, appends=0, shared=4)
            writers.append(writer)
            running.callback(writer.kill)
            writer.wait_until_under_way()
        for writer in writers:
            time.sleep(chance.uniform(0.01, 0.3))
            writer.kill()
            promised += writer.acknowledged()

    assert promised
    assert_log_is_whole(dsn, promised)
    # Appends of three events are there as a whole or not at all.
    versions = defaultdict(int)
    for _, stream_id, version, _ in stored(dsn):
        versions[stream_id] = max(versions[stream_id], version)
    shared = {uuid5(SHARED, str(n)) for n in range(4)}
    own = {stream for stream in versions if stream not in shared}
    assert all(versions[stream] == 3 for stream in own)
    triples = {UUID(p["stream"]) for p in promised if p["count"] == 3}
    assert all(versions[stream] == 3 for stream in triples)
