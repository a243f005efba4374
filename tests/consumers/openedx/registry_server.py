"""A schema registry for tests, with the two questions of Confluent's that clients ask."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


class SchemaRegistry(ThreadingHTTPServer):
    """Equal schemas have one number, whatever they are registered under."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.schemas: list[Any] = []
        self.subjects: dict[str, list[int]] = {}
        self.questions: list[str] = []
        self.broken: int | None = None
        self.nonsense: bytes | None = None
        self.endless: bytes | None = None
        """Comes again and again, with a pause after each."""
        self.refused: str | None = None
        """What subjects must not have in their names."""
        self.hold: threading.Event | None = None
        """Keeps the next question waiting, and no other."""
        self._guard = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def register(self, subject: str, schema: str) -> int:
        with self._guard:
            parsed = json.loads(schema)
            if parsed not in self.schemas:
                self.schemas.append(parsed)
            id_ = self.schemas.index(parsed) + 1
            versions = self.subjects.setdefault(subject, [])
            if id_ not in versions:
                versions.append(id_)
            return id_


class _Handler(BaseHTTPRequestHandler):
    server: SchemaRegistry
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        found = re.fullmatch(r"/subjects/([^/]+)/versions", urlsplit(self.path).path)
        if found is None:
            return self._answer(404, {"error_code": 404, "message": "Not found"})
        refused, subject = self.server.refused, unquote(found[1])
        if refused is not None and refused in subject:
            return self._answer(409, {"error_code": 409, "message": "Incompatible schema"})
        return self._answer(200, {"id": self.server.register(subject, body["schema"])})

    def do_GET(self) -> None:
        found = re.fullmatch(r"/schemas/ids/(\d+)", urlsplit(self.path).path)
        if found is None:
            return self._answer(404, {"error_code": 404, "message": "Not found"})
        if not 0 < int(found[1]) <= len(self.server.schemas):
            return self._answer(404, {"error_code": 40403, "message": "Schema not found"})
        return self._answer(200, {"schema": json.dumps(self.server.schemas[int(found[1]) - 1])})

    def _answer(self, status: int, body: Any) -> None:
        self.server.questions.append(f"{self.command} {self.path}")
        hold, self.server.hold = self.server.hold, None
        if hold is not None:
            hold.wait(60)
        if self.server.broken:
            status, body = self.server.broken, {"error_code": self.server.broken}
        if self.server.endless is not None:
            self._answer_without_end(self.server.endless)
            return
        content = self.server.nonsense or json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _answer_without_end(self, part: bytes) -> None:
        self.close_connection = True
        self.send_response(200)
        self.end_headers()
        pause = threading.Event()
        with suppress(ConnectionError):  # until the client hangs up
            while not pause.wait(0.01):
                self.wfile.write(part)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Tests tell what went wrong."""


@contextmanager
def schema_registry() -> Iterator[SchemaRegistry]:
    with SchemaRegistry() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
