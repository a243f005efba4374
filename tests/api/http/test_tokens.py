"""Tokens: whose word is taken, and for how long. The keys come from a real server."""

import asyncio
import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from api.http.auth import Caller, Tokens, UnauthenticatedError, issue_token
from api.http.config import HttpConfig
from domain.errors import UnavailableError
from tests.api.http.site import SECRET

NOW = 1_800_000_000
RSA_KEYS = [rsa.generate_private_key(65537, 2048) for _ in range(2)]
EC_KEYS = {
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES512": ec.generate_private_key(ec.SECP521R1()),
}


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


def claims(**changes: Any) -> dict[str, Any]:
    made = {"preferred_username": "ann", "exp": NOW + 100, "iat": NOW} | changes
    return {name: value for name, value in made.items() if value is not None}


def signed(key: Any = SECRET, algorithm: str = "HS256", kid: str | None = None, **more: Any) -> str:
    headers = {} if kid is None else {"kid": kid}
    return jwt.encode(claims(**more), key, algorithm=algorithm, headers=headers)


def caller_of(tokens: Tokens, token: str, scheme: str = "JWT") -> Caller:
    return asyncio.run(tokens.caller(f"{scheme} {token}".encode()))


def verifier(clock: Clock | None = None, **settings: Any) -> Tokens:
    settings = {"jwt_secret": SECRET, "jwt_leeway": 30, **settings}
    moved = clock or Clock()
    return Tokens(HttpConfig(**settings), clock=moved, monotonic=moved)


# --- claims -----------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["JWT", "Bearer", "bearer", "jwt"])
def test_a_token_tells_who_calls_and_what_is_allowed(scheme: str) -> None:
    token = issue_token(
        SECRET,
        username="ann",
        staff=True,
        scopes=["a:read"],
        course_roles={"staff": ["course-v1:A+B+C"]},
        user_id=7,
        anonymous_ids=["x"],
        clock=Clock(),
    )
    caller = caller_of(verifier(), token, scheme)
    assert caller == Caller(
        username="ann",
        user_id="7",
        is_global_staff=True,
        scopes=frozenset({"a:read"}),
        course_roles={"staff": frozenset({"course-v1:A+B+C"})},
        anonymous_ids=frozenset({"x"}),
    )


@pytest.mark.parametrize(
    "scopes",
    [{"scopes": ["a", "b"]}, {"scopes": "a b"}, {"scope": "b a"}, {"scopes": ["a"], "scope": "b"}],
)
def test_scopes_are_a_list_or_words(scopes: dict[str, Any]) -> None:
    assert caller_of(verifier(), signed(**scopes)).scopes == {"a", "b"}


def test_the_older_name_of_the_user_is_taken() -> None:
    assert caller_of(verifier(), signed(preferred_username=None, username="bob")).username == "bob"


@pytest.mark.parametrize("administrator", ["true", 1, "yes", [True]])
def test_only_true_makes_an_administrator(administrator: Any) -> None:
    assert not caller_of(verifier(), signed(administrator=administrator)).is_global_staff


@pytest.mark.parametrize(
    "bad",
    [
        {"preferred_username": None},
        {"preferred_username": ""},
        {"preferred_username": 7},
        {"preferred_username": "a\0b"},
        {"preferred_username": "a" * 256},
        {"exp": None},
        {"exp": "soon"},
        {"exp": True},
        {"exp": float("inf")},
        {"exp": float("nan")},
        {"exp": NOW - 31},
        {"nbf": NOW + 31},
        {"iat": NOW + 31},
        {"version": "2.0.0"},
        {"version": "x"},
        {"version": 2},
        {"user_id": [1]},
        {"scopes": 7},
        {"scopes": [7]},
        {"filters": {"a": 1}},
        {"course_roles": ["staff"]},
        {"course_roles": {"staff": 7}},
    ],
)
def test_bad_claims_are_refused(bad: dict[str, Any]) -> None:
    token = jwt.encode(claims() | bad, SECRET)
    if None in bad.values():
        token = signed(**bad)
    with pytest.raises(UnauthenticatedError):
        caller_of(verifier(), token)


@pytest.mark.parametrize("good", [{"exp": NOW - 29}, {"nbf": NOW + 29}, {"version": "1.9"}])
def test_clocks_may_differ_a_little(good: dict[str, Any]) -> None:
    assert caller_of(verifier(), signed(**good)).username == "ann"


def test_a_token_must_come_from_the_issuer_for_the_audience() -> None:
    tokens = verifier(jwt_issuer="https://lms", jwt_audience="gradelog")
    good: dict[str, Any] = {"iss": "https://lms", "aud": ["other", "gradelog"]}
    assert caller_of(tokens, signed(**good)).username == "ann"
    for bad in ({"iss": "https://evil"}, {"aud": "other"}, {"iss": None}, {"aud": None}):
        with pytest.raises(UnauthenticatedError):
            caller_of(tokens, signed(**good | bad))


def test_a_remembered_token_is_forgotten_when_it_expires() -> None:
    clock = Clock()
    tokens = verifier(clock)
    token = signed()
    assert caller_of(tokens, token) is caller_of(tokens, token)
    clock.now += 100 + 30
    with pytest.raises(UnauthenticatedError, match="expired"):
        caller_of(tokens, token)


# --- signatures -------------------------------------------------------------------------------


def test_a_token_that_nobody_or_somebody_else_signed_is_refused() -> None:
    good = signed()
    head, body, signature = good.split(".")
    forged = [
        signed("another secret that is as long as it must be"),
        jwt.encode(claims(), "", algorithm="none"),
        f"{head}.{body}.",
        f"{head}.{body}",
        f"{head}.{body[:-2]}AA.{signature}",
        signed(RSA_KEYS[0], "RS256", kid="1"),
        jwt.encode(claims(), SECRET, headers={"crit": ["b64"]}),
    ]
    for token in forged:
        with pytest.raises(UnauthenticatedError):
            caller_of(verifier(), token)


def test_secrets_are_not_accepted_where_there_is_none() -> None:
    with pytest.raises(UnauthenticatedError):
        caller_of(verifier(jwt_secret=None), signed())


# --- public keys ------------------------------------------------------------------------------


def jwk(key: Any, kid: str, **more: Any) -> dict[str, Any]:
    algorithm = (
        jwt.algorithms.RSAAlgorithm
        if hasattr(key, "n") or hasattr(key, "decrypt")
        else (jwt.algorithms.ECAlgorithm)
    )
    return {**json.loads(algorithm.to_jwk(key.public_key())), "kid": kid, "use": "sig", **more}


class KeyServer:
    """Serves a key set, or whatever it is told to."""

    def __init__(self) -> None:
        self.keys: list[Any] = []
        self.status = 200
        self.body: bytes | None = None
        self.fetches = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.fetches += 1
                body = outer.body or json.dumps({"keys": outer.keys}).encode()
                self.send_response(outer.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/jwks.json"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()


@pytest.fixture
def key_server() -> Iterator[KeyServer]:
    served = KeyServer()
    yield served
    served.server.shutdown()
    served.server.server_close()
    served.thread.join()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def with_keys(key_server: KeyServer, clock: Clock, **settings: Any) -> Tokens:
    return verifier(clock, jwks_url=key_server.url, **settings)


@pytest.mark.parametrize("algorithm", ["RS256", "RS512", "ES256", "ES512"])
def test_a_token_is_verified_with_the_public_key_it_names(
    key_server: KeyServer, clock: Clock, algorithm: str
) -> None:
    key = EC_KEYS.get(algorithm, RSA_KEYS[0])
    key_server.keys = [jwk(RSA_KEYS[1], "other"), jwk(key, "mine")]
    tokens = with_keys(key_server, clock)
    assert caller_of(tokens, signed(key, algorithm, kid="mine")).username == "ann"
    for bad in (
        signed(key, algorithm, kid="other"),
        signed(key, algorithm),
        signed(RSA_KEYS[1], "RS256", kid="mine"),
    ):
        with pytest.raises(UnauthenticatedError):
            caller_of(tokens, bad)


def test_a_public_key_is_never_used_as_a_secret(key_server: KeyServer, clock: Clock) -> None:
    public = RSA_KEYS[0].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    key_server.keys = [jwk(RSA_KEYS[0], "1"), {"kty": "oct", "kid": "2", "k": "c2VjcmV0"}]
    tokens = with_keys(key_server, clock, jwt_secret=None)
    head, body, _ = signed(kid="1").split(".")
    mac = hmac.new(public, f"{head}.{body}".encode(), hashlib.sha256).digest()
    forged = f"{head}.{body}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    for token in (forged, signed("secret" * 8, kid="2")):
        with pytest.raises(UnauthenticatedError):
            caller_of(tokens, token)


def test_keys_are_rotated(key_server: KeyServer, clock: Clock) -> None:
    tokens = with_keys(key_server, clock)
    key_server.keys = [jwk(RSA_KEYS[0], "1")]
    assert caller_of(tokens, signed(RSA_KEYS[0], "RS256", kid="1"))
    key_server.keys = [jwk(RSA_KEYS[1], "2")]
    clock.now += 11
    assert caller_of(tokens, signed(RSA_KEYS[1], "RS256", kid="2"))
    with pytest.raises(UnauthenticatedError):
        caller_of(tokens, signed(RSA_KEYS[0], "RS256", kid="1", email="not remembered"))
    assert key_server.fetches == 2


def test_a_key_that_was_taken_back_loses_its_power_by_and_by(
    key_server: KeyServer, clock: Clock
) -> None:
    tokens = with_keys(key_server, clock)
    key_server.keys = [jwk(RSA_KEYS[0], "1")]
    token = signed(RSA_KEYS[0], "RS256", kid="1", exp=NOW + 10_000)
    assert caller_of(tokens, token)
    key_server.keys = []
    clock.now += 301
    with pytest.raises(UnauthenticatedError):
        caller_of(tokens, token)


def test_unknown_keys_are_asked_for_once_an_interval(key_server: KeyServer, clock: Clock) -> None:
    tokens = with_keys(key_server, clock)

    async def ask(number: int) -> None:
        with pytest.raises(UnauthenticatedError):
            await tokens.caller(b"JWT " + signed(RSA_KEYS[0], "RS256", kid=f"x{number}").encode())

    async def ask_all() -> None:
        await asyncio.gather(*(ask(number) for number in range(50)))

    asyncio.run(ask_all())
    assert key_server.fetches == 1


@pytest.mark.parametrize("body", [b"", b"no json", b"[]", b'{"keys": 7}', b"x" * 300_000])
def test_the_last_good_keys_stay_when_their_server_is_away(
    key_server: KeyServer, clock: Clock, body: bytes
) -> None:
    tokens = with_keys(key_server, clock)
    key_server.keys = [jwk(RSA_KEYS[0], "1")]
    assert caller_of(tokens, signed(RSA_KEYS[0], "RS256", kid="1"))
    key_server.status, key_server.body = (200, body) if body else (500, None)
    clock.now += 1000
    late = signed(RSA_KEYS[0], "RS256", kid="1", exp=NOW + 10_000)
    assert caller_of(tokens, late)
    assert key_server.fetches == 2


def test_without_any_keys_nobody_is_turned_away_for_good(clock: Clock) -> None:
    tokens = verifier(clock, jwks_url="http://127.0.0.1:1/jwks.json")
    with pytest.raises(UnavailableError):
        caller_of(tokens, signed(RSA_KEYS[0], "RS256", kid="1"))


def test_bad_entries_of_a_key_set_are_left_out(key_server: KeyServer, clock: Clock) -> None:
    key_server.keys = [
        7,
        {"kid": "a"},
        {"kid": "b", "kty": "RSA", "n": "!", "e": "AQAB"},
        jwk(RSA_KEYS[0], "c", use="enc"),
        jwk(RSA_KEYS[0], "d", alg="PS256"),
        jwk(RSA_KEYS[0], "good", alg="RS256"),
    ]
    tokens = with_keys(key_server, clock)
    assert caller_of(tokens, signed(RSA_KEYS[0], "RS256", kid="good"))
    for kid in ("a", "b", "c", "d"):
        with pytest.raises(UnauthenticatedError):
            caller_of(tokens, signed(RSA_KEYS[0], "RS256", kid=kid))
    with pytest.raises(UnauthenticatedError):
        caller_of(tokens, signed(RSA_KEYS[0], "RS512", kid="good"))
