"""A log that is written to, webhooks, and deliverers that run while a test says so."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any, Self, TypeVar

from api.webhooks import Attempt, NewWebhook, Webhook, WithSecret
from domain.submissions.application import Submissions
from infra.database import now
from infra.engine import Engine
from infra.log.postgres_log import PostgresLog
from infra.vault import Vault
from infra.webhooks.deliverer import Backoff, Deliverer
from infra.webhooks.sending import Sender
from infra.webhooks.signing import Keeper
from infra.webhooks.store import PostgresWebhooks
from infra.webhooks.targets import Policy
from infra.webhooks.turns import GiveUp, Turns
from tests import looking
from tests.infra.webhooks.target import PATIENCE, Target

T = TypeVar("T")

COURSE = "course-v1:Demo+Hooks+2026"
AT_ONCE = Backoff(first=0.01, longest=0.02, chance=lambda: 1.0)
"""Retries follow each other without a pause that anybody would notice."""

MASTER = bytes(range(32))


def an_item(course_id: str) -> dict[str, str]:
    return {
        "student_id": "anna",
        "course_id": course_id,
        "item_id": "essay",
        "item_type": "openassessment",
    }


def local_policy() -> Policy:
    return Policy(allow_insecure=True, allowed_networks=["127.0.0.0/8", "::1/128"])


class Hooks:
    """What a test works with."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.engine = Engine(limit=PATIENCE)
        self._stack.callback(self.engine.close)
        log = PostgresLog(self.dsn, timeout=PATIENCE)
        self._stack.callback(lambda: self.run(log.close()))
        vault = Vault(self.dsn, timeout=PATIENCE)
        self._stack.callback(lambda: self.run(vault.close()))
        self.submissions = Submissions(log, now, vault)
        self.store = PostgresWebhooks(
            self.dsn, master_key=MASTER, policy=local_policy(), timeout=PATIENCE
        )
        self._stack.callback(lambda: self.run(self.store.close()))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.engine.run(lambda: work)

    # --- the log ------------------------------------------------------------------------------

    def head(self) -> int:
        return int(self.rows("SELECT coalesce(max(position), 0) FROM gradelog.events")[0][0])

    def write(self, count: int = 1, *, course_id: str = COURSE, answer: Any = "42") -> list[int]:
        """Hand in answers of somebody; the positions of what that has written."""

        async def hand_in() -> None:
            for _ in range(count):
                await self.submissions.create_submission(an_item(course_id), answer)

        before = self.head()
        self.run(hand_in())
        return list(range(before + 1, self.head() + 1))

    def score(self, *, course_id: str = COURSE) -> int:
        """Hand in and score; the position of the score."""

        async def both() -> int | None:
            created = await self.submissions.create_submission(an_item(course_id), "42")
            uuid = created.value.event.submission_uuid
            return (await self.submissions.set_score(uuid, 1, 2)).position

        position = self.run(both())
        assert position is not None
        return position

    # --- webhooks -----------------------------------------------------------------------------

    def add(self, target: "Target | str", **more: Any) -> WithSecret:
        """A webhook from the beginning of the log on."""
        url = target if isinstance(target, str) else target.url
        new = NewWebhook(url, **{"after": 0, **more})
        return self.run(self.store.create(new, by="kim")).value

    def get(self, made: WithSecret) -> Webhook:
        return self.run(self.store.get(made.webhook.webhook_id))

    def change(self, made: WithSecret, **changes: Any) -> Webhook:
        return self.run(self.store.change(made.webhook.webhook_id, changes, by="kim"))

    def attempts(self, made: WithSecret) -> list[Attempt]:
        """The newest first."""
        found = self.store.attempts(made.webhook.webhook_id, before=None, limit=100)
        return list(self.run(found))

    def rows(self, statement: Any, *arguments: Any) -> list[Any]:
        return looking.rows(self.dsn, statement, *arguments)

    def until(self, reached: Callable[[], Any]) -> None:
        """Look again and again until something is so."""
        never = threading.Event()
        for _ in range(int(PATIENCE / 0.01)):
            if reached():
                return
            never.wait(0.01)
        raise AssertionError("it did not happen in time")

    def until_at(self, made: WithSecret, position: int) -> None:
        self.until(lambda: self.get(made).position >= position)

    # --- delivering ---------------------------------------------------------------------------

    @contextmanager
    def delivering(
        self,
        *,
        backoff: Backoff = AT_ONCE,
        lease: float = 3600.0,
        give_up: GiveUp | None = None,
        concurrency: int = 32,
        policy: Policy | None = None,
        master: bytes | None = MASTER,
        **sender: Any,
    ) -> Iterator[Deliverer]:
        """A deliverer of its own, until the end. Its limits are those of a busy machine."""
        limits = {"connect_timeout": PATIENCE, "total_timeout": PATIENCE} | sender
        made: list[Deliverer] = []
        began, stop = threading.Event(), threading.Event()

        async def run() -> None:
            turns = Turns(
                self.dsn, lease=timedelta(seconds=lease), give_up=give_up, timeout=PATIENCE
            )
            sending = Sender(policy or local_policy(), **limits)
            deliverer = Deliverer(
                turns, sending, Keeper(master), concurrency=concurrency, backoff=backoff
            )
            made.append(deliverer)
            began.set()
            try:
                await deliverer.run(stop)
            finally:
                await sending.close()
                await turns.close()

        thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
        thread.start()
        assert began.wait(PATIENCE)
        try:
            yield made[0]
        finally:
            stop.set()
            thread.join(PATIENCE)
            assert not thread.is_alive()
