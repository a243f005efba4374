"""The HTTP server of one process, on a socket that was opened before."""

import asyncio
import socket
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Final

import uvicorn
from starlette.applications import Starlette

from api.http.app import create_app
from api.http.calls import REQUEST_ID
from api.http.config import HttpConfig
from infra.cli.output import FAILED, CommandError
from infra.cli.processes import collect_seldom
from infra.events_topics import topics_of
from infra.logging import WithRequest
from infra.main import open_backend
from infra.settings import Settings, jwt_secret

GRACE: Final = 10
"""Seconds that requests under way have to end."""


def application(
    settings: Settings, dsn: str, *, marked: Callable[[], None] = lambda: None
) -> Starlette:
    """The HTTP interfaces on a database that is up to date; ``marked`` as for ``open_backend``."""
    return create_app(
        lambda: open_backend(settings, dsn, marked=marked),
        HttpConfig(
            jwt_secret=jwt_secret(settings),
            jwks_url=settings.jwks_url,
            jwt_audience=settings.jwt_audience,
            jwt_issuer=settings.jwt_issuer,
            body_limit=settings.body_limit,
            line_limit=settings.line_limit,
            idempotency_lifetime=timedelta(days=settings.idempotency_days),
            allowed_origins=frozenset(settings.allowed_origins),
            public_url=settings.public_url,
            login_url=settings.login_url,
            logout_url=settings.logout_url,
            refresh_url=settings.refresh_url,
            cookie_domain=settings.cookie_domain,
            payload_cookie=settings.payload_cookie,
            signature_cookie=settings.signature_cookie,
            session_lifetime=timedelta(days=settings.session_days),
            development=settings.development,
            development_anywhere=settings.development_anywhere,
            site_name=settings.site_name,
            mfe_config=settings.mfe_config,
            mfe_overrides=settings.mfe_config_overrides,
            event_source=settings.event_source,
            event_streams=settings.event_streams,
            topics=topics_of(settings),
        ),
    )


class Server(uvicorn.Server):
    """Tells when it answers."""

    def __init__(
        self,
        config: uvicorn.Config,
        ready: Callable[[], None],
        ending: Callable[[], None] = lambda: None,
    ) -> None:
        """Make a server.

        Args:
            config: of uvicorn.
            ready: called when it answers.
            ending: called when it begins to end, before requests under way are waited for:
                lets go of those that would go on for ever.
        """
        super().__init__(config)
        self._ready = ready
        self._ending = ending

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and tell."""
        await super().startup(sockets)
        if self.started:
            collect_seldom()
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let go, and end."""
        self._ending()
        await super().shutdown(sockets)


def serve(settings: Settings, dsn: str, listener: socket.socket, ready: Callable[[], None]) -> bool:
    """Answer requests until somebody asks the process to end; the socket stays open.

    Returns:
        whether it ended only because the database is another one than it was taken for, and
        has to be opened anew.

    Raises:
        CommandError: the application did not start.
    """
    anew = threading.Event()

    def begin_anew() -> None:
        anew.set()
        server.should_exit = True

    app = application(settings, dsn, marked=begin_anew)
    config = uvicorn.Config(
        WithRequest(app, key=REQUEST_ID),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        # Ours is set up already; requests are logged by the application.
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        timeout_graceful_shutdown=GRACE,
    )
    server = Server(config, ready, ending=partial(_let_go, app))
    with listener.dup() as own:  # the server closes it
        try:
            server.run(sockets=[own])
        except SystemExit:
            raise CommandError("the server did not start; the log tells why") from None
        except asyncio.CancelledError:
            return False
    if not server.started:
        raise CommandError("the server did not start; the log tells why", code=FAILED)
    return anew.is_set()


def _let_go(app: Starlette) -> None:
    """End what is answered for as long as its reader likes."""
    app.state.live.end()
