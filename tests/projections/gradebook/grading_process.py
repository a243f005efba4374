"""A projector and a grader in a process of their own, to be killed."""

import signal
import sys
import threading

import structlog

from infra.in_process import projecting

if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    with projecting(sys.argv[1]):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        print("running", flush=True)
        threading.Event().wait()
