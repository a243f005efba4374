"""One request to the target of a webhook: signed, to an address that was checked, bounded.

Whatever happens is an outcome and no exception: a target that fails is what this is about.
Of an answer only its status counts. It is never shown to anybody, so that nobody reads with
this server what he cannot reach himself.
"""

import asyncio
import email.utils
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import httpcore

from api.cloudevents import BATCH_MEDIA_TYPE
from infra.webhooks.signing import signature
from infra.webhooks.targets import Policy, TargetError

CONNECT_TIMEOUT: Final = 5.0
TOTAL_TIMEOUT: Final = 15.0
LONGEST_ANSWER: Final = 64 * 1024
"""Bytes of an answer that are read before the connection is closed."""

KEEP_ALIVE: Final = 20.0
"""Seconds that a connection waits for the next batch."""

GONE: Final = 410


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request.

    Attributes:
        status: of the answer; None when none came.
        seconds: how long it took.
        error: why it does not count as delivered; None when it does.
        retry_after: seconds for which the target asks to be left alone.
    """

    status: int | None
    seconds: float
    error: str | None
    retry_after: float | None = None

    @property
    def delivered(self) -> bool:
        """Whether the target has taken it."""
        return self.error is None

    @property
    def is_final(self) -> bool:
        """Whether the target wants nothing any more."""
        return self.status == GONE


class Sender:
    """Sends for the tasks of one event loop."""

    def __init__(
        self,
        policy: Policy,
        *,
        tls: ssl.SSLContext | None = None,
        connect_timeout: float = CONNECT_TIMEOUT,
        total_timeout: float = TOTAL_TIMEOUT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Make a sender; nothing is connected yet.

        Args:
            policy: where requests may go.
            tls: whom to trust; by default whom this machine trusts.
            connect_timeout: seconds to resolve the name and connect.
            total_timeout: seconds for all of a request.
            clock: gives seconds since 1970, for the signatures.
        """
        self._policy = policy
        self._total = total_timeout
        self._clock = clock
        self._connect = connect_timeout
        self._agent = f"gradelog/{_version()}"
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls or ssl.create_default_context(),
            max_connections=None,
            max_keepalive_connections=64,
            keepalive_expiry=KEEP_ALIVE,
            network_backend=_Checked(policy, connect_timeout),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.aclose()
        self._policy.close()

    async def send(
        self, url: str, message_id: str, body: bytes, secrets: Sequence[bytes]
    ) -> Outcome:
        """Send a batch of events, signed with each of the secrets."""
        timestamp = int(self._clock())
        headers = {
            "Content-Type": f"{BATCH_MEDIA_TYPE}; charset=UTF-8",
            "User-Agent": self._agent,
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": " ".join(
                signature(secret, message_id, timestamp, body) for secret in secrets
            ),
        }
        began = time.monotonic()
        status: int | None = None
        retry_after: float | None = None
        try:
            async with asyncio.timeout(self._total):
                target = self._policy.target(url)
                headers["Host"] = target.authority
                async with self._pool.stream(
                    "POST",
                    httpcore.URL(
                        scheme=target.scheme.encode(),
                        host=target.host.encode(),
                        port=target.port,
                        target=target.path.encode(),
                    ),
                    headers=list(headers.items()),
                    content=body,
                    extensions={"timeout": dict.fromkeys(_PHASES, self._total)},
                ) as response:
                    status = response.status
                    retry_after = _retry_after(response.headers, self._clock())
                    await _drain(response)
            error = None if 200 <= status < 300 else _refusal(status)
        except TargetError as refused:
            error = str(refused)
        except TimeoutError:
            error = _too_late(status, self._total)
        except _FAILURES as failed:
            error = _broken(failed, status)
        if error is not None and status is not None and 200 <= status < 300:
            error = None  # it was taken; what else the target had to say does not matter
        return Outcome(status, time.monotonic() - began, error, retry_after)


class _Checked(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were looked at, whatever the name means by then."""

    def __init__(self, policy: Policy, timeout: float) -> None:
        self._policy = policy
        self._timeout = timeout
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002, ASYNC109 - the library's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of a host that answers."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout
        addresses = await self._policy.resolve(host, port)
        failed: Exception = httpcore.ConnectTimeout()
        for number, address in enumerate(addresses):
            share = (deadline - loop.time()) / (len(addresses) - number)
            try:
                return await self._network.connect_tcp(
                    str(address),
                    port,
                    timeout=max(share, 0.001),
                    local_address=local_address,
                    socket_options=socket_options,
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        raise failed

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


_PHASES: Final = ("connect", "read", "write", "pool")
"""Each may take all of the time: there is one limit for the whole besides."""


_FAILURES: Final = (
    httpcore.NetworkError,
    httpcore.TimeoutException,
    httpcore.ProtocolError,
    OSError,  # of TLS after the handshake, which the library passes on as it is
)


async def _drain(response: httpcore.Response) -> None:
    """Read what little an answer should hold, so that the connection can be used again."""
    size = 0
    async for chunk in response.aiter_stream():
        size += len(chunk)
        if size > LONGEST_ANSWER:
            return


def _retry_after(headers: Iterable[tuple[bytes, bytes]], now: float) -> float | None:
    for name, value in headers:
        if name.lower() != b"retry-after":
            continue
        text = value.decode("latin-1").strip()
        if text.isdecimal() and text.isascii():
            return float(text[:9])
        try:
            moment = email.utils.parsedate_to_datetime(text)
        except (ValueError, TypeError, OverflowError):
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return max(0.0, (moment - datetime.fromtimestamp(now, UTC)).total_seconds())
    return None


def _refusal(status: int) -> str:
    if 300 <= status < 400:
        return f"the target answered {status}; redirects are not followed"
    return f"the target answered {status}"


def _too_late(status: int | None, limit: float) -> str:
    if status is None:
        return f"no answer came within {limit:g} seconds"
    return f"the target answered {status}, and did not come to an end within {limit:g} seconds"


def _broken(error: Exception, status: int | None) -> str:
    """What went wrong on the way, without what the other side has sent."""
    if status is not None:
        return f"the target answered {status} and broke off"
    match error:
        case httpcore.ConnectTimeout():
            return "the target cannot be connected to in time"
        case httpcore.ConnectError() if isinstance(_root(error), ssl.SSLCertVerificationError):
            return "the certificate of the target cannot be trusted"
        case _ if isinstance(_root(error), ssl.SSLError):
            return "the target does not speak TLS as it should"
        case httpcore.ConnectError():
            return "the target cannot be connected to"
        case httpcore.ProtocolError():
            return "the target does not speak HTTP as it should"
        case _:
            return "the connection broke before an answer came"


def _root(error: BaseException) -> BaseException:
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error


def _version() -> str:
    try:
        return version("gradelog")
    except PackageNotFoundError:
        return "0"
