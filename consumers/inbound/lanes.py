"""The messages that are under way: in order where order counts, side by side where it does not.

Messages of one key (without a key: about the same person) form a lane, and a lane is worked
off in order. Lanes go side by side, because commands that are stored at the same time share
a transaction. A partition is done up to the first message that is not.
"""

import asyncio
from collections import deque
from collections.abc import Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from uuid import UUID

import structlog

from consumers.inbound.carrying import Carrier, GoneError, Inlet, Outcome
from consumers.inbound.requests import RejectedError
from consumers.inbound.store import Moved, Store
from consumers.kafka.client import Message, Partition
from domain.errors import UnavailableError

logger = structlog.get_logger(__name__)

SIDE_BY_SIDE: Final = 1000
"""Messages under way at a time; more would only wait for each other."""

MOST_BYTES: Final = 64 * 1024 * 1024
"""Of the messages under way."""

MOST_KEPT: Final = 20_000
"""Messages that are done, but not counted as done because one before them is not."""

SUSPICIOUS: Final = 3
"""So many beginnings without any progress, and what comes next is taken with care."""

CAREFUL_FOR: Final = 2000
"""Messages that are taken with care then: about as many as may have been under way."""

SAVE_EVERY: Final = 0.25
"""Seconds; what is done after that is repeated when the process is killed."""


@dataclass(slots=True)
class _Entry:
    """A place in a partition. The message itself is let go of with its lane."""

    offset: int
    outcome: Outcome | None = None


@dataclass(slots=True)
class _Track:
    """A partition that is read."""

    inlet: Inlet
    topic_id: UUID
    expected: int
    careful_until: int = -1
    saved: int | None = None
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    entries: deque[_Entry] = field(default_factory=deque)
    lanes: dict[object, deque[tuple[_Entry, Message]]] = field(default_factory=dict)
    counts: dict[Outcome, int] = field(default_factory=dict)
    done: int | None = None

    def advance(self) -> None:
        """Count what is done without a gap."""
        while self.entries and (outcome := self.entries[0].outcome) is not None:
            entry = self.entries.popleft()
            self.done = entry.offset + 1
            self.counts[outcome] = self.counts.get(outcome, 0) + 1


class Standing(NamedTuple):
    """How much is under way, and what is done for good.

    Attributes:
        full: there is enough of it.
        saved: where partitions have to be gone on with, of those that moved lately.
    """

    full: bool
    saved: Mapping[Partition, int]


class Lanes:
    """Works off messages. For the tasks of one event loop."""

    def __init__(self, carrier: Carrier, store: Store, inlets: Collection[Inlet]) -> None:
        self._carrier = carrier
        self._store = store
        self._inlets = {inlet.topic: inlet for inlet in inlets}
        self._tracks: dict[Partition, _Track] = {}
        self._under_way = 0
        self._bytes = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._saver: asyncio.Task[None] | None = None
        self._saving = asyncio.Lock()
        self._idle = asyncio.Event()
        self._idle.set()
        self._saved: dict[Partition, int] = {}
        self._failure: BaseException | None = None

    async def begin(self, partitions: Mapping[Partition, UUID]) -> Mapping[Partition, int | None]:
        """Take up partitions of topics with these ids; answers where to begin.

        Raises:
            UnavailableError: the database does not answer.
        """
        if not partitions:
            return {}
        found = await self._store.begin(partitions)
        for partition, (next_offset, begun) in found.items():
            track = _Track(self._inlets[partition.topic], partitions[partition], next_offset or 0)
            if begun > SUSPICIOUS:
                track.careful_until = track.expected + CAREFUL_FOR
                logger.warning(
                    "messages are handled one by one, since one may have ended the process",
                    topic=partition.topic,
                    partition=partition.number,
                    offset=track.expected,
                )
            self._tracks[partition] = track
        return {partition: beginning.next_offset for partition, beginning in found.items()}

    async def end(self, partitions: Collection[Partition]) -> None:
        """Give partitions away: begin nothing new of them, and keep how far they are."""
        for partition in partitions:
            if (track := self._tracks.get(partition)) is not None:
                track.gone.set()
        # What could not be kept is repeated by whoever comes next.
        with suppress(UnavailableError, TimeoutError):
            async with asyncio.timeout(SAVE_EVERY * 8):
                await self._save(partitions)
                mine = [p for p in partitions if (t := self._tracks.get(p)) and not t.entries]
                if mine:
                    await self._store.rest(mine)
        for partition in partitions:
            self._tracks.pop(partition, None)

    async def skip(self, partition: Partition, held: range) -> int:
        """Find a place in a partition that holds these offsets, and not the one wanted next.

        Before the first: the broker has deleted what nobody had read in time. After the last:
        it has lost what was read already. Neither comes back.
        """
        track = self._tracks[partition]
        offset = held.start if track.expected < held.start else held.stop
        logger.error(
            "messages are missing in an inbound topic",
            topic=partition.topic,
            partition=partition.number,
            wanted=track.expected,
            going_on_at=offset,
        )
        await self._store.place(partition, track.topic_id, offset)
        track.expected = offset
        return offset

    async def close(self, within: float) -> None:
        """End what is under way still, and wait for it."""
        for track in self._tracks.values():
            track.gone.set()
        if self._saver is not None:
            self._saver.cancel()
        if self._tasks:
            _, left = await asyncio.wait(self._tasks, timeout=within)
            for task in left:
                task.cancel()
            if left:
                await asyncio.wait(left)

    async def take(self, messages: Sequence[Message]) -> Standing:
        """Begin with messages; returns at once.

        Raises:
            RuntimeError: work on an earlier message has failed in a way that nobody foresaw.
        """
        if self._failure is not None:
            raise RuntimeError("work on inbound messages failed") from self._failure
        for message in messages:
            track = self._tracks.get(message.partition)
            # Read before the partition was given away, or before it was told where to begin.
            if track is None or message.offset < track.expected:
                continue
            track.expected = message.offset + 1
            entry = _Entry(message.offset)
            track.entries.append(entry)
            key = _lane_of(track, message)
            lane = track.lanes.get(key)
            if lane is not None:
                lane.append((entry, message))
            else:
                track.lanes[key] = deque([(entry, message)])
                self._start(self._work(track, key))
            self._under_way += 1
            self._bytes += len(message.value or b"")
            self._idle.clear()
        return self.standing()

    def standing(self) -> Standing:
        """How much is under way; tells each saved offset once."""
        saved, self._saved = self._saved, {}
        kept = sum(len(track.entries) for track in self._tracks.values())
        full = self._under_way >= SIDE_BY_SIDE or kept >= MOST_KEPT or self._bytes >= MOST_BYTES
        return Standing(full, saved)

    async def drain(self, within: float) -> None:
        """Wait until nothing is under way any more, and what is done is kept; not for ever."""
        with suppress(TimeoutError, UnavailableError):
            async with asyncio.timeout(within):
                await self._idle.wait()
                await self._save(list(self._tracks))

    async def _work(self, track: _Track, key: object) -> None:
        lane = track.lanes[key]
        try:
            while lane and not track.gone.is_set():
                entry, message = lane[0]
                careful = message.offset < track.careful_until
                entry.outcome = await self._carrier.handle(
                    track.inlet, track.topic_id, message, gone=track.gone, careful=careful
                )
                lane.popleft()
                self._finish([message])
                track.advance()
                if careful:
                    await self._save([message.partition])
                else:
                    self._save_soon()
        except GoneError:
            pass
        finally:
            del track.lanes[key]
            self._finish([message for _, message in lane])

    def _finish(self, messages: Sequence[Message]) -> None:
        self._under_way -= len(messages)
        self._bytes -= sum(len(message.value or b"") for message in messages)
        if not self._under_way:
            self._idle.set()

    # --- keeping how far it is ------------------------------------------------------------------

    def _save_soon(self) -> None:
        if self._saver is None:
            self._saver = self._start(self._save_later())

    async def _save_later(self) -> None:
        try:
            await asyncio.sleep(SAVE_EVERY)
        finally:
            self._saver = None
        try:
            await self._save(list(self._tracks))
        except UnavailableError as error:
            logger.warning("it could not be kept how far topics are read", error=str(error))
            self._save_soon()

    async def _save(self, partitions: Collection[Partition]) -> None:
        async with self._saving:
            moved: dict[Partition, Moved] = {}
            for partition in sorted(partitions):
                track = self._tracks.get(partition)
                if track is None or track.done is None or track.done == track.saved:
                    continue
                counts, track.counts = track.counts, {}
                moved[partition] = Moved(
                    track.topic_id,
                    track.done,
                    counts.get(Outcome.CARRIED_OUT, 0),
                    counts.get(Outcome.REPEATED, 0),
                    counts.get(Outcome.PARKED, 0),
                    track.done >= track.careful_until,
                )
            if not moved:
                return
            try:
                await self._store.move(moved)
            except UnavailableError:
                for partition, one in moved.items():
                    self._restore(partition, one)
                raise
            for partition, one in moved.items():
                if (track := self._tracks.get(partition)) is not None:
                    track.saved = one.next_offset
                    self._saved[partition] = one.next_offset

    def _restore(self, partition: Partition, moved: Moved) -> None:
        track = self._tracks.get(partition)
        if track is None:
            return
        counts = (moved.carried_out, moved.repeated, moved.rejected)
        outcomes = (Outcome.CARRIED_OUT, Outcome.REPEATED, Outcome.PARKED)
        for outcome, count in zip(outcomes, counts, strict=True):
            track.counts[outcome] = track.counts.get(outcome, 0) + count

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # A lane that stopped holds its partition up for good: begin anew.
            logger.error("work on inbound messages failed", exc_info=error)
            self._failure = error


def _lane_of(track: _Track, message: Message) -> object:
    """What a message must stay in order with."""
    if message.offset < track.careful_until:
        return None
    if message.key is not None:
        return message.key
    try:
        request = track.inlet.decode(message)
    except RejectedError:
        return message.offset
    except Exception:  # noqa: BLE001 - met again, and told, when it is handled
        return message.offset
    return message.offset if request is None else request.about
