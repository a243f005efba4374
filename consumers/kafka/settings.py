"""How a Kafka cluster is reached, and with which library."""

from dataclasses import dataclass, field
from typing import Final, Literal

Library = Literal["kafka-python", "confluent"]

LARGEST_MESSAGE: Final = 32 * 1024 * 1024
"""Bytes of the largest message that is sent, with its key and headers."""

DELIVERY_TIMEOUT: Final = 120.0
"""Seconds until a message that is not stored yet is given up: longer than a broker's restart."""

BUFFER: Final = 64 * 1024 * 1024
"""Bytes that may be on their way; whoever sends more waits."""

LINGER: Final = 0.01
"""Seconds that a message waits for others to be sent with it."""

BATCH: Final = 512 * 1024
"""Bytes of one partition that are sent together at most."""

SESSION_TIMEOUT: Final = 10.0
"""Seconds after which the group gives the partitions of a dead member to others."""

HEARTBEAT: Final = 1.0
"""Seconds after which a member learns that the group changes."""

MAX_POLL_INTERVAL: Final = 300.0
"""Seconds between two polls after which a member counts as stuck."""

METADATA_MAX_AGE: Final = 10.0
"""Seconds after which it is asked again which topics and partitions there are."""

LONGEST_BACKOFF: Final = 2.0
"""Seconds between two attempts to reach a broker that is away."""


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """Where the cluster is and how to get in.

    Attributes:
        bootstrap_servers: ``host:port``, several with commas between them.
        timeout: seconds until a question that the cluster does not answer is given up.
        linger: seconds that a message waits for others to be sent with it, unless flushed.
    """

    bootstrap_servers: str
    library: Library = "kafka-python"
    client_id: str = "gradelog"
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    compression: str | None = None
    timeout: float = 10.0
    linger: float = LINGER

    @property
    def servers(self) -> list[str]:
        """The bootstrap servers one by one."""
        return [name for part in self.bootstrap_servers.split(",") if (name := part.strip())]

    @property
    def codec(self) -> str | None:
        """The compression, or None for none, however that is written."""
        return None if self.compression in {None, "", "none"} else self.compression

    def unreachable(self, reason: str) -> str:
        """What to say when no broker can be reached, or lets us in."""
        brokers = ", ".join(self.servers)
        return f"no broker at {brokers} can be used over {self.security_protocol}: {reason}"
