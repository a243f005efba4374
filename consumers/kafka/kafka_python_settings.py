"""The settings that all parts of kafka-python share."""

from typing import Any, Final

from kafka import codec

from consumers.kafka.client import KafkaError
from consumers.kafka.settings import LONGEST_BACKOFF, METADATA_MAX_AGE, ClientSettings

_CODECS: Final = {
    "lz4": (codec.has_lz4, "lz4"),
    "snappy": (codec.has_snappy, "python-snappy"),
    "zstd": (codec.has_zstd, "zstandard"),
}
"""Compressions that need a package, whoever writes or reads."""


def check_compression(settings: ClientSettings) -> None:
    """Tell now what the library would tell only when it sends.

    Raises:
        KafkaError: the package that the compression needs is not installed.
    """
    is_here, package = _CODECS.get(settings.codec or "", (lambda: True, ""))
    if not is_here():
        raise KafkaError(
            f"The Kafka client kafka-python needs the package {package} for the compression"
            f" {settings.codec}: pip install {package}, or choose gzip, or the client confluent"
        )


def common(settings: ClientSettings) -> dict[str, Any]:
    """What producers, consumers and admins are told alike."""
    found: dict[str, Any] = {
        "bootstrap_servers": settings.servers,
        "client_id": settings.client_id,
        "security_protocol": settings.security_protocol,
        "metadata_max_age_ms": int(METADATA_MAX_AGE * 1000),
        "reconnect_backoff_max_ms": int(LONGEST_BACKOFF * 1000),
    }
    if settings.ca_file is not None:
        found["ssl_cafile"] = settings.ca_file
    if settings.sasl_mechanism is not None:
        found["sasl_mechanism"] = settings.sasl_mechanism
        found["sasl_plain_username"] = settings.username
        found["sasl_plain_password"] = settings.password
    return found


def readable(error: BaseException) -> str:
    """What the library says, with the kind of error where it says too little alone."""
    text = str(error)
    kind = type(error).__name__
    return text if kind in text else f"{kind}: {text}"
