"""A school whose log is published, and databases far from it."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from infra.relay import relaying
from infra.settings import Settings
from tests.infra.cli.support import PATIENCE, Cli, Running
from tests.school import School, school

PARTITIONS = 5


@pytest.fixture
def published(dsn: str, kafka: str, topic_prefix: str) -> Iterator[School]:
    """A school with a projector, a grader and a relay."""
    with school(dsn) as opened, relaying(settings(dsn, kafka, topic_prefix), dsn):
        yield opened


@pytest.fixture
def copy(new_database: Callable[[], str]) -> str:
    """A database without any event."""
    return new_database()


@pytest.fixture
def far(copy: str, dsn: str, kafka: str, topic_prefix: str, tmp_path: Path) -> Cli:
    """The command on the copy, which has the topics and the keys of the school."""
    return on_copy(tmp_path, copy, dsn, kafka, topic_prefix)


def on_copy(directory: Path, copy: str, keys: str, kafka: str, prefix: str) -> Cli:
    return Cli(
        directory,
        DATABASE_URL=copy,
        KAFKA_BOOTSTRAP_SERVERS=kafka,
        GRADELOG_KAFKA_TOPIC_PREFIX=prefix,
        GRADELOG_KEYS_URL=keys,
    )


@pytest.fixture
def member(far: Cli) -> Iterator[Callable[..., Running]]:
    """Starts members of the group that feeds the copy; all are ended at the end."""
    with members(far) as start:
        yield start


@contextmanager
def members(far: Cli) -> Iterator[Callable[..., Running]]:
    """The same for as long as the context lasts."""
    started: list[Running] = []

    def start(read_models: str = "all") -> Running:
        running = far.start("consume", "--read-models", read_models)
        started.append(running)
        assert running.line().startswith("feeding "), running.err
        return running

    try:
        yield start
    finally:
        for running in started:
            if running.process.poll() is None:
                running.process.terminate()
        with ExitStack() as ending:  # all of them, whatever becomes of one
            for running in started:
                ending.callback(end, running)


def end(running: Running) -> None:
    try:
        running.process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        running.process.kill()
        raise


def settings(dsn: str, kafka: str, prefix: str, **more: str) -> Settings:
    """What a process of a test runs with."""
    return Settings(
        database_url=dsn,
        kafka_bootstrap_servers=kafka,
        kafka_topic_prefix=prefix,
        kafka_partitions=PARTITIONS,
        **more,  # type: ignore[arg-type]
    )
