"""A projector and a grader in a process of their own, to be killed: ``python -m … DSN MOST``.

They record ``MOST`` appends and then stand still: whoever comes late to kill them finds
that not all is done.
"""

import sys
import threading
from collections.abc import Sequence

import structlog

from infra.database import now
from infra.engine import Engine
from infra.grading import Appending
from infra.log.postgres_log import PostgresLog
from infra.log.reader import PostgresLogReader, connect
from projections.grading import Append, AppendAll, Grader
from projections.registry import READ_MODELS
from projections.runner import Runner


class Limited:
    """Appends until there were too many."""

    def __init__(self, append_all: AppendAll, most: int) -> None:
        self._append_all = append_all
        self._left = most

    def __call__(self, appends: Sequence[Append]) -> Sequence[int | Exception]:
        self._left -= len(appends)
        if self._left < 0:
            threading.Event().wait()
        return self._append_all(appends)


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    dsn, most = sys.argv[1], int(sys.argv[2])
    never = threading.Event()
    appending = Limited(Appending(Engine(limit=20), PostgresLog(dsn)), most)
    # Small chunks, so that a recalculation can be hit in many places.
    grader = Grader(lambda: connect(dsn, name="gradelog grader"), appending, now, chunk=10)
    threading.Thread(target=grader.run, args=(never,), daemon=True).start()
    print("running", flush=True)
    Runner(lambda: connect(dsn), PostgresLogReader(), READ_MODELS).run(never)
