"""What the interfaces need from below, so that they need not know who provides it."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar
from uuid import UUID

from api.event_pages import EventPages
from api.feed import FeedStatus
from api.inbound import InboundStatus
from api.sessions import Sessions
from api.webhooks import Webhooks
from domain.courses.application import Courses
from domain.events import Recorded
from domain.grades.application import Grades
from domain.learners.application import Learners
from domain.submissions.application import Submissions
from projections.read_model import Answer, Query, ReadModel, StreamQuery

T = TypeVar("T")


class Reads(Protocol):
    """Asks read models, after they have applied what the reader must see."""

    async def ask(self, query: Query[T], *, at_least: int = 0, latest: bool = False) -> Answer[T]:
        """Answer one question.

        Args:
            query: the question.
            at_least: log position that the read model must have applied.
            latest: wait for the head of the log as it is now: read your own writes.

        Raises:
            UnavailableError: the read model is behind for too long, stopped, or not built.
        """

    def stream(
        self, query: StreamQuery[T], *, at_least: int = 0, latest: bool = False
    ) -> AbstractAsyncContextManager[Answer[AsyncIterator[Sequence[T]]]]:
        """Answer a large question in chunks, all of one snapshot."""

    async def positions(self) -> Mapping[str, "ReadModelStatus"]:
        """Where each read model of this version stands, by name."""


@dataclass(frozen=True, slots=True)
class ReadModelStatus:
    """Where a read model stands. ``state`` is serving, building, failed or missing."""

    model: type[ReadModel]
    state: str
    position: int
    head: int
    error: str | None = None

    @property
    def lag(self) -> int:
        """How many events it has not applied yet."""
        return max(0, self.head - self.position)


class EventReader(Protocol):
    """Reads the log itself."""

    async def read_recorded_stream(self, stream_id: UUID, *, until: int = ...) -> list[Recorded]:
        """One stream with who, when and why, up to and including a position."""

    async def position_at(self, moment: datetime) -> int:
        """The last position recorded at or before a moment; 0 when there is none."""

    async def head(self) -> int:
        """The last position of the log; 0 when it is empty."""


class Opener(Protocol):
    """Opens what was sealed for a learner, once its key is loaded."""

    def open(self, sealed: str, context: str) -> str:
        """Return the text.

        Raises:
            KeyDestroyedError: the learner was erased.
        """


class Vault(Opener, Protocol):
    """Loads keys and opens."""

    async def load(self, sealed: Iterable[str]) -> None:
        """Make the keys of these texts ready for ``open``."""


@dataclass(frozen=True, slots=True)
class Recalculation:
    """How far the learners of a course are graded anew.

    Attributes:
        course_id: which course.
        position: of the event that made it necessary.
        reason: ``policy`` or ``outline``.
        total: how many learners there are to grade.
        done: how many of them are.
        changed: how many of those have other grades now.
        requested_at: when it was taken up.
        started_at: when the first learner was graded; None before.
        updated_at: when the last ones were.
        finished_at: None while it goes on.
        error: why it cannot go on at the moment; it is tried again.
    """

    course_id: str
    position: int
    reason: str
    total: int
    done: int
    changed: int
    requested_at: datetime
    started_at: datetime | None
    updated_at: datetime
    finished_at: datetime | None
    error: str | None = None

    @property
    def fraction(self) -> float:
        """How much is done. Learners may come meanwhile: it is over when it says so."""
        if self.finished_at is not None:
            return 1.0
        return min(self.done / self.total, 1.0) if self.total else 0.0

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at the rate so far; None before there is one."""
        if self.finished_at is not None:
            return 0.0
        if self.started_at is None or not self.done:
            return None
        seconds = (self.updated_at - self.started_at).total_seconds()
        return round(seconds / self.done * max(self.total - self.done, 0), 1)


@dataclass(frozen=True, slots=True)
class GradingProgress:
    """How far the calculation of all grades is.

    Attributes:
        position: what every event up to here means for grades is recorded.
        lag: how many events of the log come after it.
        recalculations: how many courses are graded anew.
        learners_left: how many of their learners still have to be.
    """

    position: int
    lag: int
    recalculations: int
    learners_left: int


class GradingStatus(Protocol):
    """Tells how far the calculation of grades is."""

    async def recalculation(self, course_id: str) -> Recalculation | None:
        """The last recalculation of a course; None if there never was one."""

    async def progress(self) -> GradingProgress:
        """How far the calculation of all grades is."""


@dataclass(frozen=True, slots=True)
class RelayProgress:
    """How far the log is published: to its topics, or to the event bus of Open edX.

    Attributes:
        position: every event up to here is published.
        lag: how many events of the log come after it.
        holder: the relay that works; None if none does.
        error: what keeps it from working.
    """

    position: int
    lag: int
    holder: str | None
    error: str | None


class RelayStatus(Protocol):
    """Tells how far the log is published."""

    async def progress(self) -> Mapping[str, RelayProgress]:
        """How far ``relay`` and ``event_bus`` are; without those that are switched off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """Everything behind the interfaces, for the tasks of one event loop."""

    submissions: Submissions
    courses: Courses
    learners: Learners
    grades: Grades
    reads: Reads
    events: EventReader
    pages: EventPages
    vault: Vault
    feed: FeedStatus
    grading: GradingStatus
    inbound: InboundStatus
    relay: RelayStatus
    sessions: Sessions
    webhooks: Webhooks
