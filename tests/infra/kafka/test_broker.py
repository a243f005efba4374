"""The embedded broker: shared, stopped by the last, and back after a crash with all it held."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic

from infra.kafka.broker import EmbeddedKafka
from infra.kafka.launch import EmbeddedKafkaError
from tests.infra.cli.support import PATIENCE, ROOT, Cli, eventually, is_running

# Starts take seconds, so each test has several things to say.
pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.fault, pytest.mark.timeout(300)]

VISITOR = """
import sys
from pathlib import Path
from infra.kafka.broker import EmbeddedKafka

broker = EmbeddedKafka(Path(sys.argv[1]), libraries=Path(sys.argv[2]))
print(broker.start(), flush=True)
sys.stdin.read()
"""

FORKING = """
import os, sys
from pathlib import Path
from infra.kafka.broker import EmbeddedKafka

broker = EmbeddedKafka(Path(sys.argv[1]), libraries=Path(sys.argv[2]))
broker.start()
before = broker.pid
if os.fork() == 0:
    broker.close()
    sys.exit(0)
os.wait()
print(broker.pid == before)
"""

Start = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def broker(home: Path, kafka_libraries: Path) -> Iterator[EmbeddedKafka]:
    embedded = EmbeddedKafka(home, libraries=kafka_libraries)
    yield embedded
    embedded.close()
    embedded.stop()


@pytest.fixture
def another(home: Path, kafka_libraries: Path) -> Iterator[Start]:
    """Starts other processes on the same home."""
    started = []

    def start(script: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(home), str(kafka_libraries)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_after_a_crash_everything_is_where_it_was(broker: EmbeddedKafka, another: Start) -> None:
    starter = another(VISITOR)
    first = eventually(lambda: broker.pid)
    starter.kill()  # before the broker answers, perhaps; it goes on without whoever started it
    starter.wait(PATIENCE)
    address = broker.start()
    assert broker.pid == first

    send(address, range(100))
    assert broker.kill()
    assert broker.pid is None
    assert not broker.status().ready

    assert broker.start() == address
    assert broker.pid != first
    assert received(address, 100) == [b"%d" % number for number in range(100)]

    assert broker.stop()
    assert not broker.stop()
    assert not broker.kill()


def test_the_last_to_leave_stops_it(broker: EmbeddedKafka, another: Start) -> None:
    address = broker.start()
    visitor = another(VISITOR)
    assert visitor.stdout is not None
    assert visitor.stdout.readline() == f"{address}\n"
    first = broker.pid

    broker.close()
    status = eventually(lambda: told if (told := broker.status()).ready else None)
    assert status == (True, True, first, address, "4.3.1", broker.log.parent)
    visitor.communicate(timeout=PATIENCE)  # its standard input ends, and so does it
    assert broker.pid is None

    # Whoever dies leaves it running, and does not count any more.
    visitor = another(VISITOR)
    assert visitor.stdout is not None
    assert visitor.stdout.readline() == f"{address}\n"
    visitor.kill()
    visitor.wait(PATIENCE)
    second = broker.pid
    assert second is not None
    # A forked child has no part in it.
    assert another(FORKING).communicate(timeout=PATIENCE)[0] == "True\n"
    assert broker.pid is None


def test_the_command_starts_it_to_stay(
    broker: EmbeddedKafka, home: Path, kafka_libraries: Path, tmp_path: Path
) -> None:
    (home / "kafka").mkdir(parents=True, mode=0o700)
    for library in kafka_libraries.glob("lib-*"):
        if library.is_dir():
            (home / "kafka" / library.name).symlink_to(library)
    cli = Cli(tmp_path).but(GRADELOG_HOME=str(home))
    assert cli.ask("kafka", "status")["state"] == "stopped"

    done = cli.run("kafka", "start", within=120)
    assert done.code == 0, done.err
    address = done.out.removeprefix("export KAFKA_BOOTSTRAP_SERVERS=").strip()
    status = running(cli)
    assert status["bootstrap_servers"] == address

    with broker:  # joins, and leaves it as it was
        assert broker.bootstrap_servers == address
        taken = cli.run("kafka", "start", "--port", "1")
        assert (taken.code, taken.out) == (1, "")
        assert f"runs already, at {address}" in taken.err
    assert running(cli) == status
    # A number to give to `kill`: as it is, without separators.
    assert f" {status['pid']} " in cli.run("kafka", "status").out

    assert cli.run("kafka", "kill").out == "the broker is dead\n"
    assert cli.run("kafka", "kill").out == "no broker runs\n"
    again = cli.ask("kafka", "start", within=120)
    assert again["bootstrap_servers"] == address
    assert again["pid"] != status["pid"]
    assert cli.run("kafka", "stop").out == "the broker has stopped\n"
    assert cli.ask("kafka", "status") == {**status, "state": "stopped", "pid": None}


def test_a_broker_that_does_not_start_or_stop(
    broker: EmbeddedKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = broker.start()
    broker.close()
    assert broker.pid is None

    meta = broker.log.parent / "data" / "meta.properties"
    good = meta.read_text()
    meta.write_text(good.replace("node.id=1", "node.id=2"))
    with pytest.raises(EmbeddedKafkaError, match="ended while it was starting") as failed:
        broker.start()
    assert "node id" in str(failed.value).lower()
    meta.write_text(good)

    assert broker.start() == address
    pid = broker.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: not broker.status().ready)  # its threads do not stop all at once
    assert broker.status().running
    monkeypatch.setattr("infra.kafka.broker.STOP_LIMIT", 5.0)  # to die takes time, too
    assert broker.stop()  # it cannot end in good order
    assert not is_running(pid)


def running(cli: Cli) -> Any:
    """What the command says of a broker that runs, which may take its time to answer."""

    def told() -> Any:
        status = cli.ask("kafka", "status")
        return status if status["state"] == "running" else None

    return eventually(told)


def send(address: str, numbers: range) -> None:
    admin = KafkaAdminClient(bootstrap_servers=address)
    admin.create_topics([NewTopic("numbers", 1, 1)])
    admin.close()
    producer = KafkaProducer(bootstrap_servers=address)
    for number in numbers:
        producer.send("numbers", b"%d" % number, partition=0)
    producer.flush()
    producer.close()


def received(address: str, count: int) -> list[bytes]:
    consumer = KafkaConsumer(bootstrap_servers=address, auto_offset_reset="earliest")
    partition = TopicPartition("numbers", 0)
    consumer.assign([partition])
    found: list[bytes] = []

    def all_there() -> bool:
        for messages in consumer.poll(timeout_ms=100).values():
            found.extend(message.value for message in messages)
        return len(found) >= count

    eventually(all_there)
    consumer.close()
    return found
