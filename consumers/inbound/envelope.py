"""CloudEvents 1.0 over Kafka: the attributes of a message in its headers, or all of it in JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from consumers.inbound.requests import (
    LONGEST_ID,
    LONGEST_VALUE,
    RejectedError,
    checked_id,
    checked_trace,
)
from consumers.kafka.client import Message

JSON: Final = "application/json"
STRUCTURED: Final = "application/cloudevents+json"
SPECVERSION: Final = "1.0"
_IDENTITY: Final = ("id", "source", "type")


@dataclass(frozen=True, slots=True)
class Envelope:
    """The attributes of a message, and what it says as JSON value."""

    id: str
    source: str
    type: str
    trace: str | None
    data: Any

    def content(self) -> bytes:
        """The data in one form, however it was written.

        Raises:
            RejectedError: it is nested deeper than it can be written.
        """
        try:
            return orjson.dumps(self.data, option=orjson.OPT_SORT_KEYS)
        except orjson.JSONEncodeError:
            raise RejectedError("undecodable", "the data is nested too deeply") from None


def open_envelope(message: Message) -> Envelope:
    """Read a message.

    Raises:
        RejectedError: it is no CloudEvent with JSON in it.
    """
    value = message.value
    if value is None:
        raise RejectedError("undecodable", "the message has no value")
    if len(value) > LONGEST_VALUE:
        raise RejectedError(
            "too large", f"the value has {len(value):,} bytes; {LONGEST_VALUE:,} are allowed"
        )
    headers = _headers(message)
    kind = (_text(headers, "content-type") or "").partition(";")[0].strip().lower()
    if kind == STRUCTURED:
        return _structured(_parsed(value))
    if kind != JSON:
        shown = f"is {kind[:100]!r}" if kind else "is missing"
        raise RejectedError(
            "undecodable", f"the header content-type {shown}; {JSON} or {STRUCTURED} is needed"
        )
    attributes = {
        name: _text(headers, f"ce_{name}")
        for name in ("specversion", "id", "source", "type", "traceparent")
    }
    return _envelope(attributes, _parsed(value))


def attributes_of(message: Message) -> tuple[str | None, str | None, str | None]:
    """Id, source and type of a message as far as it tells them, to note what it was."""
    headers = _headers(message)
    if headers.get("content-type", b"").lower().startswith(STRUCTURED.encode()):
        document = _object(message.value)
        found = [document.get(name) for name in _IDENTITY]
    else:
        found = [headers.get(f"ce_{name}", b"").decode(errors="replace") for name in _IDENTITY]
    id_, source, type_ = (_shown(value) for value in found)
    return id_, source, type_


def _headers(message: Message) -> dict[str, bytes]:
    """Headers by name in small letters. Kafka has some without a value: they say nothing."""
    return {name.lower(): raw for name, raw in message.headers if raw is not None}


def _object(value: bytes | None) -> dict[str, Any]:
    if value is None or len(value) > LONGEST_VALUE:
        return {}
    try:
        found = orjson.loads(value)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _shown(value: object) -> str | None:
    if not isinstance(value, str) or not value:
        return None
    return value[:LONGEST_ID].replace("\0", "\N{REPLACEMENT CHARACTER}")


def _structured(document: Any) -> Envelope:
    if not isinstance(document, dict):
        raise RejectedError("undecodable", "the value is not a JSON object")
    # A null says as little as a member that is left out; so CloudEvents has it.
    if document.get("data_base64") is not None:
        raise RejectedError("undecodable", "data_base64 is not read; the data must be JSON")
    kind = document.get("datacontenttype")
    if kind is None:
        kind = JSON
    if not isinstance(kind, str) or kind.partition(";")[0].strip().lower() != JSON:
        raise RejectedError("undecodable", f"the attribute datacontenttype must be {JSON}")
    attributes = {
        name: found if isinstance(found := document.get(name), str) else None
        for name in ("specversion", "id", "source", "type", "traceparent")
    }
    return _envelope(attributes, document.get("data"))


def _envelope(attributes: Mapping[str, str | None], data: Any) -> Envelope:
    if attributes["specversion"] != SPECVERSION:
        raise RejectedError("undecodable", f"the attribute specversion must be {SPECVERSION}")
    return Envelope(
        checked_id(attributes["id"], "id"),
        checked_id(attributes["source"], "source"),
        checked_id(attributes["type"], "type"),
        checked_trace(attributes["traceparent"]),
        data,
    )


def _text(headers: Mapping[str, bytes], name: str) -> str | None:
    raw = headers.get(name)
    if raw is None:
        return None
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise RejectedError("undecodable", f"the header {name} is not UTF-8") from None


def _parsed(value: bytes) -> Any:
    try:
        return orjson.loads(value)
    except ValueError as error:
        raise RejectedError("undecodable", f"the value is not JSON: {error}") from None
