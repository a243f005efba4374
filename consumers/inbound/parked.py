"""A message that was not carried out, and which of them are meant."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from consumers.kafka.client import Message, Partition


@dataclass(frozen=True, slots=True)
class Parked:
    """A message that was not carried out, and why."""

    id: int
    kind: str
    topic: str
    partition: int
    offset: int
    sent_at: int
    message_id: str | None
    source: str | None
    type: str | None
    key: bytes | None
    header_names: Sequence[str]
    header_values: Sequence[bytes]
    payload: bytes | None
    payload_size: int
    cut_off: bool
    reason: str
    detail: str
    attempts: int
    parked_at: datetime
    tried_at: datetime

    @property
    def message(self) -> Message:
        """The message as it was read."""
        return Message(
            Partition(self.topic, self.partition),
            self.offset,
            self.key,
            self.payload,
            list(zip(self.header_names, self.header_values, strict=True)),
            self.sent_at,
        )

    def holds(self, text: str) -> bool:
        """Whether a text stands in payload, key or headers, however JSON has written it."""
        for part in (self.payload, self.key, *self.header_values):
            written = (part or b"").decode(errors="surrogateescape")
            if text in written or text in _unescaped(written):
                return True
        return False


@dataclass(frozen=True, slots=True)
class Selection:
    """Which parked messages are meant; all that are given must be so."""

    ids: Sequence[int] | None = None
    topic: str | None = None
    reason: str | None = None
    before: datetime | None = None
    containing: str | None = None


EVERYTHING: Final = Selection()


_ESCAPE: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_CONTROLS: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def _unescaped(written: str) -> str:
    """A JSON text with all that is escaped in it written out."""
    if "\\" not in written:
        return written
    plain = _ESCAPE.sub(
        lambda found: chr(int(found[1], 16)) if found[1] else _CONTROLS.get(found[2], found[2]),
        written,
    )
    # Characters beyond the first 65,536 are escaped as two halves.
    return plain.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
