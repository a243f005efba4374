"""What one node of Kafka keeps in its directory: where it listens, how it is set up.

Names of files are relative to the directory, which the broker runs in: a comma in a path
would end it in the settings of Kafka, and a colon in the class path of Java.
"""

import base64
import json
import random
import shutil
import socket
import struct
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

HOST: Final = "127.0.0.1"
LOWEST_PORT: Final = 10_000
EPHEMERAL: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
USUAL_EPHEMERAL: Final = 32_768

PROPERTIES: Final = """\
# Written by gradelog whenever the broker starts.
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller}
listeners=CLIENTS://{host}:{broker},CONTROLLER://{host}:{controller}
advertised.listeners=CLIENTS://{host}:{broker}
inter.broker.listener.name=CLIENTS
controller.listener.names=CONTROLLER
listener.security.protocol.map=CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false

# One node has nobody to keep copies with.
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1

# A group is there at once, and what is deleted is gone soon.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.segment.delete.delay.ms=1000

# After a crash the node is let in again when it would have been missed: by itself, soon.
broker.session.timeout.ms=5000
broker.heartbeat.interval.ms=500

# Small: a few partitions of its own, few threads, little room set aside.
offsets.topic.num.partitions=5
transaction.state.log.num.partitions=1
share.coordinator.state.topic.num.partitions=1
num.network.threads=2
num.io.threads=4
background.threads=2
log.cleaner.dedupe.buffer.size=16777216
log.index.size.max.bytes=1048576
"""

LOGGING: Final = """\
# Written by gradelog whenever the broker starts.
status = error
appender.file.type = RollingFile
appender.file.name = file
appender.file.fileName = broker.log
appender.file.filePattern = broker.log.%i
appender.file.layout.type = PatternLayout
appender.file.layout.charset = UTF-8
appender.file.layout.pattern = %d{ISO8601} %p %c{1} - %m%n%xEx
appender.file.policies.type = SizeBasedTriggeringPolicy
appender.file.policies.size = 10MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 1
rootLogger.level = info
rootLogger.appenderRef.file.ref = file
"""


class Ports(NamedTuple):
    """Where the clients come, and where the node talks to itself."""

    broker: int
    controller: int


def remembered(directory: Path) -> Ports | None:
    """Where the node has listened so far."""
    try:
        found = json.loads((directory / "ports.json").read_text(encoding="utf-8"))
        return Ports(int(found["broker"]), int(found["controller"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remember(directory: Path, ports: Ports) -> None:
    """Keep the ports for the next start: clients know them."""
    fresh = directory / "ports.json.new"
    fresh.write_text(json.dumps(ports._asdict()) + "\n", encoding="utf-8")
    fresh.replace(directory / "ports.json")


def is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as listener:
        # As the broker does: connections that have just ended are in nobody's way.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
            listener.listen()
        except OSError:
            return False
    return True


def free_port(*, but: int = 0) -> int:
    """A port where nobody listens.

    Below those that the system gives to outgoing connections. One of these could be taken
    while the broker is down, even by a client that goes on trying to connect to it: such a
    client ends up connected to itself.
    """
    first = USUAL_EPHEMERAL
    with suppress(OSError, ValueError):
        first = int(EPHEMERAL.read_text().split()[0])
    if first <= LOWEST_PORT:
        first = 65_536
    choices = range(LOWEST_PORT, first)
    while True:
        port = random.choice(choices)  # noqa: S311  # no secret
        if port != but and is_free(port):
            return port


def configure(directory: Path, ports: Ports, libraries: Path) -> None:
    """Write what the broker reads when it starts."""
    _write(directory / "server.properties", ports, data="data")
    (directory / "log4j2.properties").write_text(LOGGING, encoding="utf-8")
    link = directory / "lib.new"
    link.unlink(missing_ok=True)
    link.symlink_to(libraries, target_is_directory=True)
    link.replace(directory / "lib")


def begin_format(directory: Path, ports: Ports) -> list[str]:
    """Prepare the making of new storage; the arguments of Kafka's tool."""
    shutil.rmtree(directory / "data.new", ignore_errors=True)
    _write(directory / "format.properties", ports, data="data.new")
    name = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    # With a dash in front it would be taken for an option.
    return ["format", "-t", name.replace("-", "A"), "-c", "format.properties"]


def end_format(directory: Path) -> None:
    """Put new storage in place, whole."""
    (directory / "format.properties").unlink()
    (directory / "data.new").rename(directory / "data")


def _write(path: Path, ports: Ports, data: str) -> None:
    text = PROPERTIES.format(host=HOST, data=data, **ports._asdict())
    path.write_text(text, encoding="utf-8")


def answers(port: int, *, timeout: float = 2.0) -> bool:
    """Whether a broker is at work there: it names brokers, itself among them.

    Before it has joined its own cluster it takes connections and knows of no broker.
    """
    client = b"gradelog"
    request = struct.pack(">hhih", 3, 1, 1, len(client)) + client + struct.pack(">i", 0)
    try:
        with socket.create_connection((HOST, port), timeout=timeout) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            answer = b""
            while len(answer) < 12:  # length, correlation id, number of brokers
                more = connection.recv(12 - len(answer))
                if not more:
                    return False
                answer += more
    except OSError:
        return False
    _, correlation, brokers = struct.unpack(">iii", answer)
    return bool(correlation == 1 and brokers > 0)
