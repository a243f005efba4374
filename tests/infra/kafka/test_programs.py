"""What the broker needs: found, refused with what to do about it, and fetched again if damaged."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from infra.alive import serves
from infra.kafka import libraries, node, process, programs
from infra.kafka.broker import EmbeddedKafka
from infra.kafka.launch import EmbeddedKafkaError
from infra.kafka.libraries import LibrariesError, fetched
from infra.kafka.programs import MissingProgramError
from tests.infra.cli.support import ROOT, Cli, eventually


@pytest.fixture
def empty_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The only directory in which programs are looked for."""
    path = tmp_path / "bin"
    path.mkdir()
    monkeypatch.setenv("PATH", str(path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return path


def program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


# --- Java -----------------------------------------------------------------------------------


def test_without_java_one_is_told_what_to_install(empty_path: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingProgramError, match="there is no java here; install Java 17") as told:
        EmbeddedKafka(tmp_path / "home").start()
    assert "openjdk-17-jre-headless" in str(told.value)
    assert "KAFKA_BOOTSTRAP_SERVERS" in str(told.value)


def test_the_command_tells_it_in_one_line(tmp_path: Path) -> None:
    cli = Cli(tmp_path).but(PATH=str(tmp_path), JAVA_HOME=None)
    done = cli.run("kafka", "start")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("gradelog: a Kafka broker runs on Java")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("""echo 'openjdk version "11.0.2" 2019-01-15' >&2""", "is Java 11"),
        ("""echo 'java version "1.8.0_292"' >&2""", "is Java 8"),
        ("echo 'No Java runtime present' >&2; exit 1", "does not run"),
        ("exit 0", "does not run"),
    ],
)
def test_a_java_that_is_too_old_is_named(empty_path: Path, script: str, told: str) -> None:
    path = program(empty_path / "java", script)
    with pytest.raises(MissingProgramError, match=f"only an unfit one is here: {path} {told};"):
        programs.java()


def test_the_java_of_java_home_goes_first_if_it_is_fit(
    empty_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_path = program(empty_path / "java", """echo 'openjdk version "17.0.15" 2025-04-15' >&2""")
    of_home = program(tmp_path / "jdk/bin/java", """echo 'openjdk version "25" 2025-09-16' >&2""")
    assert programs.java() == of_path
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))
    assert programs.java() == of_home
    program(of_home, """echo 'openjdk version "11.0.2"' >&2""")
    assert programs.java() == of_path
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "gone"))
    assert programs.java() == of_path


# --- Kafka's own programs -------------------------------------------------------------------


def test_without_maven_one_is_told_what_to_install(empty_path: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingProgramError, match="there is no mvn here; install Maven"):
        fetched(tmp_path)


def test_what_maven_complains_about_is_told(empty_path: Path, tmp_path: Path) -> None:
    program(empty_path / "mvn", "echo '[ERROR] Unknown host repo.maven.apache.org'; exit 1")
    with pytest.raises(LibrariesError, match="Unknown host") as told:
        fetched(tmp_path / "place")
    assert libraries.version() in str(told.value)
    assert [path.name for path in (tmp_path / "place").iterdir()] == ["lib.lock"]


def test_a_jar_that_maven_has_kept_damaged_is_named(empty_path: Path, tmp_path: Path) -> None:
    program(
        empty_path / "mvn",
        'for last; do :; done; to=${last#*=}; /bin/mkdir "$to"; echo half >"$to/kafka.jar"',
    )
    with pytest.raises(LibrariesError, match=r"keeps a damaged kafka\.jar"):
        fetched(tmp_path / "place")


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("mvn") is None and not os.environ.get("CI"), reason="Maven is not here"
)
def test_what_is_damaged_is_fetched_again_and_what_is_whole_is_not(
    kafka_libraries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    whole = fetched(kafka_libraries)
    directory = tmp_path / whole.name
    shutil.copytree(whole, directory, copy_function=os.link)
    assert fetched(tmp_path, told.append) == directory
    assert told == []

    jar = next(directory.glob("kafka_2.13-*.jar"))
    size = jar.stat().st_size
    jar.unlink()
    jar.touch()  # as a crash of the machine leaves it
    left = tmp_path / f"{directory.name}.left"
    left.mkdir()  # by somebody who was killed
    assert fetched(tmp_path, told.append) == directory
    assert len(told) == 1
    assert jar.stat().st_size == size
    assert {path.name for path in tmp_path.iterdir()} == {directory.name, "lib.lock"}
    assert fetched(kafka_libraries, told.append) == whole
    assert len(told) == 1

    # From now on Maven is not needed, nor asked.
    monkeypatch.setenv("PATH", "/nonexistent")
    assert fetched(tmp_path) == directory


def test_a_list_of_another_pom_does_not_count(empty_path: Path, tmp_path: Path) -> None:
    directory = tmp_path / f"lib-{libraries.version()}"
    directory.mkdir()
    (directory / "files.json").write_text(json.dumps({"pom": "another", "files": {}}))
    with pytest.raises(MissingProgramError, match="no mvn"):
        fetched(tmp_path)


# --- ports and processes --------------------------------------------------------------------


def test_the_port_is_none_that_outgoing_connections_get() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = {node.free_port() for _ in range(20)}
    assert len(ports) > 1
    assert all(node.LOWEST_PORT <= port < lowest for port in ports)


@pytest.mark.kafka
def test_a_port_that_is_taken_is_told_and_nothing_starts(
    kafka_libraries: Path, tmp_path: Path
) -> None:
    with socket.create_server((node.HOST, 0)) as taken:
        port = taken.getsockname()[1]
        assert not node.is_free(port)
        broker = EmbeddedKafka(tmp_path, port=port, libraries=kafka_libraries)
        with pytest.raises(EmbeddedKafkaError, match=f"port {port} .* is taken"):
            broker.start()
        assert broker.pid is None


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\0\0\0\x10\0\0\0\x01\0\0\0\0",  # a broker that knows of no broker yet
        b"\0\0",
    ],
)
def test_what_is_no_broker_at_work_does_not_answer(answer: bytes) -> None:
    with socket.create_server((node.HOST, 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        port = server.getsockname()[1]
        assert not node.answers(port)
        thread.join()
    assert not node.answers(port)


@pytest.mark.kafka
def test_a_broker_at_work_answers(kafka: str) -> None:
    host, _, port = kafka.partition(",")[0].rpartition(":")
    if host not in {"localhost", node.HOST}:
        pytest.skip("the broker is on another machine")
    assert eventually(lambda: node.answers(int(port)))  # it has other tests to serve, too


def test_a_process_that_got_the_number_later_is_no_broker(tmp_path: Path) -> None:
    broker = EmbeddedKafka(tmp_path)
    directory = tmp_path / "kafka"
    directory.mkdir()
    for content in ("", "x", f"{os.getpid()}\n", "4194304\n"):
        (directory / "broker.pid").write_text(content)
        assert broker.pid is None
        assert not broker.status().running


def test_a_server_has_no_parent_and_is_known_by_its_word(tmp_path: Path) -> None:
    process.spawn(["/bin/sleep", "600"], tmp_path)
    pid = process.noted(tmp_path)
    assert pid is not None
    try:
        assert serves(pid, "600")
        assert not serves(pid, "60")
        parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
        assert int(parent) != os.getpid()
    finally:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not serves(pid, "600"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
def test_a_broker_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    directory = tmp_path / "kafka"
    directory.mkdir()
    os.chown(directory, 12345, 12345)
    with pytest.raises(EmbeddedKafkaError, match=r"belongs to another user \(number 12345\)"):
        EmbeddedKafka(tmp_path).start()


def test_a_home_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedKafkaError, match=r"cannot keep a broker in .*GRADELOG_HOME"):
        EmbeddedKafka(tmp_path / "file").start()


# --- the tests themselves -------------------------------------------------------------------


def suite(**variables: str) -> "subprocess.CompletedProcess[str]":
    """A test that needs a broker, run where there is no Java."""
    outside = {"CI", "JAVA_HOME", "BROKER_FOR_TESTS", "PYTEST_XDIST_WORKER", "PYTEST_ADDOPTS"}
    environment = {name: value for name, value in os.environ.items() if name not in outside}
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-n", "1"),
            f"{Path(__file__).relative_to(ROOT)}::test_a_broker_at_work_answers",
        ],
        env={**environment, "PATH": "/nonexistent", **variables},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_whoever_is_started_by_a_test_knows_nothing_of_its_broker() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import json, os, tests.conftest; print(json.dumps({**os.environ}))",
        ],
        env={**os.environ, "KAFKA_BOOTSTRAP_SERVERS": "kafka:9092"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    inherited = json.loads(done.stdout)
    assert "KAFKA_BOOTSTRAP_SERVERS" not in inherited
    assert inherited["BROKER_FOR_TESTS"] == "kafka:9092"


@pytest.mark.slow
def test_without_java_tests_are_left_out_and_the_last_lines_say_so() -> None:
    done = suite()
    assert done.returncode == 0, done.stdout
    told, closing = done.stdout.strip().splitlines()[-2:]
    assert told.startswith("left out without a broker: 1 test; a Kafka broker runs on Java")
    assert closing.startswith("1 skipped")


@pytest.mark.slow
def test_in_ci_no_test_is_left_out() -> None:
    done = suite(CI="true")
    assert done.returncode == 1
    assert "no Kafka broker for tests: a Kafka broker runs on Java" in done.stdout
    assert "left out" not in done.stdout
