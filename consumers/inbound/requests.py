"""What a message asks for, whatever format it came in.

A decoder makes a ``Request`` of a message, or raises ``RejectedError``; everything after that
(once only, in order, with provenance, parked when it is refused) is the same for all formats.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol, TypeVar

from consumers.kafka.client import Message
from domain.application import Clock, Done, Idempotency, Log
from domain.events import Provenance
from domain.grades.application import Grades
from domain.learners.application import Learners
from domain.submissions.application import Submissions
from projections.read_model import Answer, Query

T = TypeVar("T")

LONGEST_ID: Final = 255
LONGEST_VALUE: Final = 1024 * 1024
"""Bytes of a message's value; what is longer is no command."""

_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class RejectedError(Exception):
    """A message can never be carried out as it stands.

    Attributes:
        reason: a short word for it, to filter by.
        detail: what is wrong, in a sentence.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Reads(Protocol):
    """Asks the read models."""

    async def ask(self, query: Query[T], *, latest: bool = ...) -> Answer[T]:
        """Answer one question; ``latest``: with everything that is in the log now.

        Raises:
            UnavailableError: not at the moment.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    """Everything that a message may set in motion, for the tasks of one event loop.

    Attributes:
        lifetime: how long it is remembered that a message was carried out.
    """

    submissions: Submissions
    learners: Learners
    grades: Grades
    reads: Reads
    log: Log
    clock: Clock
    lifetime: timedelta


@dataclass(frozen=True, slots=True)
class Once:
    """The promise that a message is carried out once, to be given to its command.

    Attributes:
        key: of the claim that is stored together with the events.
        fingerprint: digest of what the message says.
        expires_at: until when it is remembered.
    """

    key: str
    fingerprint: bytes
    expires_at: datetime

    def __call__(self, part: str = "") -> Idempotency[Any]:
        """The promise; a message that needs several commands names the ``part`` of each."""
        return Idempotency(
            # Ids are printable, so this is the key of no other message.
            f"{self.key}\n{part}" if part else self.key,
            self.fingerprint,
            _nothing,
            self.expires_at,
        )


CarryOut = Callable[[Commands, Once, Provenance], Awaitable[Done[Any]]]
"""Carries out the command of a message. Must hand ``Once`` on to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a message asks for.

    Attributes:
        id: of the message, unique among those of its source.
        source: the program that sends.
        type: what kind of message it is.
        about: whom or what it is about; where a message has no key, those about the same
            are carried out in their order.
        content: what the message says, in a form that is the same for the same content.
        carry_out: does it.
        trace: W3C ``traceparent``, if the message has one.
        on_behalf_of: the person for whom the source acts, if it says so.
        via: the feature, for the record.
    """

    id: str
    source: str
    type: str
    about: str
    content: bytes
    carry_out: CarryOut
    via: str
    trace: str | None = None
    on_behalf_of: str | None = None

    @property
    def key(self) -> str:
        """Of the claim that tells that it was carried out."""
        return f"inbound:{len(self.source)}:{self.source}:{self.id}"

    @property
    def fingerprint(self) -> bytes:
        """Digest of what it says."""
        return hashlib.sha256(self.type.encode() + b"\0" + self.content).digest()

    @property
    def provenance(self) -> Provenance:
        """Who asks, through what."""
        return Provenance(
            actor=self.source,
            on_behalf_of=self.on_behalf_of,
            trace=self.trace,
            cause=self.id,
            via=self.via,
        )


Decoder = Callable[[Message], Request | None]
"""Reads a message; None for one that is of no interest here.

Raises ``RejectedError`` for what can never be carried out. Knows neither clock nor network.
"""


def checked_id(value: str | None, name: str) -> str:
    """An id or a source as messages may have it.

    Raises:
        RejectedError: missing, too long, or with characters that nobody sees.
    """
    if not value:
        raise RejectedError("undecodable", f"the attribute {name} is missing")
    if len(value) > LONGEST_ID or not value.isprintable():
        raise RejectedError(
            "undecodable", f"the attribute {name} must be 1 to {LONGEST_ID} printable characters"
        )
    return value


def checked_trace(value: str | None) -> str | None:
    """A ``traceparent``; what is none is left out, for it is no part of the command."""
    return value if value is not None and _TRACEPARENT.fullmatch(value) else None


def _nothing(_: object) -> bytes:
    """No answer is kept: nobody waits for one."""
    return b""
