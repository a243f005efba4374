"""A partition that is read: what of it is under way, and how far it is done."""

import asyncio
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from consumers.inbound.carrying import Inlet, Outcome
from consumers.inbound.requests import RejectedError
from consumers.inbound.store import Moved
from consumers.kafka.client import Message

CAREFUL_FOR: Final = 2000
"""Messages that are taken with care: about as many as may have been under way."""

CAREFUL: Final = None
"""The lane of what is taken with care, one message after the other."""


@dataclass(slots=True)
class Entry:
    """A place in a partition. The message itself is let go of with its lane."""

    offset: int
    outcome: Outcome | None = None


Lane = deque[tuple[Entry, Message]]


@dataclass(slots=True)
class Track:
    """A partition that is read.

    Attributes:
        inlet: how its messages are read.
        topic_id: of its topic; one that is made anew has another.
        expected: offset of the message that comes next, or of one before it.
        suspicious: what comes next may have ended a process.
        careful_until: offset before which messages are taken with care.
        done: everything before it is done; None as long as nothing is.
        saved: what of that is kept.
        gone: set when it is somebody else's.
        calm: not set as long as something is taken with care.
        entries: what was taken, up to the first that is not done.
        lanes: what is under way or waits for that.
        counts: what became of messages since this was kept last.
        before: the same partition, with what was under way when it was begun anew.
    """

    inlet: Inlet
    topic_id: UUID
    expected: int
    suspicious: bool = False
    careful_until: int = -1
    done: int | None = None
    saved: int | None = None
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    calm: asyncio.Event = field(default_factory=asyncio.Event)
    entries: deque[Entry] = field(default_factory=deque)
    lanes: dict[object, Lane] = field(default_factory=dict)
    counts: Counter[Outcome] = field(default_factory=Counter)
    before: "Track | None" = None

    def __post_init__(self) -> None:
        self.calm.set()

    def take(self, message: Message) -> tuple[object, bool]:
        """Put a message into its lane; which that is, and whether it is a new one."""
        if self.suspicious:
            # Counted from what is there: the first messages may have been deleted long ago.
            self.suspicious = False
            self.careful_until = message.offset + CAREFUL_FOR
        self.expected = message.offset + 1
        entry = Entry(message.offset)
        self.entries.append(entry)
        key = self._lane_of(message)
        lane = self.lanes.get(key)
        if lane is not None:
            lane.append((entry, message))
            return key, False
        self.lanes[key] = deque([(entry, message)])
        if key is CAREFUL:
            self.calm.clear()
        return key, True

    def advance(self) -> None:
        """Count what is done without a gap."""
        while self.entries and (outcome := self.entries[0].outcome) is not None:
            self.done = self.entries.popleft().offset + 1
            self.counts[outcome] += 1

    def leave(self) -> None:
        """Begin nothing new."""
        self.gone.set()
        self.calm.set()
        if self.before is not None:
            self.before.leave()

    def anew(self, offset: int) -> "Track":
        """The same partition from another place on, whatever becomes of what is under way."""
        return Track(
            self.inlet,
            self.topic_id,
            offset,
            self.suspicious,
            self.careful_until,
            before=self if self.lanes else None,
        )

    def moved(self) -> Moved | None:
        """How far it is done, if that is further than what is kept."""
        if self.done is None or self.done == self.saved:
            return None
        counts, self.counts = self.counts, Counter()
        return Moved(
            self.topic_id,
            self.done,
            counts[Outcome.CARRIED_OUT],
            counts[Outcome.REPEATED],
            counts[Outcome.PARKED],
            self.done >= self.careful_until,
        )

    def put_back(self, moved: Moved) -> None:
        """Count again what could not be kept."""
        self.counts[Outcome.CARRIED_OUT] += moved.carried_out
        self.counts[Outcome.REPEATED] += moved.repeated
        self.counts[Outcome.PARKED] += moved.rejected

    def _lane_of(self, message: Message) -> object:
        """What a message must stay in order with."""
        if message.offset < self.careful_until:
            return CAREFUL
        if message.key is not None:
            return message.key
        try:
            request = self.inlet.decode(message)
        except RejectedError:
            return message.offset
        except Exception:  # noqa: BLE001 - met again, and told, when it is handled
            return message.offset
        return message.offset if request is None else request.about
