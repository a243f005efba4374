"""A school whose read model and grader move only when they are told to."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from psycopg import Connection

from infra.database import now
from infra.engine import Engine
from infra.grading import Appending
from infra.log.postgres_log import PostgresLog
from infra.log.reader import PostgresLogReader, connect
from infra.vault import Vault
from projections import positions
from projections.gradebook import Gradebook
from projections.grading import Grader
from tests.school import PATIENCE, School, school


class Stepwise:
    """The school, and what goes on behind it, step by step."""

    def __init__(self, opened: School, new_grader: Callable[[], Grader]) -> None:
        self.school = opened
        self._new_grader = new_grader
        self._stack = ExitStack()
        self._projecting = self._connect()
        self._reader = PostgresLogReader(Vault(opened.dsn))
        self._model = Gradebook()
        positions.ensure(self._projecting, [Gradebook])
        self.restart()

    def _connect(self) -> Connection[Any]:
        return self._stack.enter_context(connect(self.school.dsn))

    def close(self) -> None:
        self._stack.close()

    def restart(self) -> None:
        """Let another grader take over: it knows only what was noted."""
        self.grader = self._new_grader()
        self._grading = self._connect()
        self.grader.take_over(self._grading)

    def project(self, until: int | None = None) -> None:
        """Fold what is in the log, or what is there up to a position, as one batch."""
        db, schema = self._projecting, Gradebook.schema()
        standing = positions.standing(db, schema)
        assert standing is not None
        end = self._reader.head(db) if until is None else until
        if end > standing.position:
            batch = self._reader.read(
                db, after=standing.position, limit=end - standing.position, types=Gradebook.folds
            )
            positions.fold(db, self._model, schema, batch, complete=True)

    def step(self) -> bool:
        """One step of the grader."""
        return self.grader.step(self._grading)

    def settle(self) -> None:
        """Go on until there is nothing left to do."""
        self.project()
        for _ in range(100):
            worked = self.step()
            self.project()
            if not worked and not self.step():
                return
        raise AssertionError("it does not come to rest")


@contextmanager
def stepwise(dsn: str) -> Iterator[Stepwise]:
    """Open a school and move nothing."""
    with school(dsn, projector=False) as opened, ExitStack() as stack:
        engine = Engine(limit=PATIENCE * 2)
        stack.callback(engine.close)
        log = PostgresLog(dsn, timeout=PATIENCE)
        stack.callback(lambda: engine.run(log.close))
        made = Stepwise(opened, lambda: Grader(lambda: connect(dsn), Appending(engine, log), now))
        stack.callback(made.close)
        yield made
