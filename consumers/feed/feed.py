"""Feeds a read model from the topics of the log, in a database that has no log of its own.

Members of a group share the partitions. What a member makes of the events of its partitions,
and how far it is with each, is one transaction (``following``). The courses have rows of their
own and are folded side by side; the few events that change what courses share, the users, are
folded with nobody beside them, so that no fold misses what another is just writing.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from uuid import UUID

import psycopg
import structlog
from psycopg import Connection

from consumers.feed import database as feed_database
from consumers.following.followed import PartitionState
from consumers.following.following import BATCH, Following
from consumers.following.offsets import Offsets
from consumers.following.reader_database import DatabaseGoneError
from consumers.kafka.client import Client, Message, Partition
from consumers.messages import Reached, place_in_log, topic_names
from domain.errors import UnavailableError
from domain.events import Recorded
from projections.bulk import fetch
from projections.read_model import ReadModel, Row
from projections.telling import in_one_line

logger = structlog.get_logger(__name__)

SHOW_EVERY: Final = 5.0
"""Seconds between two signs of life."""

KEYS_AWAY: Final = 15.0
"""Seconds for which keys that could not be read count as away; they are tried more often."""

Opened = Callable[[Sequence[Recorded]], Sequence[Recorded]]
"""Opens what identifies people in events. If it cannot now, it fails as a lost database does, or
with ``UnavailableError``, whose text anybody may read."""

# The first statement of a fold. Each later one sees what was committed before it, so who waits
# here for the others sees all of what they wrote. Both last as long as the transaction.
_BESIDE_OTHERS: Final = """
SELECT set_config('search_path', %b, true),
    pg_advisory_xact_lock_shared(hashtextextended('gradelog shares ' || %b, 0))
"""
_ALONE: Final = """
SELECT set_config('search_path', %b, true),
    pg_advisory_xact_lock(hashtextextended('gradelog shares ' || %b, 0))
"""


class Feed:
    """A read model, as a member of the group that keeps it up to date."""

    def __init__(
        self,
        client: Client,
        connect: Callable[[], Connection[Row]],
        model: type[ReadModel],
        *,
        prefix: str,
        member: UUID,
        opened: Opened,
        moved: Callable[[], None],
        batch: int = BATCH,
    ) -> None:
        """Make a member, which joins when it runs.

        Args:
            client: connects to Kafka.
            connect: opens a connection to the database of the read model, in autocommit mode.
            model: what to feed.
            prefix: of the topics.
            member: how it is told from others.
            opened: opens what identifies people.
            moved: called when something is about to be committed.
            batch: most messages in one transaction.
        """
        self.model = model
        self.schema = model.schema()
        self.offsets = Offsets(f"{prefix}.{self.schema}")
        self._instance = model.copying()
        self._member = member
        self._opened = opened
        self._moved = moved
        self._ahead: Mapping[Partition, int] = {}
        self._keys_trouble, self._keys_away_until = "", 0.0
        self._told: dict[Partition, int] | None = None
        self._told_errors: dict[Partition, str | None] = {}
        self._told_caught_up: frozenset[Partition] = frozenset()
        self._shown: tuple[str | None, int] = (None, 0)
        self._show_at = 0.0
        self.following = Following(
            client,
            connect,
            group=self.offsets.subscription,
            topics=topic_names(prefix),
            offsets=self.offsets,
            apply=self._apply,
            types=model.folds,
            batch=batch,
            on_marks=self._marked,
            on_bad=_is_of_others,
            on_caught_up=self._caught_up,
        )

    # --- inside the transaction that moves the partitions -----------------------------------

    def _apply(
        self, db: Connection[Row], events: Sequence[Recorded], positions: Mapping[Partition, int]
    ) -> None:
        if events:
            # Before the others are kept away: the keys may be far from here.
            opened = self._open(events)
            shared = self._instance.shared
            alone = any(type(recorded.event) in shared for recorded in events)
            fetch(db, _ALONE if alone else _BESIDE_OTHERS, self.schema, self.schema)
            self._instance.fold(db, opened)
        self._ahead = positions
        self._moved()

    def _open(self, events: Sequence[Recorded]) -> Sequence[Recorded]:
        """Open what identifies people.

        Raises:
            DatabaseGoneError: its keys cannot be read; nothing is wrong with the events.
        """
        try:
            opened = self._opened(events)
        except (psycopg.Error, UnavailableError) as error:
            # Anybody may ask how a read model is, and what the driver says may name servers and
            # users.
            self._keys_trouble = (
                str(error)
                if isinstance(error, UnavailableError)
                else f"the learners' keys cannot be read ({type(error).__name__})"
            )
            self._keys_away_until = time.monotonic() + KEYS_AWAY
            raise DatabaseGoneError(f"the learners' keys: {in_one_line(error)}") from error
        if opened is not events:
            self._keys_away_until = 0.0
        return opened

    def _marked(self, db: Connection[Row], marks: Mapping[Partition, Reached]) -> None:
        feed_database.tell_graded(db, list(marks.values()))

    # --- after it ---------------------------------------------------------------------------

    def _caught_up(self, _db: Connection[Row]) -> None:
        self._told = None
        self._moved()

    def has_news(self) -> bool:
        """Whether readers have not been told yet of all that is committed."""
        return self.following.positions != self._told

    def is_waiting(self) -> bool:
        """Whether something was folded and is not committed, as far as it is still ours."""
        reached, ahead = self.following.positions, self._ahead
        return any(reached[p] < position for p, position in ahead.items() if p in reached)

    def tell(self, db: Connection[Row]) -> None:
        """Let readers know how far the read model is, and what stands still."""
        reached, states = self.following.positions, self.following.state()
        errors = {partition: _error_of(partition, state) for partition, state in states.items()}
        if errors != self._told_errors:
            if errors:
                feed_database.tell_errors(db, self.schema, errors)
            self._told_errors = errors
        caught_up = frozenset(p for p, state in states.items() if _is_caught_up(state))
        if new := caught_up - self._told_caught_up:
            feed_database.caught_up(db, self.schema, sorted(new))
            self._told_caught_up |= new
        feed_database.tell(db, self.schema, self.offsets)
        self._told = reached
        self._show(db, list(states.values()))

    def _show(self, db: Connection[Row], states: Sequence[PartitionState]) -> None:
        """Give a sign of life from time to time, and at once when there is something to tell."""
        trouble = self.trouble
        told = trouble, len(states)
        if told == self._shown and time.monotonic() < self._show_at:
            return
        lags = [state.lag for state in states]
        feed_database.tell_member(
            db,
            self.schema,
            self._member,
            partitions=len(states),
            messages_left=None if None in lags else sum(filter(None, lags)),
            trouble=trouble,
        )
        self._shown, self._show_at = told, time.monotonic() + SHOW_EVERY

    @property
    def trouble(self) -> str | None:
        """Why nothing more is applied although no event is at fault; None if nothing is wrong."""
        if time.monotonic() < self._keys_away_until:
            return self._keys_trouble
        return self.following.error

    def forget_told(self) -> None:
        """Tell everything again: it may not have been written."""
        self._told = None
        self._told_errors = {}
        self._told_caught_up = frozenset()
        self._show_at = 0.0


def _error_of(partition: Partition, state: PartitionState) -> str | None:
    if state.error is None:
        return None
    return f"{partition.topic}[{partition.number}], after position {state.position}: {state.error}"


def _is_caught_up(state: PartitionState) -> bool:
    """Whether all is applied that stood in a partition a moment ago; more may have come since.

    One in which nothing ever stood, not even a mark, may be one that nobody has published to yet.
    """
    return bool(state.position) and state.lag == 0


def _is_of_others(_db: Connection[Row], message: Message, error: Exception) -> bool:
    """Whether a message that cannot be read is passed over: if it has no place in the log.

    Whoever may write to a topic could stop every read model for good otherwise. Nothing can
    be lost by it: if it was an event once, the next one says that something is missing.
    """
    if place_in_log(message) is not None:
        return False
    logger.warning(
        "message is not of the log, passed over",
        topic=message.partition.topic,
        partition=message.partition.number,
        offset=message.offset,
        error=str(error),
    )
    return True
