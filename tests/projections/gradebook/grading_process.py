"""A projector and a grader in a process of their own, to be killed."""

import sys
import threading

import structlog

from infra.grading import grading
from infra.log.reader import PostgresLogReader, connect
from projections.registry import READ_MODELS
from projections.runner import Runner

if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    dsn = sys.argv[1]
    # Small chunks, so that a recalculation can be hit in many places.
    with grading(dsn, chunk=10):
        print("running", flush=True)
        Runner(lambda: connect(dsn), PostgresLogReader(), READ_MODELS).run(threading.Event())
