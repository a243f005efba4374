"""The settings that all parts of confluent-kafka share."""

from typing import Any, Final

from confluent_kafka import KafkaError as LibraryError
from confluent_kafka import KafkaException

from consumers.kafka.settings import LONGEST_BACKOFF, METADATA_MAX_AGE, ClientSettings

_OF_CONNECTIONS: Final = frozenset(
    {
        LibraryError._TRANSPORT,  # noqa: SLF001
        LibraryError._RESOLVE,  # noqa: SLF001
        LibraryError._AUTHENTICATION,  # noqa: SLF001
        LibraryError._SSL,  # noqa: SLF001
    }
)


class Connecting:
    """Remembers why a connection failed; the library says of a question that nobody answered."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._problem: str | None = None

    def __call__(self, error: LibraryError) -> None:
        """Note what the library tells beside (its ``error_cb``)."""
        if error.code() in _OF_CONNECTIONS:
            self._problem = readable(error)

    def explained(self, error: BaseException) -> str:
        """What the library says, and why."""
        return self._settings.unreachable(self._problem or readable(error))


def common(settings: ClientSettings) -> dict[str, Any]:
    """What producers, consumers and admins are told alike."""
    found: dict[str, Any] = {
        "bootstrap.servers": ",".join(settings.servers),
        "client.id": settings.client_id,
        "security.protocol": settings.security_protocol,
        "topic.metadata.refresh.interval.ms": int(METADATA_MAX_AGE * 1000),
        "reconnect.backoff.max.ms": int(LONGEST_BACKOFF * 1000),
        "allow.auto.create.topics": False,
        "log.connection.close": False,
    }
    if settings.ca_file is not None:
        found["ssl.ca.location"] = settings.ca_file
    if settings.sasl_mechanism is not None:
        found["sasl.mechanism"] = settings.sasl_mechanism
        found["sasl.username"] = settings.username or ""
        found["sasl.password"] = settings.password or ""
    return found


def readable(error: BaseException | LibraryError) -> str:
    """What the library says."""
    found = error.args[0] if isinstance(error, KafkaException) and error.args else error
    if isinstance(found, LibraryError):
        return f"{found.name()}: {found.str()}"
    return f"{type(error).__name__}: {error}"
