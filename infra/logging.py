"""Logs: one line an event, to standard error, for machines or for people.

A log line carries ids, never what somebody wrote and never a name: logs are copied to more
places than the database, and nobody can erase a learner from them.
"""

import logging
import os
import sys
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any, Final

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.typing import EventDict, Processor, WrappedLogger

from infra.settings import Settings

UVICORN_LOGGERS: Final = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")
QUIET_LOGGERS: Final = ("psycopg", "psycopg.pool", "httpx", "httpcore", "asyncio")
"""Libraries that tell at INFO what concerns nobody but their authors."""


_request: ContextVar[tuple[Scope, str] | None] = ContextVar("gradelog request", default=None)


class WithRequest:
    """Lets every line that is logged during a request carry the id of that request."""

    def __init__(self, app: ASGIApp, *, key: str) -> None:
        """Wrap an application that writes the id of a request into its scope, under a key."""
        self._app = app
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on. Its id is read when something is logged, not before."""
        _request.set((scope, self._key))
        await self._app(scope, receive, send)


def hand_over() -> None:
    """Let the program that embeds us decide: hand our lines to ``logging``, as a library does.

    Does nothing when somebody has set up logging already.
    """
    if not structlog.is_configured():
        structlog.configure(
            processors=[
                structlog.stdlib.filter_by_level,
                structlog.stdlib.render_to_log_kwargs,
            ],
            logger_factory=structlog.stdlib.LoggerFactory(),
            wrapper_class=structlog.stdlib.BoundLogger,
        )


def configure(settings: Settings, *, role: str, quiet: bool = False) -> None:
    """Set up logging for this process, its libraries included.

    Args:
        settings: level and form.
        role: what this process does, on every line: ``api``, ``projector``, …
        quiet: warnings only, unless somebody has set a level; for commands whose output
            is for people.
    """
    asked_for = "log_level" in settings.model_fields_set
    least = "WARNING" if quiet and not asked_for else settings.log_level
    level = logging.getLevelNamesMapping()[least]
    people = settings.log_format == "console" or (
        settings.log_format == "auto" and sys.stderr.isatty()
    )
    shared: Sequence[Processor] = (
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _with_role(role),
        _with_request_id,
        _without_colour_message,
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *(_for_people() if people else _for_machines()),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in UVICORN_LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(level)
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def _for_people() -> Sequence[Processor]:
    return (
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty() and _colour_is_welcome(),
            exception_formatter=structlog.dev.plain_traceback,
        ),
    )


def _for_machines() -> Sequence[Processor]:
    return (
        # Never with local variables: they hold what learners wrote.
        structlog.processors.ExceptionRenderer(
            structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        ),
        structlog.processors.JSONRenderer(default=str),
    )


def _colour_is_welcome() -> bool:
    return not os.environ.get("NO_COLOR")


def _with_role(role: str) -> Processor:
    def add(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event.setdefault("role", role)
        return event

    return add


def _with_request_id(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    request = _request.get()
    if request is not None and (identity := request[0].get(request[1])) is not None:
        event.setdefault("request_id", identity)
    return event


def _without_colour_message(
    _logger: WrappedLogger, _method: str, event: EventDict
) -> dict[str, Any]:
    """Uvicorn says everything a second time with colours in it."""
    event.pop("color_message", None)
    return dict(event)
