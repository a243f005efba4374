"""To Kafka and from it: the relay, a read model in another database, a subscriber's delay."""

import gc
import itertools
import os
import secrets
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import psycopg
import uvloop
from kafka import KafkaProducer

from consumers.kafka.client import Client, Message, Partition
from consumers.kafka.clients import ClientSettings, client
from consumers.kafka.kafka_python_settings import common
from consumers.kafka.settings import BATCH, LARGEST_MESSAGE
from consumers.messages import REACHED, place_in_log, topic_names
from consumers.relay.relay import MARK_EVERY
from domain.submissions.application import Submissions
from infra.cli.processes import collect_seldom
from infra.database import now
from infra.feed import make_feeding
from infra.kafka.broker import EmbeddedKafka
from infra.log.postgres_log import PostgresLog
from infra.log.reader import PostgresLogReader, connect
from infra.relay import LINGER, make_relay
from infra.settings import Settings as Installation
from infra.settings import read_settings
from infra.vault import Vault
from projections.gradebook import Gradebook
from projections.runner import Runner
from tests.benchmarks.classes import Class, enrollments, policy, scores, submissions
from tests.benchmarks.commands import ANSWER, item
from tests.benchmarks.harness import Figure, Settings, scratch
from tests.benchmarks.harness import end as end_process
from tests.benchmarks.storing import head, publish, store, store_users, wait_until

ROOT = Path(__file__).parents[2]
COURSES = 8
"""How many courses the learners are in: as many partitions may be worked on side by side."""

RELAYED = "SELECT position FROM gradelog.relay"
FED = "SELECT position FROM gradelog.read_models WHERE name = 'gradebook'"
PATIENCE = 300.0
"""Seconds until a measure that does not come to its end is given up."""

JOINED = "SELECT count(*) FROM gradelog.kafka_feed_members WHERE partitions > 0"
READ = "SELECT coalesce(sum(next_offset), 0) FROM gradelog.kafka_offsets"


@contextmanager
def broker() -> Iterator[str]:
    """The broker that ``KAFKA_BOOTSTRAP_SERVERS`` names, or one of our own."""
    given = read_settings()
    if given.kafka_bootstrap_servers is not None:
        yield given.kafka_bootstrap_servers
        return
    with EmbeddedKafka(given.home) as embedded:
        yield embedded.bootstrap_servers


def installation(servers: str, library: str = "kafka-python") -> Installation:
    """Settings with topics that nobody has used."""
    return read_settings().model_copy(
        update={
            "kafka_bootstrap_servers": servers,
            "kafka_topic_prefix": f"bench-{secrets.token_hex(4)}",
            "kafka_client": library,
        }
    )


def forget(kafka: Client, prefix: str) -> None:
    with closing(kafka.admin()) as admin:
        admin.delete(list(topic_names(prefix).values()))


def measure(settings: Settings) -> Iterator[Figure]:
    with broker() as servers, scratch(settings.dsn) as dsn:
        events = fill(dsn, settings)
        with closing_topics(servers) as made:
            yield from of_relay(settings, dsn, servers, made, events)
            yield from of_read_models(settings, dsn, servers, made, events)
    with broker() as servers:
        yield from of_subscriber(settings, servers)


def fill(dsn: str, settings: Settings) -> int:
    """Courses, learners, submissions and scores; how many events."""
    learners = settings.amount(500)
    store_users(dsn, learners)
    for n in range(COURSES):
        of = Class(learners, 20, f"Kafka{n}")
        work = [(user, number) for user in range(1, learners + 1) for number in range(0, 20, 4)]
        publish(dsn, of, policy())
        store(dsn, enrollments(of), submissions(of, work), scores(of, work))
    return head(dsn)


@contextmanager
def closing_topics(servers: str) -> Iterator[Callable[..., Installation]]:
    """Makes settings with topics of their own, which are deleted in the end."""
    made: list[str] = []

    def make(library: str = "kafka-python") -> Installation:
        found = installation(servers, library)
        made.append(found.kafka_topic_prefix)
        return found

    try:
        yield make
    finally:
        kafka = client(ClientSettings(servers))
        for prefix in made:
            forget(kafka, prefix)


# --- the relay --------------------------------------------------------------------------------


def of_relay(
    settings: Settings,
    dsn: str,
    servers: str,
    make: Callable[..., Installation],
    events: int,
) -> Iterator[Figure]:
    """The whole log to new topics, against the bare client with the very same messages."""
    first = make()
    relay(dsn, first, events)
    messages = read_all(servers, first.kafka_topic_prefix)
    size = round(statistics.mean(len(m.value or b"") for m in messages))
    all_of_it = round(statistics.mean(whole(m) for m in messages))
    bare_name = "kafka-python alone, the same messages and settings"
    bare = Figure(
        bare_name, "messages/s", note=f"{events:,} of {size} B, {all_of_it} B with key and headers"
    )
    ours = Figure("relay", "events/s", "0.8 x, 5,000", at_least=5000, baseline=bare_name)
    other = Figure("relay with confluent-kafka", "events/s", baseline=bare_name)
    for _ in range(settings.rounds):
        bare.samples.append(send_bare(servers, make(), messages))
        ours.samples.append(relay(dsn, make(), events))
        other.samples.append(relay(dsn, make("confluent"), events))
    yield from (bare, ours, other)


def whole(message: Message) -> int:
    return (
        len(message.value or b"")
        + len(message.key or b"")
        + sum(len(name) + len(value) for name, value in message.headers)
    )


def relay(dsn: str, to: Installation, events: int, *, marks: bool = False) -> float:
    """Events a second, from the first that a relay has saved until the last is.

    ``marks``: go on until every partition has been told how far the relay is.
    """
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute("UPDATE gradelog.relay SET position = 0")
        db.execute("TRUNCATE gradelog.relay_topics, gradelog.relay_partitions")
    stop = threading.Event()
    made = make_relay(to, dsn)
    thread = threading.Thread(target=made.run, args=(stop,), daemon=True)
    with psycopg.connect(dsn, autocommit=True) as watch:
        thread.start()
        rate, _ = steady(lambda: asked(watch, RELAYED), lambda position: position >= events)
    deadline = time.monotonic() + PATIENCE
    while marks and not are_told(to, events):
        if time.monotonic() > deadline:
            raise RuntimeError(f"not every partition is told that the log ends at {events}")
        time.sleep(MARK_EVERY)
    stop.set()
    thread.join()
    return rate


def steady(count: Callable[[], int], is_done: Callable[[int], bool]) -> tuple[float, float]:
    """How many a second, from when the first are counted until done; and seconds until then."""
    began, first = 0.0, 0
    start = time.perf_counter()
    while not is_done(found := count()):
        now = time.perf_counter()
        if now - start > PATIENCE:
            raise RuntimeError(f"it stays at {found}")
        if found and not first:
            began, first = now, found
        time.sleep(0.02)  # each look is in the way of what is looked at
    ended = time.perf_counter()
    if not first:  # of little data all may be there at the first look
        return found / (ended - start), 0.0
    return max(found - first, 1) / (ended - began), began - start


def send_bare(servers: str, to: Installation, messages: Sequence[Message]) -> float:
    """Messages a second with nothing but the library, topics made beforehand."""
    from consumers.kafka.client import NewTopic

    kafka = client(ClientSettings(servers))
    names = topic_names(to.kafka_topic_prefix)
    with closing(kafka.admin()) as admin:
        admin.create(
            [NewTopic(names["courses"], to.kafka_partitions), NewTopic(names["people"], 1)]
        )
    ready = [
        (
            f"{to.kafka_topic_prefix}.{message.partition.topic.rpartition('.')[2]}",
            message.value,
            message.key,
            list(message.headers),
            message.partition.number,
            message.timestamp,
        )
        for message in messages
    ]
    producer = KafkaProducer(
        **common(ClientSettings(servers)),
        acks="all",
        enable_idempotence=True,
        linger_ms=int(LINGER * 1000),
        batch_size=BATCH,
        max_request_size=LARGEST_MESSAGE,
        metrics_enabled=False,
    )
    begin = time.perf_counter()
    for message in ready:
        producer.send(*message)
    producer.flush()
    seconds = time.perf_counter() - begin
    producer.close()
    return len(ready) / seconds


def partitions_of(kafka: Client, prefix: str) -> list[Partition]:
    with closing(kafka.admin()) as admin:
        topics = admin.topics(list(topic_names(prefix).values()))
    return [Partition(t.name, n) for t in topics.values() for n in range(t.partitions)]


def are_told(to: Installation, position: int) -> bool:
    """Whether the last message of every partition says that the log is published up to there."""
    kafka = client(ClientSettings(str(to.kafka_bootstrap_servers)))
    partitions = partitions_of(kafka, to.kafka_topic_prefix)
    with closing(kafka.consumer()) as consumer:
        ends = consumer.end_offsets(partitions)
        if not all(ends.values()):
            return False
        consumer.assign({partition: end - 1 for partition, end in ends.items()})
        waiting = set(partitions)
        while waiting:
            found = consumer.poll(10.0, limit=5000)
            if not found:
                return False
            for message in found:
                _, reached = place_in_log(message) or (0, 0)
                if reached < position:
                    return False
                waiting.discard(message.partition)
    return True


def read_all(servers: str, prefix: str) -> list[Message]:
    """The events of the topics, in the order of the log."""
    kafka = client(ClientSettings(servers))
    partitions = partitions_of(kafka, prefix)
    found: list[Message] = []
    with closing(kafka.consumer()) as consumer:
        consumer.assign(dict.fromkeys(partitions))
        ends = {p: end for p, end in consumer.end_offsets(partitions).items() if end}
        while ends:
            for message in consumer.poll(1.0, limit=5000):
                found.append(message)
                if message.offset + 1 >= ends.get(message.partition, 0):
                    ends.pop(message.partition, None)
    events = [m for m in found if dict(m.headers)["ce_type"] != REACHED.encode()]
    return sorted(events, key=lambda m: int(dict(m.headers)["ce_position"]))


# --- read models ------------------------------------------------------------------------------


def of_read_models(
    settings: Settings,
    dsn: str,
    servers: str,
    make: Callable[..., Installation],
    events: int,
) -> Iterator[Figure]:
    """The gradebook of the same events: from the log, and from the topics elsewhere."""
    to = make()
    relay(dsn, to, events, marks=True)
    base = "gradebook from the log"
    log = Figure(base, "events/s", note=f"{events:,} events of {COURSES} courses")
    fed = Figure("gradebook from Kafka, one member", "messages/s", "0.6 x", baseline=base)
    fast = Figure("the same with confluent-kafka", "messages/s", "0.6 x", baseline=base)
    joined = Figure("until a member has joined and written its first", "s")
    one_name = "one member, a process of its own"
    one = Figure(one_name, "messages/s")
    two = Figure("two members", "messages/s", "1.5 x", baseline=one_name)
    for _ in range(settings.rounds):
        with collecting_seldom():
            log.samples.append(from_log(dsn, events))
        for figure, library in ((fed, "kafka-python"), (fast, "confluent")):
            with scratch(settings.dsn) as remote:
                using = to.model_copy(update={"kafka_client": library, "keys_url": dsn})
                with collecting_seldom():
                    rate, seconds = from_kafka(remote, using, events)
                figure.samples.append(rate)
                if figure is fed:
                    joined.samples.append(seconds)
        for figure, count in ((one, 1), (two, 2)):
            with scratch(settings.dsn) as remote:
                figure.samples.append(members(remote, dsn, to, count, events))
    yield from (log, fed, fast, joined, one, two)


@contextmanager
def collecting_seldom() -> Iterator[None]:
    """Collect garbage as the programs do whose work is measured here."""
    before = gc.get_threshold()
    collect_seldom()
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def from_log(dsn: str, end: int) -> float:
    """Events a second, the gradebook alone."""
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute(f"DROP SCHEMA IF EXISTS {Gradebook.schema()} CASCADE")
        db.execute("DELETE FROM gradelog.read_models WHERE name = 'gradebook'")
    stop = threading.Event()
    runner = Runner(lambda: connect(dsn), PostgresLogReader(Vault(dsn)), [Gradebook])
    thread = threading.Thread(target=runner.run, args=(stop,), daemon=True)
    begin = time.perf_counter()
    thread.start()
    while not runner.active or min(runner.active.values()) < end:
        time.sleep(0.005)
    seconds = time.perf_counter() - begin
    stop.set()
    thread.join()
    return end / seconds


def from_kafka(remote: str, to: Installation, end: int) -> tuple[float, float]:
    """Messages a second of one member in this process, and seconds until it has joined."""
    feeding = make_feeding(to, remote, [Gradebook])
    feeding.prepare()
    stop = threading.Event()
    thread = threading.Thread(target=feeding.run, args=(stop,), daemon=True)
    with psycopg.connect(remote, autocommit=True) as watch:
        thread.start()
        found = steady(lambda: asked(watch, READ), lambda read: read >= end)
        # That it is told to be complete takes until somebody has looked for more.
        wait_until(remote, f"SELECT ({FED}) >= {end}")
    stop.set()
    thread.join()
    return found


def members(remote: str, keys: str, to: Installation, count: int, end: int) -> float:
    """Messages a second of so many processes, from when all have joined to nine tenths of all.

    The first that comes takes all partitions, and gives some of them up when it learns of the
    next: with little data it has done most of the work by then.
    """
    environment = {
        **os.environ,
        "DATABASE_URL": remote,
        "GRADELOG_KEYS_URL": keys,
        "KAFKA_BOOTSTRAP_SERVERS": str(to.kafka_bootstrap_servers),
        "GRADELOG_KAFKA_TOPIC_PREFIX": to.kafka_topic_prefix,
        "GRADELOG_LOG_LEVEL": "ERROR",
    }
    command = [sys.executable, "-m", "infra.cli.main", "consume", "--read-models", "gradebook"]
    with ExitStack() as stack:
        for _ in range(count):
            member = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, cwd=ROOT)
            stack.callback(end_process, member)
        watch = stack.enter_context(psycopg.connect(remote, autocommit=True))
        found: list[tuple[float, int]] = []
        joined = False
        deadline = time.perf_counter() + PATIENCE
        while not found or found[-1][1] < end * 0.9:
            if time.perf_counter() > deadline:
                raise RuntimeError(f"the members stay at {asked(watch, READ)} of {end}")
            if not joined and asked(watch, JOINED) == count:
                joined, found = True, []
            found.append((time.perf_counter(), asked(watch, READ)))
            time.sleep(0.02)
    (began, first), (ended, last) = found[0], found[-1]
    # Of little data all may be there before all have joined.
    return max(last - first, 1) / max(ended - began, 1e-3)


def asked(watch: psycopg.Connection, statement: str) -> int:
    """A number of the database; 0 as long as its table is not there."""
    try:
        row = watch.execute(statement).fetchone()
    except psycopg.errors.UndefinedTable:
        return 0
    return int(row[0]) if row else 0


# --- a subscriber -----------------------------------------------------------------------------

SUBSCRIBER = """
import sys, time
from consumers.subscriber import Subscriber
from domain.submissions.student_item import SubmissionCreated

def handle(db, events):
    at = time.time()
    for recorded in events:
        print(recorded.position, at, flush=True)

kafka, database, prefix = sys.argv[1:]
Subscriber(kafka, database, "bench", prefix=prefix, types=[SubmissionCreated]).run(handle)
"""


def of_subscriber(settings: Settings, servers: str) -> Iterator[Figure]:
    """From an acknowledged append to the handler of a subscriber, at 200 events/s."""
    p50 = Figure("append to a subscriber's handler, p50 at 200/s", "ms", "under 30", at_most=30)
    p99 = Figure("append to a subscriber's handler, p99 at 200/s", "ms")
    with ExitStack() as stack:
        dsn = stack.enter_context(scratch(settings.dsn))
        own = stack.enter_context(scratch(settings.dsn, migrated=False))
        to = stack.enter_context(closing_topics(servers))()
        environment = {
            **os.environ,
            "DATABASE_URL": dsn,
            "KAFKA_BOOTSTRAP_SERVERS": servers,
            "GRADELOG_KAFKA_TOPIC_PREFIX": to.kafka_topic_prefix,
            "GRADELOG_LOG_LEVEL": "ERROR",
        }
        stack.enter_context(running([sys.executable, "-m", "infra.cli.main", "relay"], environment))
        wait_until(dsn, "SELECT count(*) = 2 FROM gradelog.relay_topics")
        found = stack.enter_context(
            running(
                [sys.executable, "-c", SUBSCRIBER, servers, own, to.kafka_topic_prefix],
                {**environment, "PYTHONPATH": str(ROOT)},
            )
        )
        seen: dict[int, float] = {}

        def listen() -> None:
            assert found.stdout is not None
            for line in found.stdout:
                position, at = line.split()
                seen[int(position)] = float(at)

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        numbers = itertools.count()
        warm_up = uvloop.run(write(dsn, numbers, 1))
        wait_for(seen, warm_up)
        for _ in range(settings.rounds):
            written = uvloop.run(write(dsn, numbers, max(20, int(settings.seconds * 400))))
            wait_for(seen, written)
            delays = sorted((seen[position] - at) * 1000 for position, at in written.items())
            p50.samples.append(statistics.median(delays))
            p99.samples.append(delays[int(len(delays) * 0.99)])
    yield from (p50, p99)


@contextmanager
def running(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        yield process
    finally:
        end_process(process)


def wait_for(seen: dict[int, float], written: dict[int, float]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not written.keys() <= seen.keys():
        if time.monotonic() > deadline:
            raise RuntimeError("the subscriber has not seen all")
        time.sleep(0.01)


async def write(dsn: str, numbers: Iterator[int], count: int) -> dict[int, float]:
    """Create submissions, 200 a second; when each was acknowledged, by position."""
    import asyncio

    log, vault = PostgresLog(dsn, timeout=60), Vault(dsn, timeout=60)
    application = Submissions(log, now, vault)
    written: dict[int, float] = {}

    async def one() -> None:
        done = await application.create_submission(item(next(numbers)), ANSWER)
        assert done.position is not None
        written[done.position] = time.time()

    loop = asyncio.get_running_loop()
    begin = loop.time()
    tasks = []
    for n in range(count):
        await asyncio.sleep(max(0.0, begin + n / 200 - loop.time()))
        tasks.append(loop.create_task(one()))
    await asyncio.gather(*tasks)
    await log.close()
    await vault.close()
    return written
