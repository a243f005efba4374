"""A real PostgreSQL and a real Kafka for all tests, and for each test a part of its own.

``DATABASE_URL`` names a server on which databases may be created, ``KAFKA_BOOTSTRAP_SERVERS``
a broker on which topics may be; without them the embedded ones are started. Workers of
pytest-xdist share the servers, never a database or a topic.
"""

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from kafka import KafkaAdminClient
from kafka.errors import KafkaError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from infra.embedded import EmbeddedPostgres
from infra.kafka.broker import EmbeddedKafka
from infra.kafka.libraries import fetched
from infra.kafka.programs import MissingProgramError, java
from infra.migrate import migrate
from tests import looking
from tests.databases import create, drop

# Not the number of the process: a run that was killed may have left behind what it named.
RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID", uuid4().hex)[:12]
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")
ROOT = Path(__file__).parents[1]

ROOM = 6 * 1024**3
"""Bytes that the servers of a whole run have room in, write-ahead log included."""


def find_place() -> Path:
    """In memory, if they leave as much again to others.

    A database has hundreds of files. To make and delete them on a disk takes ten times as long,
    longer than most tests. A server that is killed loses nothing by it.
    """
    memory = Path("/dev/shm")
    with suppress(OSError, KeyError, ValueError):
        told = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        left = int(told["MemAvailable"].split()[0]) * 1024
        if os.access(memory, os.W_OK) and min(left / 2, shutil.disk_usage(memory).free) > ROOM:
            return memory
    return Path(tempfile.gettempdir())


# Of all workers the same: they inherit it.
SERVERS = Path(os.environ.setdefault("PLACE_FOR_SERVERS_OF_TESTS", str(find_place())))

BROKER = "BROKER_FOR_TESTS"
if given := os.environ.pop("KAFKA_BOOTSTRAP_SERVERS", None):
    # Under another name, which workers inherit too: a test that starts the command and says
    # nothing of Kafka must not publish its events to whatever broker is named outside.
    os.environ[BROKER] = given

PATIENCE = 300.0
"""Seconds that servers have to start and answer; far more than they take on a busy machine."""

EARLY = 0.7
"""The part of all other files among which the long ones are spread."""

LIBRARIES = ROOT / ".gradelog" / "kafka"
NO_BROKER = "no Kafka broker for tests: "


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin early with the files that may take long, and not with all of them at once.

    At the end others would wait for them; side by side they would keep each other waiting.
    """
    limits: dict[Path, float] = {}
    for item in items:
        limit = item.get_closest_marker("timeout")
        seconds = float(limit.args[0]) if limit is not None else 0.0
        limits[item.path] = max(seconds, limits.get(item.path, 0.0))
    long = sorted((path for path in limits if limits[path]), key=lambda path: -limits[path])
    short = [path for path in limits if not limits[path]]
    begin, whole = 0.0, sum(limits.values())
    place = {path: float(n) for n, path in enumerate(short)}
    for path in long:
        place[path] = EARLY * len(short) * begin / whole
        begin += limits[path]
    items.sort(key=lambda item: place[item.path])


@pytest.fixture(scope="session")
def place_for_servers() -> Path:
    """Where servers keep their data."""
    return SERVERS


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """Connection string of a server, to make databases on."""
    given = os.environ.get("DATABASE_URL")
    if given:
        yield given
        return
    # Not pytest's own directory: nobody but its owner may enter that, and the server of a
    # superuser belongs to somebody else.
    home = SERVERS / f"gradelog-tests-{RUN}"
    home.mkdir(exist_ok=True)
    home.chmod(0o755)  # whatever the umask says
    with EmbeddedPostgres(home, start_limit=PATIENCE) as embedded:
        yield embedded.dsn
    if not (home / "postgres" / "postmaster.pid").exists():  # nobody else works on it
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def kafka_libraries() -> Path:
    """Where the programs of Kafka are. They outlive the run: fetching them takes long."""
    try:
        java()
        fetched(LIBRARIES)
    except MissingProgramError as missing:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{NO_BROKER}{missing}")
    return LIBRARIES


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> Iterator[str]:
    """Addresses of a broker, to make topics on."""
    given = os.environ.get(BROKER)
    if given:
        yield given
        return
    home = SERVERS / f"gradelog-tests-{RUN}-kafka"
    libraries = request.getfixturevalue("kafka_libraries")
    with EmbeddedKafka(home, libraries=libraries, start_limit=PATIENCE) as embedded:
        yield embedded.bootstrap_servers
    if embedded.pid is None:  # nobody else works with it
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def topics(kafka: str) -> Iterator[KafkaAdminClient]:
    """Looks after the topics of all tests."""
    limit = int(PATIENCE * 1000)
    admin = KafkaAdminClient(
        bootstrap_servers=kafka,
        client_id="tests",
        request_timeout_ms=limit,
        bootstrap_timeout_ms=limit,
    )
    yield admin
    admin.close()


@pytest.fixture
def topic_prefix(topics: KafkaAdminClient) -> Iterator[str]:
    """How the names of the test's topics begin; what it leaves behind is deleted."""
    prefix = f"test-{uuid4().hex[:12]}"
    yield prefix
    with suppress(KafkaError):  # tests of broken brokers leave what they broke
        if left := [name for name in topics.list_topics() if name.startswith(f"{prefix}.")]:
            topics.delete_topics(left)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: Any) -> Iterator[None]:
    """Say last what was left out for want of a broker: it is much, and dots do not show it."""
    yield
    left_out = [
        report.longrepr[2]
        for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple) and NO_BROKER in report.longrepr[2]
    ]
    if left_out:
        reason = left_out[0].partition(NO_BROKER)[2]
        count = f"{len(left_out)} test{'s' if len(left_out) > 1 else ''}"
        terminalreporter.write_line(f"left out without a broker: {count}; {reason}", yellow=True)


@pytest.fixture(scope="session")
def new_database(server: str) -> Iterator[Callable[[], str]]:
    """Makes migrated databases; all are dropped at the end."""
    template = f"gradelog_test_{RUN}_{WORKER}"
    made = [template]
    numbers = itertools.count(1)
    with psycopg.connect(server, autocommit=True) as db:
        create(db, template)
        migrate(make_conninfo(server, dbname=template))

        def make() -> str:
            name = f"{template}_{next(numbers)}"
            create(db, name, like=template)
            made.append(name)
            return make_conninfo(server, dbname=name)

        try:
            yield make
        finally:
            looking.leave_all()
            for name in reversed(made):
                drop(db, name)


@pytest.fixture
def dsn(server: str, new_database: Callable[[], str]) -> Iterator[str]:
    """An empty database of the test's own, migrated."""
    made = new_database()
    yield made
    looking.leave(made)
    with psycopg.connect(server, autocommit=True) as db:
        drop(db, str(conninfo_to_dict(made)["dbname"]))
