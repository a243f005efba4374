"""The messages that are under way: in order where order counts, side by side where it does not.

Messages of one key (without a key: about the same person) form a lane, and a lane is worked
off in order. Lanes go side by side, because commands that are stored at the same time share
a transaction. A partition is done up to the first message that is not.
"""

import asyncio
from collections.abc import Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple
from uuid import UUID

import structlog

from consumers.inbound.carrying import Carrier, GoneError, Inlet
from consumers.inbound.store import Moved, Store
from consumers.inbound.tracks import CAREFUL, Track
from consumers.kafka.client import Message, Partition
from domain.errors import UnavailableError

logger = structlog.get_logger(__name__)

SIDE_BY_SIDE: Final = 1000
"""Messages under way at a time; more would only wait for each other."""

MOST_BYTES: Final = 64 * 1024 * 1024
"""Of the messages under way."""

MOST_KEPT: Final = 20_000
"""Messages of a partition that are done, but not counted as done because one before them is not."""

SUSPICIOUS: Final = 3
"""So many beginnings without any progress, and what comes next is taken with care."""

SAVE_EVERY: Final = 0.25
"""Seconds; what is done after that is repeated when the process is killed."""

READ_AGAIN: Final = 1000
"""Messages at the end of a partition that are read once more when the broker has lost some."""


class Standing(NamedTuple):
    """How much is under way, and what is done for good.

    Attributes:
        full: partitions of which there is enough.
        saved: where partitions have to be gone on with, of those that moved lately.
    """

    full: frozenset[Partition]
    saved: Mapping[Partition, int]


class Lanes:
    """Works off messages. For the tasks of one event loop."""

    def __init__(self, carrier: Carrier, store: Store, inlets: Collection[Inlet]) -> None:
        self._carrier = carrier
        self._store = store
        self._inlets = {inlet.topic: inlet for inlet in inlets}
        self._tracks: dict[Partition, Track] = {}
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
            suspicious = begun > SUSPICIOUS
            self._tracks[partition] = Track(
                self._inlets[partition.topic],
                partitions[partition],
                next_offset or 0,
                suspicious=suspicious,
            )
            if suspicious:
                logger.warning(
                    "messages are handled one by one, since one may have ended the process",
                    topic=partition.topic,
                    partition=partition.number,
                    offset=next_offset,
                )
        return {partition: beginning.next_offset for partition, beginning in found.items()}

    async def end(self, partitions: Collection[Partition]) -> None:
        """Give partitions away: begin nothing new of them, and keep how far they are."""
        ending = {p: track for p in partitions if (track := self._tracks.get(p)) is not None}
        for track in ending.values():
            track.leave()
        # What could not be kept is repeated by whoever comes next.
        with suppress(UnavailableError, TimeoutError):
            async with asyncio.timeout(SAVE_EVERY * 8):
                await self._save(ending)
                idle = [partition for partition, track in ending.items() if not track.entries]
                if idle:
                    await self._store.rest(idle)
        for partition, track in ending.items():
            if self._tracks.get(partition) is track:
                del self._tracks[partition]

    async def skip(self, partition: Partition, held: range) -> int:
        """Find a place in a partition that holds these offsets, and not the one wanted next.

        Before the first: the broker has deleted what nobody had read in time. Else it has lost
        what was read already, and other messages may stand in its place by now: the last ones
        are read once more, and their ids tell which of them were carried out.
        """
        track = self._tracks[partition]
        offset = held.start
        if track.expected >= held.start:
            offset = max(offset, min(track.expected, held.stop) - READ_AGAIN)
        logger.error(
            "messages are missing in an inbound topic",
            topic=partition.topic,
            partition=partition.number,
            wanted=track.expected,
            going_on_at=offset,
        )
        # What is under way still is carried out, and tells no more how far the partition is:
        # other messages may stand there by now.
        async with self._saving:
            await self._store.place(partition, track.topic_id, offset)
            self._tracks[partition] = track.anew(offset)
        return offset

    async def close(self, within: float) -> None:
        """End what is under way still, and wait for it."""
        for track in self._tracks.values():
            track.leave()
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
            key, is_new = track.take(message)
            if is_new:
                self._start(self._work(track, key))
            self._under_way += 1
            self._bytes += len(message.value or b"")
            self._idle.clear()
        return self.standing()

    def standing(self) -> Standing:
        """How much is under way; tells each saved offset once."""
        saved, self._saved = self._saved, {}
        if self._under_way >= SIDE_BY_SIDE or self._bytes >= MOST_BYTES:
            return Standing(frozenset(self._tracks), saved)
        # Where one message waits, the other partitions go on.
        full = [p for p, track in self._tracks.items() if len(track.entries) >= MOST_KEPT]
        return Standing(frozenset(full), saved)

    async def drain(self, within: float) -> None:
        """Wait until nothing is under way any more, and what is done is kept; not for ever."""
        with suppress(TimeoutError, UnavailableError):
            async with asyncio.timeout(within):
                await self._idle.wait()
                await self._save(list(self._tracks))

    async def _work(self, track: Track, key: object) -> None:
        lane = track.lanes[key]
        careful = key is CAREFUL
        try:
            if not careful:
                await track.calm.wait()  # messages of the same key may stand before it there
            while lane and not track.gone.is_set():
                entry, message = lane[0]
                entry.outcome = await self._carrier.handle(
                    track.inlet, track.topic_id, message, gone=track.gone, careful=careful
                )
                lane.popleft()
                self._finish([message])
                track.advance()
                if not (careful and await self._saved_now(message.partition)):
                    self._save_soon()
            if careful:
                track.calm.set()
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

    async def _saved_now(self, partition: Partition) -> bool:
        try:
            await self._save([partition])
        except UnavailableError:
            return False
        return True

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
                if track is not None and (one := track.moved()) is not None:
                    moved[partition] = one
            if not moved:
                return
            try:
                await self._store.move(moved)
            except UnavailableError:
                for partition, one in moved.items():
                    if (track := self._tracks.get(partition)) is not None:
                        track.put_back(one)
                raise
            for partition, one in moved.items():
                if (track := self._tracks.get(partition)) is not None:
                    track.saved = one.next_offset
                    self._saved[partition] = one.next_offset

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
