"""How often one user may ask for what is expensive.

A bucket for each user, in this process: it holds as many tokens as there are requests in a
minute, each request takes one, and they flow back evenly. Full buckets are forgotten.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, cast

from api.http.calls import Call
from api.http.grades.errors import ApiError

PER_MINUTE: Final = 120
REMEMBERED: Final = 10_000


class Throttle:
    """Counts the requests of each user."""

    def __init__(
        self, per_minute: int = PER_MINUTE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Make one.

        Args:
            per_minute: requests of one user.
            clock: gives seconds that never go back.
        """
        self._most = per_minute
        self._rate = per_minute / 60
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, username: str) -> None:
        """Count a request.

        Raises:
            ApiError: 429: too many of them.
        """
        now = self._clock()
        left, at = self._buckets.pop(username, (float(self._most), now))
        left = min(self._most, left + (now - at) * self._rate)
        wait = 0 if left >= 1 else math.ceil(round((1 - left) / self._rate, 6))
        self._buckets[username] = (left if wait else left - 1, now)
        while len(self._buckets) > REMEMBERED:
            self._buckets.popitem(last=False)
        if wait:
            raise ApiError(
                429,
                f"Request was throttled. Expected available in {wait} seconds.",
                headers={"Retry-After": str(wait)},
            )


def throttle_history(call: Call) -> None:
    """Count a request for submission histories.

    Raises:
        ApiError: 429.
    """
    state = call.scope["app"].state
    throttle = getattr(state, "history_throttle", None)
    if throttle is None:
        throttle = state.history_throttle = Throttle()
    cast(Throttle, throttle).take(call.caller.username)
