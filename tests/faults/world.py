"""A whole installation of real processes, which a test breaks while somebody goes on writing."""

import os
import random
import signal
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import psycopg

from consumers.kafka.client import Client
from consumers.kafka.clients import ClientSettings, client
from consumers.relay.topics import TopicSettings
from infra.embedded import EmbeddedPostgres
from infra.kafka.broker import EmbeddedKafka
from tests.consumers.relay.reading import Read
from tests.faults import oracle, relay_process, subscriber_process
from tests.faults.oracle import head, rows
from tests.faults.processes import Keeper, Process
from tests.faults.servers import two_databases
from tests.faults.writing import Writer
from tests.infra.cli.support import SECRET
from tests.school import School, school

PARTITIONS: Final = 6
PATIENCE: Final = 300.0
"""Seconds; much more than anything takes on a machine that is busy with other tests."""

SEED: Final = "SEED_OF_FAULTS"
"""Variable that makes chance the same again, as far as processes let it."""

RELAY, PROJECTOR, MEMBER, SUBSCRIBER = "relay", "projector", "member", "subscriber"

APPLIED: Final = "SELECT coalesce(sum(position), 0) FROM gradelog.kafka_offsets"
TOLD: Final = "SELECT coalesce(sum(position), 0) FROM gradelog_subscriber.offsets"


def seeded() -> random.Random:
    """Chance, whose seed is told when the test fails."""
    seed = int(os.environ.get(SEED) or random.SystemRandom().getrandbits(32))
    print(f"{SEED}={seed}")
    return random.Random(seed)


@dataclass
class World:
    """The parts, and what was done to them."""

    dsn: str
    copy: str
    kafka: str
    prefix: str
    chance: random.Random
    keeper: Keeper
    school: School
    variables: dict[str, str]
    postgres: EmbeddedPostgres | None = None
    broker: EmbeddedKafka | None = None
    done: Counter[str] = field(default_factory=Counter)
    began: float = field(default_factory=time.monotonic)
    over: threading.Event = field(default_factory=threading.Event)
    """Set when a part of the test has failed, and the others need not go on."""

    @property
    def client(self) -> Client:
        return client(ClientSettings(self.kafka, client_id="tests"))

    @property
    def topics(self) -> TopicSettings:
        return TopicSettings(self.prefix, PARTITIONS)

    # --- processes --------------------------------------------------------------------------

    def relay(self, lease: float | None = None) -> Process:
        """A relay; with a lease that ends so soon, or as the command has it."""
        command = ["-m", "infra.cli.main", "relay"]
        if lease is not None:
            command = ["-m", relay_process.__name__, str(lease)]
        return self._start(RELAY, command, self.dsn, relay_process.READY)

    def projector(self) -> Process:
        command = ["-m", "infra.cli.main", "project"]
        return self._start(PROJECTOR, command, self.dsn, "the projector runs")

    def member(self) -> Process:
        command = ["-m", "infra.cli.main", "consume", "--read-models", "all"]
        return self._start(MEMBER, command, self.copy, "feeding ")

    def subscriber(self) -> Process:
        command = ["-m", subscriber_process.__name__]
        return self._start(SUBSCRIBER, command, self.copy, subscriber_process.READY)

    def _start(self, role: str, command: list[str], dsn: str, ready: str) -> Process:
        return self.keeper.start(role, command, {**self.variables, "DATABASE_URL": dsn}, ready)

    # --- looking ----------------------------------------------------------------------------

    def published(self) -> int:
        return int(rows(self.dsn, "SELECT position FROM gradelog.relay")[0][0])

    def holder(self) -> Process | None:
        """The relay that holds the lease."""
        ((name, held),) = rows(
            self.dsn, "SELECT holder, expires_at > clock_timestamp() FROM gradelog.relay"
        )
        if not held or name is None:
            return None
        pid = int(name.split(":")[1])
        return next((one for one in self.keeper.of(RELAY) if one.pid == pid), None)

    def working_relay(self, beyond: int) -> Process:
        """The relay that works, once it has published something beyond a position."""
        return self.until(
            lambda: self.holder() if self.published() > beyond else None,
            f"a relay works beyond {beyond}",
        )

    def another_relay(self, than: Process) -> None:
        """Wait until another relay holds the lease and has published something."""
        self.until(lambda: self.holder() not in (None, than), f"another relay than {than.pid}")
        self.working_relay(self.published())

    def relay_row(self) -> Any:
        return rows(self.dsn, "SELECT position, holder, epoch, error FROM gradelog.relay")

    def applied(self) -> int:
        """How far all readers are together."""
        try:
            return sum(int(rows(self.copy, question)[0][0]) for question in (APPLIED, TOLD))
        except psycopg.errors.UndefinedTable:
            return 0  # they have only begun

    def until(self, reached: Callable[[], Any], what: str) -> Any:
        """The first true answer; a database that is away has none."""
        deadline = time.monotonic() + PATIENCE
        while True:
            assert not self.over.is_set(), "another part has failed"
            with suppress(psycopg.OperationalError):
                if answer := reached():
                    return answer
            assert time.monotonic() < deadline, f"not in time: {what}; {self.relay_row()}"
            self.over.wait(0.05)

    def pause(self, longest: float) -> None:
        """Let some time pass, so that the next thing happens at a random moment."""
        self.over.wait(self.chance.uniform(0, longest))

    def goes_on(self) -> None:
        """Wait until something is published that was not yet written now, and applied."""
        self.working_relay(head(self.dsn))
        before = self.applied()
        self.until(lambda: self.applied() > before, f"readers go beyond {before}")

    # --- breaking ---------------------------------------------------------------------------

    def kill_relay(self) -> None:
        """Kill the relay that works; another starts, and one takes over."""
        relay = self.working_relay(self.published())
        self.pause(1.0)
        self.keeper.kill(relay)
        self.did("relay killed")
        self.working_relay(head(self.dsn))

    def kill_reader(self) -> None:
        """Kill a member or a subscriber."""
        reader = self._some_reader()
        self.keeper.kill(reader)
        self.did(f"{reader.role} killed")

    def replace_reader(self) -> None:
        """Let a member or a subscriber leave, and another join."""
        reader = self._some_reader()
        self.keeper.replace(reader)
        self.did(f"{reader.role} left and joined")

    def _some_reader(self) -> Process:
        """One that reads, at a random moment while something is read."""
        role = self.chance.choice([MEMBER, MEMBER, SUBSCRIBER])
        self.until(lambda: len(self.keeper.of(role)) > 1, f"every {role} is at work")
        before = self.applied()
        self.until(lambda: self.applied() > before, f"readers go beyond {before}")
        self.pause(1.0)
        return self.chance.choice(self.until(lambda: self.keeper.of(role), f"a {role} is at work"))

    def kill_broker(self, *, away: float) -> None:
        """Kill the broker, and start it again after a while."""
        assert self.broker is not None
        self.working_relay(head(self.dsn))
        self.pause(1.0)
        assert self.broker.kill()
        self.did("broker killed")
        self.over.wait(away)
        assert self.broker.start() == self.kafka

    def freeze_broker(self, *, away: float) -> None:
        """Let the broker take connections and say nothing for a while."""
        assert self.broker is not None
        pid = self.broker.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            self.over.wait(away)
        finally:
            os.kill(pid, signal.SIGCONT)
        self.did("broker frozen and thawed")

    def crash_postgres(self) -> None:
        """Restart PostgreSQL without any goodbye: it recovers from its log."""
        assert self.postgres is not None
        self.working_relay(0)
        self.pause(1.0)
        self.postgres.restart("immediate")
        self.did("PostgreSQL restarted")

    def did(self, what: str) -> None:
        """Count and tell what was done."""
        self.done[what] += 1
        seconds = time.monotonic() - self.began
        print(f"{seconds:5.1f} s: {what}, published up to {self.published()}", flush=True)

    def together(self, *works: Callable[[], None]) -> None:
        """Do all these side by side; when one fails, the others end."""
        with ThreadPoolExecutor(len(works)) as pool:
            futures = [pool.submit(work) for work in works]
            try:
                for future in as_completed(futures):
                    future.result()
            except BaseException:
                self.over.set()
                raise

    # --- the end ----------------------------------------------------------------------------

    def settle(self, writer: Writer) -> Read:
        """After the last write: wait for everything to arrive, and compare everything."""
        oracle.acknowledged_writes_are_in_the_log(self.dsn, writer.acknowledged)
        self.until(self.school.graded, "everything is graded")
        end = head(self.dsn)
        self.until(lambda: self.published() >= end, f"the relay reaches {end}")
        oracle.copy_has_the_same_rows(self.dsn, self.copy)
        question = "SELECT count(DISTINCT position) FROM listening.told"
        self.until(
            lambda: rows(self.copy, question)[0][0] >= end, f"the subscriber is told of {end}"
        )
        oracle.told_once_and_in_order(self.dsn, self.copy)
        read = oracle.topics_hold_the_log(self.dsn, self.client, self.prefix)
        assert not self.keeper.deserters, "\n\n".join(self.keeper.deserters)
        self.tell(writer, read)
        return read

    def tell(self, writer: Writer, read: Read) -> None:
        """The numbers, for whoever wants them."""
        seconds = sorted(took.seconds for took in writer.took)
        messages = sum(map(len, read.messages.values()))
        marks = sum(1 for ms in read.messages.values() for m in ms if m.key is None)
        told = {
            **self.done,
            "processes started again": self.keeper.started_again,
            "commands acknowledged": len(writer.acknowledged),
            "commands refused": writer.refused,
            "commands without an answer": writer.unanswered,
            "slowest command": f"{seconds[-1]:.2f} s",
            "median command": f"{statistics.median(seconds) * 1000:.1f} ms",
            "events": head(self.dsn),
            "messages": messages,
            "without a key": marks,
            "repeats": read.repeats,
            "ahead of a gap": read.ahead,
            "wall time": f"{time.monotonic() - self.began:.0f} s",
        }
        print("\n".join(f"{name}: {value}" for name, value in told.items()))


@contextmanager
def world(
    server: str,
    kafka: str,
    prefix: str,
    directory: Path,
    *,
    postgres: EmbeddedPostgres | None = None,
    broker: EmbeddedKafka | None = None,
) -> Iterator[World]:
    """Two databases on a server, and everything that runs between them, except what a test adds."""
    chance = seeded()
    with ExitStack() as stack:
        dsn, copy = stack.enter_context(two_databases(server, f"faults_{uuid4().hex[:12]}"))
        variables = {
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "GRADELOG_KAFKA_TOPIC_PREFIX": prefix,
            "GRADELOG_KAFKA_PARTITIONS": str(PARTITIONS),
            "GRADELOG_KEYS_URL": dsn,
            "GRADELOG_HOME": str(directory / "home"),
            "GRADELOG_JWT_SECRET": SECRET,
            "GRADELOG_LOG_FORMAT": "json",
        }
        opened = stack.enter_context(school(dsn, projector=False))
        keeper = stack.enter_context(Keeper(directory))
        made = World(dsn, copy, kafka, prefix, chance, keeper, opened, variables, postgres, broker)
        made.projector()
        made.member()
        made.member()
        made.subscriber()
        made.subscriber()
        yield made
