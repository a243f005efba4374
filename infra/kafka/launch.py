"""Starting the broker in its directory, with storage made for it the first time."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from infra.kafka import node, process, programs
from infra.kafka.libraries import fetched

TAIL_LINES: Final = 20
LARGEST_OUTPUT: Final = 1024 * 1024

JAVA_OPTIONS: Final = (
    # The quick compiler alone: half the processor time of a start, and enough for one machine.
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-Dlog4j2.configurationFile=log4j2.properties",
    "-Djava.awt.headless=true",
)
BROKER_OPTIONS: Final = (
    "-Xmx512m",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:ErrorFile=crash.log",
)
CLASS_PATH: Final = ("-cp", "lib/*")


class EmbeddedKafkaError(Exception):
    """The broker cannot be used; the message says what to do."""


def word_of(directory: Path) -> str:
    """The word on the command line by which the broker of a directory is known."""
    return f"-Dgradelog.broker={directory}"


def launch(directory: Path, port: int, libraries: Path, tell: Callable[[str], None]) -> node.Ports:
    """Start a broker that does not run; return where it is going to listen.

    Raises:
        MissingProgramError: there is no Java, or no Maven to fetch the broker with.
        LibrariesError: the broker cannot be fetched.
        EmbeddedKafkaError: its port is taken, or its storage cannot be made.
    """
    java = str(programs.java())
    kafka = fetched(libraries, tell)
    ports = _ports(directory, port)
    node.configure(directory, ports, kafka)
    output = directory / "broker.out"
    with suppress(FileNotFoundError):
        if output.stat().st_size > LARGEST_OUTPUT:
            output.unlink()
    _format(java, directory, ports)
    node.remember(directory, ports)
    process.spawn(
        [
            *(java, *JAVA_OPTIONS, *BROKER_OPTIONS, word_of(directory), *CLASS_PATH),
            *("kafka.Kafka", "server.properties"),
        ],
        directory,
    )
    return ports


def _ports(directory: Path, port: int) -> node.Ports:
    """Where it listened last, so that clients find it again; or where it can."""
    last = node.remembered(directory)
    broker = port or (last.broker if last is not None else node.free_port())
    if not node.is_free(broker):
        raise EmbeddedKafkaError(
            f"port {broker} of the broker of {directory.parent} is taken by another program;"
            " end that, or name another port"
        )
    controller = last.controller if last is not None else node.free_port(but=broker)
    if controller == broker or not node.is_free(controller):
        controller = node.free_port(but=broker)  # nobody else comes there
    return node.Ports(broker, controller)


def _format(java: str, directory: Path, ports: node.Ports) -> None:
    """Make the storage if there is none."""
    if (directory / "data").exists():
        return
    arguments = node.begin_format(directory, ports)
    done = process.run(
        [java, *JAVA_OPTIONS, *CLASS_PATH, "kafka.tools.StorageTool", *arguments],
        directory,
    )
    if done.returncode != 0:
        raise EmbeddedKafkaError(
            f"the storage of the broker of {directory.parent} cannot be made:\n{tail(done.stdout)}"
        )
    node.end_format(directory)


def tail(text: str) -> str:
    """The last lines of what a program has said."""
    return "\n".join(text.strip().splitlines()[-TAIL_LINES:])
