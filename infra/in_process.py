"""gradelog inside another program: the functions of ``api.submissions``, ready to call.

    with in_process(read_settings()):
        api.submissions.create_submission(…)

The program gets an event loop in a thread (all its threads share transactions), and, unless
it says otherwise, a projector in another: if a projector runs elsewhere, this one stands by.
"""

import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TypeVar
from uuid import UUID

import api.in_process
from domain.application import Done
from domain.errors import UnavailableError
from domain.events import Recorded
from domain.submissions.application import Submissions
from domain.submissions.student_item import student_item_stream
from infra.database import database, now, prepare, refuse_copy
from infra.engine import Engine
from infra.grading import grading
from infra.log.postgres_log import PostgresLog
from infra.log.reader import PostgresLogReader, connect
from infra.logging import hand_over
from infra.reads import LONGEST_WAIT, SyncReads
from infra.settings import Settings, master_key
from infra.threads import in_thread
from infra.vault import Vault
from projections.read_model import Query, StreamQuery
from projections.registry import READ_MODELS
from projections.runner import Runner

T = TypeVar("T")


class Gradelog:
    """An opened installation: ``api.in_process.Installation``."""

    def __init__(self, engine: Engine, log: PostgresLog, vault: Vault, reads: SyncReads) -> None:
        self._engine = engine
        self._log = log
        self._vault = vault
        self._reads = reads
        self._submissions = Submissions(log, now, vault)
        self._written = 0
        self._noting = threading.Lock()

    def carry_out(self, command: Callable[[Submissions], Awaitable[Done[T]]]) -> Done[T]:
        """Carry out a command; return when it is stored durably."""
        done = self._engine.run(lambda: command(self._submissions))
        if done.position is not None:
            with self._noting:
                self._written = max(self._written, done.position)
        return done

    def ask(self, query: Query[T], *, latest: bool) -> T:
        """Answer a question; see ``api.in_process.Installation``."""
        if latest:
            return self._reads.ask(query, latest=True).value
        try:
            return self._reads.ask(query, at_least=self._written).value
        except UnavailableError:
            return self._reads.ask(query).value

    def stream(
        self, query: StreamQuery[T], *, latest: bool
    ) -> AbstractContextManager[Iterator[Sequence[T]]]:
        """Answer a large question in chunks, all of one snapshot."""
        return self._streamed(query, latest=latest)

    @contextmanager
    def _streamed(self, query: StreamQuery[T], *, latest: bool) -> Iterator[Iterator[Sequence[T]]]:
        with ExitStack() as stack:
            written = 0 if latest else self._written
            try:
                opened = self._reads.stream(query, at_least=written, latest=latest)
                answer = stack.enter_context(opened)
            except UnavailableError:
                if latest:
                    raise
                answer = stack.enter_context(self._reads.stream(query))
            yield answer.value

    def load(self, sealed: Iterable[str]) -> None:
        """Make the keys of these texts ready for ``open``."""
        texts = list(sealed)
        if self._vault.missing(texts):
            self._engine.run(lambda: self._vault.load(texts))

    def open(self, sealed: str, context: str) -> str:
        """Open a sealed text whose key was loaded before."""
        return self._vault.open(sealed, context)

    def history(self, student_id: str, course_id: str, item_id: str) -> list[Recorded]:
        """Every event of one student item, oldest first, with who, when and why."""
        stream: UUID = student_item_stream(student_id, course_id, item_id)
        return self._engine.run(lambda: self._log.read_recorded_stream(stream))


@contextmanager
def in_process(
    settings: Settings,
    *,
    dsn: str | None = None,
    projector: bool = True,
    wait: float = LONGEST_WAIT,
) -> Iterator[Gradelog]:
    """Open an installation and let the functions of this process work on it.

    Args:
        settings: what is in force.
        dsn: a database; else the one of the settings.
        projector: keep the read models up to date in a thread of this process.
        wait: most seconds that a question waits for what it has to see in the read models.

    Raises:
        EmbeddedPostgresError: the embedded server cannot start.
        MigrationError: the database cannot be brought up to date.
    """
    hand_over()
    with ExitStack() as stack:
        if dsn is None:
            dsn = stack.enter_context(database(settings))
        else:
            prepare(dsn)
        refuse_copy(dsn)
        limit = settings.append_timeout
        # A command waits for a key, a stream, an id and the log, each for so long at most.
        engine = Engine(limit=limit * 5)
        stack.callback(engine.close)
        log = PostgresLog(dsn, timeout=limit, queue=settings.log_queue)
        stack.callback(lambda: engine.run(log.close))
        vault = Vault(dsn, master_key=master_key(settings), timeout=limit)
        stack.callback(lambda: engine.run(vault.close))
        if projector:
            stack.enter_context(projecting(dsn, vault))
        reads = SyncReads(dsn, size=settings.pool_size, timeout=settings.read_timeout, wait=wait)
        reads.open()
        stack.callback(reads.close)
        opened = Gradelog(engine, log, vault, reads)
        api.in_process.use(opened)
        stack.callback(api.in_process.use, None)
        yield opened


@contextmanager
def projecting(dsn: str, vault: Vault | None = None) -> Iterator[Runner]:
    """Keep the read models up to date and grades recorded, in threads, until the end.

    ``vault`` opens what identifies people; by default one whose keys are not wrapped.
    """
    reader = PostgresLogReader(vault or Vault(dsn))
    runner = Runner(lambda: connect(dsn), reader, READ_MODELS)
    with in_thread(runner.run, "gradelog projector"), grading(dsn):
        yield runner
