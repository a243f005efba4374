"""What the libraries log, without the flood while a broker is away."""

import logging
import re
import threading
import time
from typing import Final

QUIET: Final = 60.0
"""Seconds in which the same thing is logged once."""

_KINDS: Final = 1_000
"""How many kinds of messages are remembered, before all are forgotten."""

_VARYING: Final = re.compile(r"\b0x[0-9a-f]+|\b[0-9a-f-]{8,}|\d+(\.\d+)?")
"""Numbers, addresses and ids: without them, messages of one kind are the same."""

_CHATTER: Final = ("kafka.net.selector",)
"""Loggers that warn of what a busy machine does."""


class Seldom(logging.Handler):
    """Hands records on to another logger, each kind of message once a minute, as warnings.

    The libraries call each failed attempt an error, and make several a second. That a broker
    is away is no error of ours, and what matters comes out as an exception anyhow.
    """

    def __init__(self, target: logging.Logger) -> None:
        super().__init__(logging.WARNING)
        self._target = target
        self._told: dict[str, float] = {}
        self._guard = threading.Lock()

    def forget(self) -> None:
        """Tell everything anew."""
        with self._guard:
            self._told.clear()

    def emit(self, record: logging.LogRecord) -> None:
        kind = _VARYING.sub("#", f"{record.name}: {record.getMessage()}")
        now = time.monotonic()
        with self._guard:
            if now - self._told.get(kind, -QUIET) < QUIET:
                return
            if len(self._told) >= _KINDS:
                self._told.clear()
            self._told[kind] = now
        self._target.warning("%s: %s", record.name, record.getMessage())


def quieten(name: str) -> logging.Logger:
    """Make a library's logger speak seldom, through ``gradelog.kafka``; answer it."""
    logger = logging.getLogger(name)
    if not any(isinstance(handler, Seldom) for handler in logger.handlers):
        logger.addHandler(Seldom(logging.getLogger("gradelog.kafka")))
        logger.setLevel(logging.WARNING)
        logger.propagate = False
        for chatter in _CHATTER:
            logging.getLogger(chatter).setLevel(logging.ERROR)
    return logger
