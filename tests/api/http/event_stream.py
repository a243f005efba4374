"""A reader of a stream of events: a connection, a thread, and what came over it."""

import contextlib
import json
import socket
import threading
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

from tests.infra.cli.support import PATIENCE, eventually

STREAM = "/api/events/v1/stream/"


class Reader:
    """Reads until it is told to stop, or the server ends the stream.

    Attributes:
        events: position, name and data of each event.
        marks: positions that came in between, without an event.
        comments: what is for nobody.
        ended: the stream is over.
        whole: the server ended it in good order.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        last: int | None = None,
        buffer: int | None = None,
        reads: bool = True,
        **parameters: Any,
    ) -> None:
        """Open a stream.

        Args:
            url: of the server.
            headers: of the caller.
            last: ``Last-Event-ID``.
            buffer: bytes that the system takes from the network for a reader that does not read.
            reads: begin to read at once.
            parameters: of the query.
        """
        where = urlsplit(url)
        self._connection = HTTPConnection(where.hostname or "", where.port, timeout=PATIENCE)
        self._connection.sock = socket.socket()
        if buffer is not None:
            self._connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self._connection.sock.settimeout(PATIENCE)
        self._connection.sock.connect((where.hostname, where.port))
        self._socket = self._connection.sock
        given = dict(headers) | ({} if last is None else {"Last-Event-ID": str(last)})
        query = urlencode(parameters, doseq=True)
        self._connection.request("GET", f"{STREAM}?{query}", headers=given)
        self.answer: HTTPResponse = self._connection.getresponse()
        self.events: list[tuple[int, str, Any]] = []
        self.marks: list[int] = []
        self.comments: list[str] = []
        self.retry: int | None = None
        self.ended = threading.Event()
        self.whole = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        if reads:
            self.read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        if self._thread.ident is not None:
            self._thread.join(PATIENCE)
        self.answer.close()
        self._connection.close()
        self._socket.close()

    def read(self) -> None:
        """Begin to read."""
        self._thread.start()

    @property
    def positions(self) -> list[int]:
        return [position for position, _, _ in self.events]

    @property
    def types(self) -> list[str]:
        return [name for _, name, _ in self.events]

    def until(self, count: int) -> list[int]:
        """Wait for so many events; the positions of all that came."""
        eventually(lambda: len(self.events) >= count or self.ended.is_set())
        return self.positions

    def _read(self) -> None:
        fields: dict[str, str] = {}
        try:
            while line := self.answer.readline():
                text = line.decode().rstrip("\n")
                if text.startswith(":"):
                    self.comments.append(text)
                elif text:
                    name, _, value = text.partition(": ")
                    fields[name] = value
                else:
                    self._take(fields)
                    fields = {}
            # Broken off in the middle, it would still wait for the rest of a chunk.
            self.whole = self.answer.isclosed() and self.answer.chunk_left is None
        except (OSError, HTTPException, ValueError):
            pass
        finally:
            self.ended.set()

    def _take(self, fields: Mapping[str, str]) -> None:
        if "data" in fields:
            event = (int(fields["id"]), fields["event"], json.loads(fields["data"]))
            self.events.append(event)
        elif "id" in fields:
            self.marks.append(int(fields["id"]))
        elif "retry" in fields:
            self.retry = int(fields["retry"])
