"""What a process does beside its main work, in threads."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

GRACE: Final = 30.0
"""Seconds that a thread which is told to stop has for it."""


@contextmanager
def in_thread(run: Callable[[threading.Event], None], name: str) -> Iterator[None]:
    """Run something until the end; the event that it is given is set then."""
    stop = threading.Event()
    thread = threading.Thread(target=run, args=(stop,), name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(GRACE)
