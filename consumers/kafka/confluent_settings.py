"""The settings that all parts of confluent-kafka share."""

from confluent_kafka import KafkaException

from consumers.kafka.settings import LONGEST_BACKOFF, METADATA_MAX_AGE, ClientSettings

Setting = str | int | float | bool


def common(settings: ClientSettings) -> dict[str, Setting]:
    """What producers, consumers and admins are told alike."""
    found: dict[str, Setting] = {
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


def readable(error: BaseException) -> str:
    """What the library says."""
    if isinstance(error, KafkaException) and error.args:
        return str(error.args[0])
    return f"{type(error).__name__}: {error}"
