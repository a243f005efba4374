"""Carries out the command of one message, and knows what to make of each way to fail."""

import asyncio
import random
from dataclasses import dataclass
from enum import Enum
from typing import Final
from uuid import UUID

import structlog

from consumers.inbound.parked import Parked, Selection
from consumers.inbound.requests import Commands, Decoder, Once, RejectedError
from consumers.inbound.store import Store
from consumers.kafka.client import Message
from domain.errors import (
    ConflictError,
    DomainError,
    IdempotencyKeyReusedError,
    OutcomeUnknownError,
    UnavailableError,
)

logger = structlog.get_logger(__name__)

MOST_ATTEMPTS: Final = 3
"""How often a message is tried that meets a defect of ours."""

DEFECT: Final = "defect"
REUSED: Final = "reused id"

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 5.0
"""Seconds before something is tried again that may go better then."""

TELL_EVERY: Final = 5.0

PASSING: Final = (UnavailableError, OutcomeUnknownError, ConflictError)
"""What is never the fault of a message: it waits until that is over. Whether a command was
stored whose outcome is unknown is found out by its id."""


class Outcome(Enum):
    """What became of a message."""

    CARRIED_OUT = "carried out"
    REPEATED = "repeated"
    PARKED = "parked"
    IGNORED = "ignored"


class GoneError(Exception):
    """The partition is somebody else's now: whoever that is carries the message out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inlet:
    """A topic that carries commands.

    Attributes:
        kind: what its messages are about, for the record of those that are parked.
        topic: its name.
        decode: reads its messages.
        ours: it is made where it is missing; a topic of others is waited for.
    """

    kind: str
    topic: str
    decode: Decoder
    ours: bool = True


class Carrier:
    """Carries out messages against the log."""

    def __init__(self, commands: Commands, store: Store) -> None:
        self._commands = commands
        self._store = store
        self._told_at = -TELL_EVERY

    async def handle(
        self,
        inlet: Inlet,
        topic_id: UUID,
        message: Message,
        *,
        gone: asyncio.Event,
        careful: bool = False,
    ) -> Outcome:
        """Carry out a message, or park it; returns when either is durable, however long it takes.

        ``careful``: the message may end this process, so the try is counted before it is made.

        Raises:
            GoneError: the partition was given away before.
        """
        pause = FIRST_PAUSE
        counted = not careful
        while True:
            try:
                if not counted:
                    attempts, error = await self._store.count_attempt(topic_id, message, None)
                    if attempts > MOST_ATTEMPTS:
                        detail = error or "the process ended each time while it was handled"
                        await self._park(inlet, topic_id, message, DEFECT, detail, attempts - 1)
                        return Outcome.PARKED
                    counted = True
                return await self._tried(inlet, topic_id, message, count=not careful)
            except PASSING as error:
                self._tell_waiting(message, error)
                if careful and counted:
                    counted = not await self._forgiven(topic_id, message)
            except _AgainError:
                counted = not careful
            if gone.is_set():
                raise GoneError
            try:
                async with asyncio.timeout(pause * random.uniform(0.5, 1)):  # noqa: S311
                    await gone.wait()
                raise GoneError
            except TimeoutError:
                pause = min(pause * 2, LONGEST_PAUSE)

    async def replay(self, inlet: Inlet, parked: Parked) -> RejectedError | None:
        """Carry out a parked message now; it is parked no more, or else the answer says why.

        Raises:
            UnavailableError: the database does not answer; it stays as it is.
            OutcomeUnknownError: the same; doing so again does no harm.
        """
        failure: RejectedError | None = None
        if parked.cut_off:
            failure = RejectedError(
                parked.reason, "too large to be kept whole; it must be sent again"
            )
        else:
            try:
                await self.carry_out(inlet, parked.message)
            except RejectedError as rejected:
                failure = rejected
            except ConflictError as conflict:
                failure = RejectedError(type(conflict).__name__, str(conflict))
            except (UnavailableError, OutcomeUnknownError):
                raise
            except Exception as error:
                logger.exception("a parked message met a defect", id=parked.id)
                failure = RejectedError(DEFECT, _told(error))
        if failure is None:
            await self._store.drop(Selection(ids=[parked.id]))
        else:
            await self._store.tried(parked, failure.reason, failure.detail)
        return failure

    async def carry_out(self, inlet: Inlet, message: Message) -> Outcome:
        """Carry out a message once.

        Raises:
            RejectedError: it can never be carried out as it stands and things are.
            ConflictError: others were quicker again and again.
            UnavailableError: nothing was written, and cannot be at the moment.
            OutcomeUnknownError: the answer of the database was lost.
        """
        request = inlet.decode(message)
        if request is None:
            return Outcome.IGNORED
        commands = self._commands
        once = Once(request.key, request.fingerprint, commands.clock() + commands.lifetime)
        try:
            done = await request.carry_out(commands, once, request.provenance)
        except DomainError as refusal:
            if type(refusal) is ConflictError:
                raise
            # What stands in the way now may be what the message itself has brought about.
            held = (await commands.log.find_claims([once.key])).get(once.key)
            if held is not None and held.payload == once.fingerprint:
                return Outcome.REPEATED
            if held is not None or isinstance(refusal, IdempotencyKeyReusedError):
                raise RejectedError(
                    REUSED, f"{request.source} has sent another message with this id before"
                ) from refusal
            raise RejectedError(type(refusal).__name__, _told(refusal)) from refusal
        return Outcome.CARRIED_OUT if done.replay is None else Outcome.REPEATED

    async def _forgiven(self, topic_id: UUID, message: Message) -> bool:
        """Take back a try that did not end the process, if the database can be reached."""
        try:
            await self._store.forgive(topic_id, message)
        except UnavailableError:
            return False
        return True

    def _tell_waiting(self, message: Message, error: Exception) -> None:
        """Say that messages wait; not for each of a thousand."""
        now = asyncio.get_running_loop().time()
        if now - self._told_at >= TELL_EVERY:
            self._told_at = now
            logger.warning("inbound messages wait", **_place(message), error=str(error))

    async def _tried(
        self, inlet: Inlet, topic_id: UUID, message: Message, *, count: bool
    ) -> Outcome:
        try:
            return await self.carry_out(inlet, message)
        except RejectedError as rejected:
            await self._park(inlet, topic_id, message, rejected.reason, rejected.detail, 1)
            return Outcome.PARKED
        except PASSING:
            raise
        except Exception as error:
            logger.exception("an inbound message met a defect", **_place(message))
            if not count:  # it was counted before
                await self._store.note_error(topic_id, message, _told(error))
                raise _AgainError from error
            attempts, _ = await self._store.count_attempt(topic_id, message, _told(error))
            if attempts < MOST_ATTEMPTS:
                raise _AgainError from error
            await self._park(inlet, topic_id, message, DEFECT, _told(error), attempts)
            return Outcome.PARKED

    async def _park(
        self,
        inlet: Inlet,
        topic_id: UUID,
        message: Message,
        reason: str,
        detail: str,
        attempts: int,
    ) -> None:
        logger.warning("an inbound message is parked", **_place(message), reason=reason)
        await self._store.park(inlet.kind, topic_id, message, reason, detail, attempts)


class _AgainError(Exception):
    """A defect that is tried once more."""


def _place(message: Message) -> dict[str, object]:
    return {
        "topic": message.partition.topic,
        "partition": message.partition.number,
        "offset": message.offset,
    }


def _told(error: Exception) -> str:
    """What is wrong, in one line."""
    if errors := getattr(error, "field_errors", None):
        return "; ".join(f"{name}: {' '.join(messages)}" for name, messages in errors.items())
    if error.args and isinstance(error.args[0], dict):
        return "; ".join(f"{name}: {' '.join(map(str, m))}" for name, m in error.args[0].items())
    return f"{type(error).__name__}: {error}" if not isinstance(error, DomainError) else str(error)
