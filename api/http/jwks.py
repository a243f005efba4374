"""The public keys of those who sign tokens, fetched by URL and kept.

A key set is fetched again when it is old, and when a token names a key that is not in it,
which is how keys are rotated. However many such tokens come, there is one fetch an
interval. While the server of the keys is away, the last keys it gave stay good.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx
import jwt

from domain.errors import UnavailableError

logger = logging.getLogger(__name__)

FETCH_TIMEOUT: Final = 5.0
MAX_BYTES: Final = 256 * 1024
MAX_KEYS: Final = 100

_CURVES: Final = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
_RSA: Final = ("RS256", "RS384", "RS512")


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key and the algorithms that it may be used with."""

    key: Any
    algorithms: tuple[str, ...]


class KeySet:
    """The keys behind one URL, by their ids."""

    def __init__(
        self,
        url: str,
        *,
        interval: float,
        lifetime: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make a key set; it is fetched when it is first needed.

        Args:
            url: where the key set is.
            interval: seconds that must pass between two fetches.
            lifetime: seconds after which the keys are fetched again.
            clock: gives seconds that never go back.
        """
        self._url = url
        self._interval = interval
        self._lifetime = lifetime
        self._clock = clock
        self._keys: Mapping[str, PublicKey] = {}
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._fetching = asyncio.Lock()

    async def find(self, key_id: str) -> PublicKey | None:
        """The key of this id, if the signer has one.

        Raises:
            UnavailableError: the keys could never be fetched so far.
        """
        if self._is_old() or key_id not in self._keys:
            await self._fetch_unless_just_tried()
        if self._fetched_at is None:
            raise UnavailableError("the keys that tokens are signed with cannot be fetched")
        return self._keys.get(key_id)

    def _is_old(self) -> bool:
        return self._fetched_at is None or self._clock() - self._fetched_at >= self._lifetime

    async def _fetch_unless_just_tried(self) -> None:
        asked_at = self._clock()
        async with self._fetching:
            tried_at = self._tried_at
            if tried_at is not None and asked_at - tried_at < self._interval:
                return
            self._tried_at = self._clock()
            try:
                async with asyncio.timeout(FETCH_TIMEOUT):
                    self._keys = parse_key_set(await self._download())
            except (httpx.HTTPError, httpx.InvalidURL, ValueError, TimeoutError) as error:
                logger.warning("the key set at %s cannot be fetched: %r", self._url, error)
                return
            self._fetched_at = self._clock()

    async def _download(self) -> bytes:
        content = bytearray()
        async with (
            httpx.AsyncClient(timeout=FETCH_TIMEOUT) as client,
            client.stream("GET", self._url, headers={"Accept": "application/json"}) as response,
        ):
            response.raise_for_status()
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > MAX_BYTES:
                    raise ValueError(f"a key set of more than {MAX_BYTES} bytes")
        return bytes(content)


def parse_key_set(content: bytes) -> dict[str, PublicKey]:
    """Read a JWK set; keys without an id, for encryption, secret or of other kinds are left out.

    Raises:
        ValueError: no key set.
    """
    document = json.loads(content)
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise ValueError("no JSON Web Key Set, or one that is too large")
    found = {}
    for entry in entries:
        if isinstance(entry, dict) and isinstance(entry.get("kid"), str):
            key = _public_key(entry)
            if key is not None:
                found[entry["kid"]] = key
    return found


def _public_key(entry: dict[str, Any]) -> PublicKey | None:
    if entry.get("use", "sig") != "sig" or "d" in entry:
        return None
    match entry.get("kty"):
        case "RSA":
            possible: tuple[str, ...] = _RSA
        case "EC" if entry.get("crv") in _CURVES:
            possible = (_CURVES[entry["crv"]],)
        case _:
            return None
    declared = entry.get("alg")
    algorithms = possible if declared is None else tuple(a for a in possible if a == declared)
    if not algorithms:
        return None
    try:
        return PublicKey(jwt.PyJWK(entry, algorithm=algorithms[0]).key, algorithms)
    except jwt.PyJWTError:
        logger.warning("a key of the key set cannot be read")
        return None
