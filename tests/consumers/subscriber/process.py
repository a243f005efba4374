"""A subscriber as a process of its own, to be killed: kafka, database, prefix, attempts, poison, what then."""

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

import psycopg

from consumers.subscriber import Subscriber
from domain.events import Recorded


def main() -> None:
    kafka, dsn, prefix, attempts, poison, then = sys.argv[1:]

    def handle(db: psycopg.Connection[Any], events: Sequence[Recorded]) -> None:
        for recorded in events:
            db.execute("INSERT INTO handled (position) VALUES (%s)", (recorded.position,))
            if recorded.position == int(poison):
                os.kill(os.getpid(), signal.Signals[then])

    Subscriber(
        kafka, dsn, prefix, prefix=prefix, attempts=int(attempts), retry_after=0.02, batch=25
    ).run(handle)


if __name__ == "__main__":
    main()
