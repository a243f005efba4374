"""The HTTP server of one process, on a socket that was opened before."""

import asyncio
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from api.http.app import create_app
from api.http.calls import REQUEST_ID
from api.http.config import HttpConfig
from infra.cli.output import FAILED, CommandError
from infra.cli.processes import collect_seldom
from infra.logging import WithRequest
from infra.main import open_backend
from infra.settings import Settings, jwt_secret

GRACE: Final = 10
"""Seconds that requests under way have to end."""


def application(settings: Settings, dsn: str) -> ASGIApp:
    """The HTTP interfaces on a database that is up to date."""
    return create_app(
        lambda: open_backend(settings, dsn),
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
        ),
    )


class Server(uvicorn.Server):
    """Tells when it answers."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and tell."""
        await super().startup(sockets)
        if self.started:
            collect_seldom()
            self._ready()


def serve(settings: Settings, dsn: str, listener: socket.socket, ready: Callable[[], None]) -> None:
    """Answer requests until somebody asks the process to end.

    Raises:
        CommandError: the application did not start.
    """
    config = uvicorn.Config(
        WithRequest(application(settings, dsn), key=REQUEST_ID),
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
    server = Server(config, ready)
    try:
        server.run(sockets=[listener])
    except SystemExit:
        raise CommandError("the server did not start; the log tells why") from None
    except asyncio.CancelledError:
        return
    if not server.started:
        raise CommandError("the server did not start; the log tells why", code=FAILED)
