"""What the HTTP interfaces need to be told; whoever starts them reads it from the settings."""

from dataclasses import dataclass, field
from datetime import timedelta


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

    def __post_init__(self) -> None:
        if not 0 <= self.jwt_leeway <= 60:
            raise ValueError("the leeway of tokens is between 0 and 60 seconds")
