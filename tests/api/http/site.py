"""A server as in production, on a database of its own: HTTP in front, PostgreSQL behind."""

import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import uvicorn

from api.backend import Backend
from api.http.app import create_app
from api.http.auth import issue_token
from api.http.config import HttpConfig
from infra.grading import PostgresGradingStatus
from infra.log.postgres_log import PostgresLog
from infra.main import backend
from infra.reads import PostgresReads
from infra.sessions import PostgresSessions
from infra.tailing import PostgresEventPages
from infra.vault import Vault
from infra.webhooks.store import PostgresWebhooks
from tests import looking

SECRET = "the shared secret of the tests, which is long enough"
API = "/api/submissions/v1"
ESSAY = "openassessment"
PATIENCE = 25.0
"""Seconds that the server waits for the database and for read models on a machine that is busy
with other tests; less than clients wait for the server."""


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Site:
    """A running server and a client of it."""

    dsn: str
    url: str
    config: HttpConfig
    client: httpx.Client
    headers: dict[str, str] = field(default_factory=dict)

    def token(self, username: str = "lms", **claims: Any) -> str:
        return issue_token(SECRET, username=username, **claims)

    def as_(self, username: str, **claims: Any) -> "Site":
        """The same site, called by somebody else."""
        authorization = f"Bearer {self.token(username, **claims)}"
        return Site(self.dsn, self.url, self.config, self.client, {"Authorization": authorization})

    @property
    def service(self) -> "Site":
        return self.as_("lms", scopes=["submissions:read", "submissions:write"])

    @property
    def nobody(self) -> "Site":
        return Site(self.dsn, self.url, self.config, self.client)

    def send(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> httpx.Response:
        url = path if path.startswith(("/health", "/metrics", "/openapi", "/docs")) else API + path
        return self.client.request(
            method, self.url + url, headers={**self.headers, **(headers or {})}, **more
        )

    def get(self, path: str, **parameters: Any) -> httpx.Response:
        """Ask for something, as of the last position of the log."""
        headers = parameters.pop("headers", {"X-Min-Log-Position": str(self.head())})
        return self.send("GET", path, params=parameters, headers=headers)

    def post(
        self, path: str, body: Any, *, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        raw = {"Content-Type": "application/json", **(headers or {})}
        return self.send("POST", path, content=json.dumps(body), headers=raw)

    def bulk(
        self, *lines: Any, headers: Mapping[str, str] | None = None
    ) -> tuple[httpx.Response, list[Any]]:
        text = b"\n".join(
            line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines
        )
        response = self.send(
            "POST",
            "/commands/",
            content=text,
            headers={"Content-Type": "application/x-ndjson", **(headers or {})},
        )
        return response, [json.loads(line) for line in response.content.splitlines()]

    def create(self, item: Mapping[str, str], answer: Any = "an answer", **more: Any) -> Any:
        response = self.post("/submissions/", {"student_item": item, "answer": answer, **more})
        assert response.status_code == 201, response.text
        return response.json()

    def score(self, uuid: str, earned: int, possible: int, **more: Any) -> httpx.Response:
        body = {"points_earned": earned, "points_possible": possible, **more}
        response = self.post(f"/submissions/{uuid}/score/", body)
        assert response.status_code == 201, response.text
        return response

    def head(self) -> int:
        return int(self.rows("SELECT coalesce(max(position), 0) FROM gradelog.events")[0][0])

    def events(self, after: int) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
        """Type, fields and metadata of the events above a position."""
        statement = (
            "SELECT type, data, metadata FROM gradelog.events WHERE position > %s ORDER BY position"
        )
        return [
            (type_, json.loads(data), json.loads(metadata))
            for type_, data, metadata in self.rows(statement, after)
        ]

    def rows(self, statement: Any, *arguments: Any) -> list[Any]:
        return looking.rows(self.dsn, statement, *arguments)


def an_item(**values: str) -> dict[str, str]:
    """A student item that nobody has used before."""
    mark = uuid4().hex[:8]
    return {
        "student_id": f"learner-{mark}",
        "course_id": f"course-v1:Demo+{mark}+2026",
        "item_id": f"block-v1:Demo+{mark}+2026+type@openassessment+block@essay",
        "item_type": ESSAY,
        **values,
    }


@contextmanager
def serving(
    dsn: str,
    config: HttpConfig,
    *,
    made: Callable[[], AbstractAsyncContextManager[Backend]] | None = None,
    wait: float = PATIENCE,
    **more: Any,
) -> Iterator[Site]:
    """Serve in a thread until the end.

    Args:
        dsn: the database.
        config: of the interfaces.
        made: makes the backend, when it is not the usual one.
        wait: most seconds to wait for a read model.
        more: for ``create_app``.
    """
    opened = threading.Event()

    @asynccontextmanager
    async def open_backend() -> AsyncIterator[Backend]:
        usual = backend(
            dsn,
            PostgresLog(dsn, timeout=PATIENCE),
            Vault(dsn, timeout=PATIENCE),
            PostgresReads(dsn, timeout=PATIENCE, wait=wait),
            pages=PostgresEventPages(dsn, timeout=PATIENCE),
            webhooks=PostgresWebhooks(dsn, timeout=PATIENCE),
            sessions=PostgresSessions(dsn, timeout=PATIENCE),
            grading=PostgresGradingStatus(dsn, timeout=PATIENCE),
        )
        async with usual if made is None else made() as behind:
            opened.set()
            yield behind

    listener = socket.create_server(("127.0.0.1", 0))
    settings = uvicorn.Config(
        create_app(open_backend, config, **more),
        loop="uvloop",
        http="httptools",
        ws="none",
        log_config=None,
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    assert opened.wait(30)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        with httpx.Client(timeout=30) as client:
            yield Site(dsn, url, config, client)
    finally:
        server.should_exit = True
        thread.join(30)
        looking.leave(dsn)


def uuids(found: Sequence[Mapping[str, Any]]) -> list[str]:
    return [entry["uuid"] for entry in found]
