"""The schema registry: which number a schema has, and which schema has a number."""

import threading
import time
from types import TracebackType
from typing import Final, Self, TypeVar
from urllib.parse import quote

import httpx
import orjson
from fastavro import parse_schema
from fastavro.types import Schema

T = TypeVar("T")

CONTENT_TYPE: Final = "application/vnd.schemaregistry.v1+json"
TIMEOUT: Final = 5.0
"""Seconds for one question, and half of that to connect: a lease must outlast it."""

LARGEST_ANSWER: Final = 4 * 1024 * 1024
NO_SUCH_SCHEMA: Final = 40403


class RegistryError(Exception):
    """The registry refuses, or cannot be reached; ``passing``: it may go better later."""

    def __init__(self, message: str, *, passing: bool) -> None:
        super().__init__(message)
        self.passing = passing


class Registry:
    """A client of the REST interface that Confluent's registry has, and others have too.

    A number never changes its meaning, so each is asked for once. For any thread.
    """

    def __init__(self, url: str, *, timeout: float = TIMEOUT) -> None:
        """Make a client; connects when it is first asked.

        Args:
            url: of the registry; a name and a password in it are used.
            timeout: seconds that an answer may take.
        """
        self._timeout = timeout
        self._client = httpx.Client(
            base_url=url.rstrip("/") + "/",
            timeout=httpx.Timeout(timeout, connect=timeout / 2),
            headers={"Accept": CONTENT_TYPE, "Content-Type": CONTENT_TYPE},
        )
        self._ids: dict[tuple[str, str], int] = {}
        self._schemas: dict[int, Schema] = {}
        self._guard = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def id_of(self, subject: str, schema: str) -> int:
        """The number of a schema under a subject; it is registered if it has none.

        Raises:
            RegistryError: it has none and gets none.
        """
        known = self._ids.get((subject, schema))
        if known is None:
            path = f"subjects/{quote(subject, safe='')}/versions"
            known = self._ask("POST", path, "id", int, {"schema": schema})
            self._ids[subject, schema] = known
        return known

    def knows(self, id_: int) -> Schema | None:
        """The schema with a number, if it was asked for before."""
        return self._schemas.get(id_)

    def schema(self, id_: int) -> Schema:
        """The schema with a number.

        Raises:
            RegistryError: there is none, or it cannot be had.
        """
        known = self._schemas.get(id_)
        if known is None:
            text = self._ask("GET", f"schemas/ids/{id_}", "schema", str)
            try:
                # What is told of schemas that are not Avro is no JSON, or no schema of Avro.
                known = parse_schema(orjson.loads(text))
            except Exception as error:
                raise RegistryError(
                    f"the schema {id_} is none of Avro: {error}", passing=False
                ) from error
            self._schemas[id_] = known
        return known

    def _ask(self, method: str, path: str, member: str, kind: type[T], body: object = None) -> T:
        """One member of the answer to a question."""
        content = None if body is None else orjson.dumps(body)
        try:
            with self._guard, self._client.stream(method, path, content=content) as answer:
                text = self._whole(answer)
        except httpx.HTTPError as error:
            raise RegistryError(
                f"the schema registry does not answer: {type(error).__name__}", passing=True
            ) from error
        try:
            found = orjson.loads(text)
        except orjson.JSONDecodeError:
            found = None
        told = found if isinstance(found, dict) else {}
        if answer.status_code != httpx.codes.OK:
            # Only of this a message can be at fault. Everything else is the registry, what
            # stands before it, or our settings.
            unknown = told.get("error_code") == NO_SUCH_SCHEMA
            raise RegistryError(
                f"the schema registry says {answer.status_code}: {_readable(text)}",
                passing=not unknown,
            )
        value = told.get(member)
        if not isinstance(value, kind):
            raise RegistryError("the schema registry answers nonsense", passing=True)
        return value

    def _whole(self, answer: httpx.Response) -> bytes:
        """What is answered. The client's own limit is for each part, however many come."""
        deadline = time.monotonic() + self._timeout
        whole = bytearray()
        for part in answer.iter_bytes():
            whole += part
            if len(whole) > LARGEST_ANSWER or time.monotonic() > deadline:
                raise RegistryError("the schema registry does not come to an end", passing=True)
        return bytes(whole)


def _readable(text: bytes) -> str:
    return text.decode(errors="replace")[:300]
