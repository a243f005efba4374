"""A load generator: so many connections, each sending its next request after the answer.

Reads a JSON job from standard input, prints a JSON result: requests a second, latencies in
milliseconds, statuses, bytes. Runs in a process of its own. A job may also say how long each
connection waits between the beginnings of two requests (``every``, seconds); a request that is
late for its turn counts from then on.
"""

import asyncio
import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import uvloop


class Connection(asyncio.Protocol):
    """One keep-alive connection."""

    def __init__(
        self, requests: Iterator[bytes], end: float, result: dict[str, Any], every: float
    ) -> None:
        self._requests = requests
        self._end = end
        self._result = result
        self._every = every
        self._head = b""
        self._missing = 0
        self._transport: asyncio.Transport | None = None
        self._due = 0.0
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._due = time.perf_counter()
        self._send(next(self._requests, None))  # one at least, however late it is by now

    def data_received(self, data: bytes) -> None:
        # Bodies may be large: they are counted, not kept.
        if self._missing:
            self._missing -= len(data)
        else:
            self._head += data
            head, separator, body = self._head.partition(b"\r\n\r\n")
            if not separator:
                return
            self._head = b""
            status = head[9:12].decode()
            length = 0 if status == "304" else _length(head)
            self._missing = length - len(body)
            self._result["statuses"][status] += 1
            self._result["bytes"] += length
        if not self._missing:
            now = time.perf_counter()
            self._result["latencies"].append(now - self._due)
            self._due = max(now, self._due + self._every) if self._every else now
            if self._due > now:
                asyncio.get_running_loop().call_later(self._due - now, self._next)
            else:
                self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)

    def _next(self) -> None:
        self._send(next(self._requests, None) if self._due < self._end else None)

    def _send(self, request: bytes | None) -> None:
        if request is None:
            self._transport.close()
        else:
            self._transport.write(request)


def _length(head: bytes) -> int:
    return int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])


def requests_of(job: dict[str, Any]) -> Callable[[], Iterator[bytes]]:
    """Requests made before the clock starts; with ``again`` they never end."""
    head = (
        f"{job['method']} {{path}} HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: JWT {job['token']}\r\nContent-Type: application/json\r\n"
    ) + "".join(f"{name}: {value}\r\n" for name, value in job.get("headers", {}).items())
    made = []
    for path, body in job["requests"]:
        text = json.dumps(body).encode() if body is not None else b""
        made.append(
            head.format(path=path).encode() + f"Content-Length: {len(text)}\r\n\r\n".encode() + text
        )
    endless = itertools.cycle(made) if job.get("again") else iter(made)
    return lambda: endless


async def run(job: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {"latencies": [], "statuses": Counter(), "bytes": 0}
    requests = requests_of(job)()
    loop = asyncio.get_running_loop()
    begin = time.perf_counter()
    end = begin + job["seconds"]
    opened = await asyncio.gather(
        *(
            loop.create_connection(
                lambda: Connection(requests, end, result, job.get("every", 0.0)),
                "127.0.0.1",
                job["port"],
            )
            for _ in range(job["connections"])
        )
    )
    await asyncio.gather(*(protocol.closed for _, protocol in opened))
    seconds = time.perf_counter() - begin
    latencies = sorted(result["latencies"])
    return {
        "rate": len(latencies) / seconds,
        "p50": latencies[len(latencies) // 2] * 1000,
        "p99": latencies[int(len(latencies) * 0.99)] * 1000,
        "latencies": [latency * 1000 for latency in latencies],
        "statuses": result["statuses"],
        "bytes": result["bytes"] // max(1, len(latencies)),
    }


if __name__ == "__main__":
    json.dump(uvloop.run(run(json.load(sys.stdin))), sys.stdout)
