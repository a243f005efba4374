"""What a read model is: a version, tables, a fold, and queries over its rows.

A read model lives in a PostgreSQL schema of its own, named after it and its version, so
that a new version is built beside the old one while that one serves. Its SQL names tables
without a schema: the runner and the readers put the right one on the search path, and
nobody else's tables are on it while it folds.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, LiteralString, Self, TypeVar

from psycopg import Connection

from domain.events import Event, Recorded

T = TypeVar("T")

Row = tuple[Any, ...]


class ReadModel(ABC):
    """Folds recorded events into rows.

    One instance serves one runner thread. A fold sees events and its own rows: no clock, no
    network, no other table. The same events give the same rows, however they are cut into
    batches.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    tables: ClassVar[LiteralString]
    """The statements that create its tables and indexes in an empty schema."""

    folds: ClassVar[frozenset[type[Event]]]
    """The event types it folds; its position advances on every event all the same."""

    shared: ClassVar[frozenset[type[Event]]] = frozenset()
    """Those of them that change rows which the events of other courses read or change, too.

    Fed from the log, one folds after the other. Elsewhere the courses are folded at the same
    time and in any order between them, and between them and what belongs to no course: the
    same rows must come of it. Only these types need to be folded with nobody beside."""

    @classmethod
    def schema(cls) -> str:
        """The schema that serves this version."""
        return f"{cls.name}_v{cls.version}"

    @classmethod
    def copying(cls) -> Self:
        """One whose rows nobody works on from there: a copy far from the log."""
        return cls()

    @abstractmethod
    def fold(self, db: Connection[Row], events: Iterable[Recorded]) -> None:
        """Write what a batch of events changes, in a few multi-row statements.

        Runs inside the transaction that also moves the read model's position.
        """


@dataclass(frozen=True, slots=True)
class Query(Generic[T]):
    """A question to one read model, independent of who runs it and how.

    Attributes:
        model: the read model whose rows are read.
        statement: one SELECT, its tables without schema, arguments as ``%b`` or ``%s``.
        arguments: the values for it.
        parse: makes the answer of all rows.
        graded: it shows grades, which follow from an event only after they were calculated
            and recorded in turn: a reader who waits for that event waits for those, too.
    """

    model: type[ReadModel]
    statement: LiteralString
    arguments: Sequence[Any]
    parse: Callable[[list[Row]], T]
    graded: bool = False


@dataclass(frozen=True, slots=True)
class StreamQuery(Generic[T]):
    """A question whose answer may be as large as a course: read row by row.

    ``parse`` makes one entry of one row; ``graded`` as for a ``Query``.
    """

    model: type[ReadModel]
    statement: LiteralString
    arguments: Sequence[Any]
    parse: Callable[[Row], T]
    graded: bool = False


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """An answer and the log position that the read model had applied when it was given."""

    value: T
    position: int
