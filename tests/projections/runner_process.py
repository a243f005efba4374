"""A projector in a process of its own, to be killed: ``python -m … DSN``."""

import sys
import threading

from infra.log.reader import PostgresLogReader, connect
from projections.registry import READ_MODELS
from projections.runner import Runner

if __name__ == "__main__":
    dsn = sys.argv[1]
    # Small batches, so that many transactions can be hit.
    runner = Runner(lambda: connect(dsn), PostgresLogReader(), READ_MODELS, batch=50)
    runner.run(threading.Event())
