"""A load generator: so many connections, each sending its next request after the answer.

Reads a JSON job from standard input, prints a JSON result: requests a second, latencies in
milliseconds, statuses. Runs in a process of its own.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import uvloop


class Connection(asyncio.Protocol):
    """One keep-alive connection."""

    def __init__(self, requests: Iterator[bytes], end: float, result: dict[str, Any]) -> None:
        self._requests = requests
        self._end = end
        self._result = result
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._sent = 0.0
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._next()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        if len(body) < length:
            return
        self._buffer = body[length:]
        now = time.perf_counter()
        self._result["latencies"].append(now - self._sent)
        self._result["statuses"][head[9:12].decode()] += 1
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)

    def _next(self) -> None:
        self._sent = time.perf_counter()
        request = next(self._requests, None) if self._sent < self._end else None
        if request is None:
            self._transport.close()
        else:
            self._transport.write(request)


def requests_of(job: dict[str, Any]) -> Callable[[], Iterator[bytes]]:
    """Requests made before the clock starts; numbers in them are counted up."""
    head = (
        f"{job['method']} {{path}} HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: JWT {job['token']}\r\nContent-Type: application/json\r\n"
    )
    made = []
    for path, body in job["requests"]:
        text = json.dumps(body).encode() if body is not None else b""
        made.append(
            head.format(path=path).encode() + f"Content-Length: {len(text)}\r\n\r\n".encode() + text
        )
    endless = iter(made)
    return lambda: endless


async def run(job: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {"latencies": [], "statuses": Counter()}
    requests = requests_of(job)()
    loop = asyncio.get_running_loop()
    begin = time.perf_counter()
    end = begin + job["seconds"]
    opened = await asyncio.gather(
        *(
            loop.create_connection(
                lambda: Connection(requests, end, result), "127.0.0.1", job["port"]
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
        "statuses": result["statuses"],
    }


if __name__ == "__main__":
    json.dump(uvloop.run(run(json.load(sys.stdin))), sys.stdout)
