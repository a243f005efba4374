"""Who calls, and what the token allows.

Every request but those for health, metrics and documentation carries a token whose
signature is verified here. What a caller may do is told by the token alone: global staff,
scopes of a service, roles in courses, or being the learner whose work it is.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import jwt

from api.http.config import HttpConfig
from api.http.jwks import KeySet
from domain.keys import InvalidKeyError, parse_course_key

READ_SUBMISSIONS: Final = "submissions:read"
WRITE_SUBMISSIONS: Final = "submissions:write"
SERVICE_SCOPES: Final = frozenset(
    {
        READ_SUBMISSIONS,
        WRITE_SUBMISSIONS,
        "courses:write",
        "users:write",
        "enrollments:write",
        "events:read",
        "events:write",
        "audit:read",
    }
)
"""The scopes that only services have; people's tokens have others, such as ``profile``."""

STAFF_ROLES: Final = frozenset({"staff", "instructor"})
"""The course roles that may read and write everything in their course."""

SUPPORTED_MAJOR_VERSION: Final = 1
SECRET_ALGORITHMS: Final = ("HS256", "HS512")
MAX_TOKEN_LENGTH: Final = 16_384
MAX_NAME_LENGTH: Final = 255
REMEMBERED_TOKENS: Final = 4096
REMEMBERED_FOR: Final = 60.0
"""Seconds until a token is verified anew, so that a key taken back loses its power."""


class UnauthenticatedError(Exception):
    """There is no token, or none that can be trusted."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever the token speaks for.

    Attributes:
        username: recorded as the actor of each event.
        user_id: number of the user, as text.
        is_global_staff: may do everything that the filters leave.
        scopes: what a service may do in all courses.
        course_roles: role to the courses in which the caller has it.
        anonymous_ids: ids under which the caller's own work is stored.
        content_orgs: organisations to whose courses the token is restricted; None for all.
        only_own: the token is restricted to the caller's own work.
        users: whom the filters of the token name, by user name.
    """

    username: str
    user_id: str | None = None
    is_global_staff: bool = False
    scopes: frozenset[str] = frozenset()
    course_roles: Mapping[str, frozenset[str]] = field(default_factory=dict)
    anonymous_ids: frozenset[str] = frozenset()
    content_orgs: frozenset[str] | None = None
    only_own: bool = False
    users: frozenset[str] = frozenset()

    @property
    def is_service(self) -> bool:
        """Whether the caller acts for others."""
        return self.is_global_staff or not SERVICE_SCOPES.isdisjoint(self.scopes)

    def may(self, scope: str, course_id: str) -> bool:
        """Whether the caller may use a scope in a course."""
        return (
            not self.only_own
            and self._reaches(course_id)
            and (
                self.is_global_staff
                or scope in self.scopes
                or any(course_id in self.course_roles.get(role, ()) for role in STAFF_ROLES)
            )
        )

    def may_everywhere(self, scope: str) -> bool:
        """Whether the caller may use a scope whatever the course."""
        return (
            not self.only_own
            and self.content_orgs is None
            and (self.is_global_staff or scope in self.scopes)
        )

    def may_somewhere(self, scope: str) -> bool:
        """Whether there can be a course in which the caller may use a scope."""
        return not self.only_own and (
            self.is_global_staff
            or scope in self.scopes
            or any(self.course_roles.get(role) for role in STAFF_ROLES)
        )

    def may_read_course(self, course_id: str) -> bool:
        """Whether the caller may read everybody's submissions and scores in a course."""
        return self.may(READ_SUBMISSIONS, course_id)

    def may_write_course(self, course_id: str) -> bool:
        """Whether the caller may write submissions and scores in a course."""
        return self.may(WRITE_SUBMISSIONS, course_id)

    def may_read_item(self, course_id: str, student_id: str) -> bool:
        """Whether the caller may read one learner's work in a course."""
        return self.may_read_course(course_id) or (
            self.owns(student_id) and self._reaches(course_id)
        )

    def owns(self, student_id: str) -> bool:
        """Whether work of this student is the caller's own."""
        return student_id in (self.username, self.user_id) or student_id in self.anonymous_ids

    def _reaches(self, course_id: str) -> bool:
        if self.content_orgs is None:
            return True
        try:
            return parse_course_key(course_id).org in self.content_orgs
        except InvalidKeyError:
            return False


class Tokens:
    """Verifies tokens and remembers those that it has verified."""

    def __init__(
        self,
        config: HttpConfig,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make a verifier.

        Args:
            config: the keys and what tokens must say.
            clock: gives seconds since 1970.
            monotonic: gives seconds that never go back, for the age of keys.
        """
        self._config = config
        self._clock = clock
        self._keys = (
            KeySet(
                config.jwks_url,
                interval=config.jwks_interval,
                lifetime=config.jwks_lifetime,
                clock=monotonic,
            )
            if config.jwks_url
            else None
        )
        self._remembered: OrderedDict[bytes, tuple[Caller, float]] = OrderedDict()

    async def caller(self, authorization: bytes | None) -> Caller:
        """Who sends this ``Authorization`` header.

        Raises:
            UnauthenticatedError: nobody who can be trusted.
            UnavailableError: the keys to verify it with are out of reach.
        """
        if authorization is None:
            raise UnauthenticatedError("authentication credentials were not provided")
        remembered = self._remembered.get(authorization)
        now = self._clock()
        if remembered is not None and now < remembered[1]:
            self._remembered.move_to_end(authorization)
            return remembered[0]
        claims = await self._verified(_token_of(authorization))
        caller = read_claims(claims)
        self._remembered[authorization] = (
            caller,
            min(now + REMEMBERED_FOR, claims["exp"] + self._config.jwt_leeway),
        )
        while len(self._remembered) > REMEMBERED_TOKENS:
            self._remembered.popitem(last=False)
        return caller

    async def _verified(self, token: str) -> dict[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
            algorithm = str(header.get("alg"))
            key = await self._key(algorithm, header)
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                # The times and the rest are checked below, against our clock.
                options={
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    "verify_aud": False,
                    "verify_iss": False,
                    "verify_sub": False,
                    "verify_jti": False,
                },
            )
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise UnauthenticatedError("the token cannot be verified") from None
        self._check(claims)
        return claims

    async def _key(self, algorithm: str, header: Mapping[str, Any]) -> Any:
        """The key for a token of this header: secrets and public keys never stand in for another."""
        if "crit" in header:
            raise UnauthenticatedError("the token has critical extensions that are not known here")
        if algorithm in SECRET_ALGORITHMS and self._config.jwt_secret:
            return self._config.jwt_secret
        key_id = header.get("kid")
        if (
            self._keys is not None
            and algorithm not in SECRET_ALGORITHMS
            and isinstance(key_id, str)
        ):
            found = await self._keys.find(key_id)
            if found is not None and algorithm in found.algorithms:
                return found.key
        raise UnauthenticatedError("the token cannot be verified")

    def _check(self, claims: Mapping[str, Any]) -> None:
        now, leeway = self._clock(), self._config.jwt_leeway
        if _moment(claims, "exp", required=True) + leeway <= now:
            raise UnauthenticatedError("the token has expired")
        if max(_moment(claims, "nbf"), _moment(claims, "iat")) - leeway > now:
            raise UnauthenticatedError("the token is not valid yet")
        issuer, audience = self._config.jwt_issuer, self._config.jwt_audience
        if issuer is not None and claims.get("iss") != issuer:
            raise UnauthenticatedError("the token comes from another issuer")
        if audience is not None:
            given = claims.get("aud")
            if audience not in (given if isinstance(given, list) else [given]):
                raise UnauthenticatedError("the token is meant for another audience")
        version = str(claims.get("version", "1.0.0")).split(".", 1)[0]
        if not version.isdecimal() or int(version) > SUPPORTED_MAJOR_VERSION:
            raise UnauthenticatedError("the token is of a version that is not known here")


def read_claims(claims: Mapping[str, Any]) -> Caller:
    """Read who is meant by the claims of a token.

    ``filters`` are ``type:value`` pairs; one of a type that is not known here restricts the
    token to the caller's own work, because what it restricts cannot be told.

    Raises:
        UnauthenticatedError: they name nobody, or are of the wrong form.

    Source: edx-drf-extensions, JWT authentication; ``course_roles`` and ``anonymous_ids``
    are our own.
    """
    username = claims.get("preferred_username") or claims.get("username")
    if not isinstance(username, str) or not 0 < len(username) <= MAX_NAME_LENGTH:
        raise UnauthenticatedError("the token names no user")
    if not username.isprintable():
        raise UnauthenticatedError("the token names a user as nobody can be called")
    user_id = claims.get("user_id")
    if isinstance(user_id, bool) or not isinstance(user_id, int | str | None):
        raise UnauthenticatedError("the token has a user_id of the wrong type")
    filters = [f.partition(":")[::2] for f in _texts(claims.get("filters"))]
    orgs = frozenset(value for kind, value in filters if kind == "content_org")
    anonymous_ids = {*_texts(claims.get("anonymous_ids")), *_texts(claims.get("anonymous_user_id"))}
    return Caller(
        username=username,
        user_id=None if user_id is None else str(user_id),
        is_global_staff=claims.get("administrator") is True,
        scopes=frozenset(_words(claims.get("scopes")) | _words(claims.get("scope"))),
        course_roles=_course_roles(claims.get("course_roles")),
        anonymous_ids=frozenset(anonymous_ids),
        content_orgs=orgs or None,
        only_own=any(kind != "content_org" for kind, _ in filters),
        users=frozenset(
            username if value == "me" else value for kind, value in filters if kind == "user"
        ),
    )


def issue_token(
    secret: str,
    *,
    username: str,
    staff: bool = False,
    scopes: Iterable[str] = (),
    course_roles: Mapping[str, Sequence[str]] | None = None,
    expires: float = 3600,
    user_id: int | None = None,
    anonymous_ids: Sequence[str] = (),
    roles: Sequence[str] | None = None,
    email: str | None = None,
    name: str | None = None,
    audience: str | None = None,
    issuer: str | None = None,
    clock: Callable[[], float] = time.time,
) -> str:
    """Sign a token with the shared secret.

    Args:
        secret: the secret that the server verifies with.
        username: for whom.
        staff: global staff.
        scopes: of a service, for example ``submissions:write``.
        course_roles: role to the courses in which the user has it.
        expires: seconds from now.
        user_id: number of the user.
        anonymous_ids: ids under which the user's own work is stored.
        roles: for pages to show; nothing is allowed by them.
        email: the same.
        name: the same.
        audience: whom the token is meant for.
        issuer: who signs.
        clock: gives seconds since 1970.
    """
    now = int(clock())
    claims: dict[str, Any] = {
        "preferred_username": username,
        "administrator": staff,
        "scopes": list(scopes),
        "version": "1.2.0",
        "iat": now,
        "exp": now + int(expires),
    }
    optional = {
        "user_id": user_id,
        "anonymous_ids": list(anonymous_ids) or None,
        "course_roles": {role: list(courses) for role, courses in (course_roles or {}).items()}
        or None,
        "roles": None if roles is None else list(roles),
        "email": email,
        "name": name,
        "aud": audience,
        "iss": issuer,
    }
    claims.update((name, value) for name, value in optional.items() if value is not None)
    return jwt.encode(claims, secret, algorithm="HS256")


def _token_of(authorization: bytes) -> str:
    scheme, _, token = authorization.partition(b" ")
    token = token.strip()
    if scheme.lower() not in (b"jwt", b"bearer") or not token:
        raise UnauthenticatedError("the Authorization header must be JWT <token> or Bearer <token>")
    if len(token) > MAX_TOKEN_LENGTH or not token.isascii():
        raise UnauthenticatedError("the token cannot be verified")
    return token.decode()


def _moment(claims: Mapping[str, Any], name: str, *, required: bool = False) -> float:
    value = claims.get(name)
    if value is None and not required:
        return 0.0
    if isinstance(value, int | float) and not isinstance(value, bool):
        with suppress(OverflowError):
            if math.isfinite(seconds := float(value)):
                return seconds
    raise UnauthenticatedError(f"the token needs a number as {name}")


def _texts(value: object) -> list[str]:
    match value:
        case None:
            return []
        case str():
            return [value]
        case list() if all(isinstance(entry, str) for entry in value):
            return value
        case _:
            raise UnauthenticatedError("the token has a claim of the wrong type")


def _words(value: object) -> set[str]:
    """A list of texts, or words in one text."""
    return {word for text in _texts(value) for word in text.split()}


def _course_roles(value: object) -> dict[str, frozenset[str]]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UnauthenticatedError("the token has a claim of the wrong type")
    return {str(role): frozenset(_texts(courses)) for role, courses in value.items()}
