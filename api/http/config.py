"""What the HTTP interfaces need to be told; whoever starts them reads it from the settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from api.http.asyncapi import Topics


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """Settings of the HTTP interfaces.

    Attributes:
        jwt_secret: verifies tokens signed with HS256 or HS512; none are accepted without it.
        jwks_url: where the public keys for RS and ES tokens are; none are accepted without it.
        jwt_audience: every token must be meant for it, when given.
        jwt_issuer: every token must come from it, when given.
        jwt_leeway: seconds by which clocks may differ, 60 at most.
        jwks_interval: seconds that must pass between two fetches of the key set.
        jwks_lifetime: seconds after which the key set is fetched again.
        body_limit: bytes of a request body.
        line_limit: bytes of one line of a bulk request.
        idempotency_lifetime: how long the answer to an ``Idempotency-Key`` is kept.
        wait_limit: seconds that a read waits for ``X-Min-Log-Position``.
        allowed_origins: other sites whose pages may call, as browsers write origins.
        public_url: where browsers find this server; as they ask for it when None.
        login_url: where people sign in when another system lets them in; here when None.
        logout_url: where they sign out then.
        refresh_url: where pages get new tokens then.
        cookie_domain: for the tokens' cookies, so that pages of its other hosts can read them.
        payload_cookie: name of the cookie of a token's header and payload.
        signature_cookie: name of the cookie of its signature.
        token_lifetime: of the tokens that are made of a session.
        session_lifetime: how long somebody stays signed in.
        development: whoever comes may sign in as anybody.
        development_anywhere: even if he has not come by a name of this machine.
        attempts_per_user: sign-ins that may fail in a while.
        attempts_per_address: the same for everybody who comes from one address.
        attempts_window: the while.
        site_name: shown to people.
        mfe_config: further settings of the pages that call.
        mfe_overrides: the same for one application each, by its name.
        event_source: tells the log from others in what is published of it.
        event_streams: how many streams of events may be open in this process.
        event_keep_alive: seconds after which a stream says something even if nothing happens.
        topics: of Kafka, to be described.
    """

    jwt_secret: str | None = field(default=None, repr=False)
    jwks_url: str | None = None
    jwt_audience: str | None = None
    jwt_issuer: str | None = None
    jwt_leeway: float = 30.0
    jwks_interval: float = 10.0
    jwks_lifetime: float = 300.0
    body_limit: int = 1024 * 1024
    line_limit: int = 1024 * 1024
    idempotency_lifetime: timedelta = timedelta(days=7)
    wait_limit: float = 5.0
    allowed_origins: frozenset[str] = frozenset()
    public_url: str | None = None
    login_url: str | None = None
    logout_url: str | None = None
    refresh_url: str | None = None
    cookie_domain: str | None = None
    payload_cookie: str = "edx-jwt-cookie-header-payload"
    signature_cookie: str = "edx-jwt-cookie-signature"
    token_lifetime: timedelta = timedelta(minutes=15)
    session_lifetime: timedelta = timedelta(days=30)
    development: bool = False
    development_anywhere: bool = False
    attempts_per_user: int = 10
    attempts_per_address: int = 100
    attempts_window: timedelta = timedelta(minutes=5)
    site_name: str = "gradelog"
    mfe_config: Mapping[str, Any] = field(default_factory=dict)
    mfe_overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    event_source: str = "/gradelog"
    event_streams: int = 1000
    event_keep_alive: float = 15.0
    topics: Topics = field(default_factory=Topics)

    @property
    def people_sign_in_here(self) -> bool:
        """Whether there are sessions of our own; tokens for them are signed with the secret."""
        return self.jwt_secret is not None and self.login_url is None

    def __post_init__(self) -> None:
        if not 0 <= self.jwt_leeway <= 60:
            raise ValueError("the leeway of tokens is between 0 and 60 seconds")
