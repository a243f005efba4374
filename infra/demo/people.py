"""Who takes part. Nobody of them is anybody: names are numbers, addresses lead nowhere."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from infra.demo.course import BEGIN

LEARNERS: Final = 300
INSTRUCTOR: Final = "instructor-1"
ASSISTANT: Final = "assistant-1"
ROLES: Final[Mapping[str, str]] = {INSTRUCTOR: "instructor", ASSISTANT: "staff"}
"""Role in the course by user name."""

COHORTS: Final = ("Lab group A", "Lab group B")
REGISTERED: Final = BEGIN - timedelta(weeks=3)
SEED: Final = 20260119
SHARE_VERIFIED: Final = 0.3


@dataclass(frozen=True, slots=True)
class Learner:
    """Somebody who learns. Work is stored under ``student_id``, which tells nobody who it is."""

    number: int
    mode: str
    enrolled_at: datetime

    @property
    def student_id(self) -> str:
        """The anonymous id."""
        return f"learner-{self.number:03}"

    @property
    def username(self) -> str:
        """The name to sign in with."""
        return f"learner{self.number:03}"

    @property
    def cohort(self) -> str:
        """The cohort."""
        return COHORTS[self.number % len(COHORTS)]

    def as_user(self) -> dict[str, Any]:
        """What is registered."""
        return {
            "username": self.username,
            "email": f"{self.username}@example.org",
            "full_name": f"Learner {self.number:03}",
            "anonymous_ids": [self.student_id],
        }


def learners() -> list[Learner]:
    """All learners, in the order in which they enrolled."""
    dice = random.Random(SEED)  # noqa: S311 - a story, not a secret
    days = sorted(dice.uniform(-20, -1) for _ in range(LEARNERS))
    return [
        Learner(
            number,
            "verified" if dice.random() < SHARE_VERIFIED else "audit",
            BEGIN + timedelta(days=day),
        )
        for number, day in enumerate(days, 1)
    ]


def staff() -> list[dict[str, Any]]:
    """Those who teach, as they are registered."""
    return [
        {
            "username": username,
            "email": f"{username}@example.org",
            "full_name": username.replace("-", " ").capitalize(),
        }
        for username in ROLES
    ]
