"""A browser: it keeps cookies, sends forms, and calls as the shared code of front ends does."""

import asyncio
import re
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from html import unescape
from typing import Any, Self

import httpx
import jwt
from starlette.responses import JSONResponse

from api.http.app import OPERATIONS
from api.http.calls import Call
from api.http.config import HttpConfig
from api.http.login_page import page
from api.http.routing import Answers, Operation
from domain.learners.application import Learners
from infra.log.postgres_log import PostgresLog
from infra.sessions import PostgresSessions
from infra.vault import Vault
from tests.api.http.site import API, PATIENCE, SECRET, Site, an_item, serving
from tests.school import following

MFE = "https://mfe.example"
PASSWORD = "correct horse battery staple"
PAYLOAD, SIGNATURE = "edx-jwt-cookie-header-payload", "edx-jwt-cookie-signature"


class Clock:
    """The real time, moved by hand."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead

    def now(self) -> datetime:
        return datetime.fromtimestamp(self(), UTC)


@dataclass
class Town:
    """A site where people are registered and browsers come."""

    site: Site
    clock: Clock

    def register(self, username: str, *, password: str | None = PASSWORD, **more: Any) -> int:
        """Register a user, perhaps with a password; the number."""

        async def work() -> int:
            dsn = self.site.dsn
            log, vault = PostgresLog(dsn, timeout=PATIENCE), Vault(dsn, timeout=PATIENCE)
            sessions = PostgresSessions(self.site.dsn, timeout=PATIENCE)
            try:
                learners = Learners(log, self.clock.now, vault)
                done = await learners.register_user(username, **more)
                user_id = done.value.user_id
                if password is not None:
                    await sessions.set_password(user_id, password, at=self.clock.now())
                return user_id
            finally:
                await sessions.close()
                await vault.close()
                await log.close()

        return asyncio.run(work())

    def sessions(self, work: Callable[[PostgresSessions], Coroutine[Any, Any, Any]]) -> Any:
        """Do something with the sessions themselves."""

        async def run() -> Any:
            sessions = PostgresSessions(self.site.dsn, timeout=PATIENCE)
            try:
                return await work(sessions)
            finally:
                await sessions.close()

        return asyncio.run(run())

    @contextmanager
    def browser(self, **headers: str) -> Iterator["Browser"]:
        with httpx.Client(timeout=30, headers=headers) as client:
            yield Browser(self.site.url, client)


@dataclass
class Browser:
    """One browser of one person."""

    url: str
    client: httpx.Client

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.client.get(self.url + path, **more)

    def post(self, path: str, **more: Any) -> httpx.Response:
        return self.client.post(self.url + path, **more)

    # --- people ---------------------------------------------------------------------------

    def sign_in(
        self,
        username: str,
        password: str = PASSWORD,
        *,
        next_url: str | None = None,
        **fields: str,
    ) -> httpx.Response:
        """Open the page and send its form."""
        page = self.get("/login", params={"next": next_url} if next_url else {})
        assert page.status_code == 200, page.text
        form = hidden(page.text) | {"username": username, "password": password} | fields
        return self.post("/login", data=form)

    def signed_in(self, username: str, password: str = PASSWORD) -> Self:
        answer = self.sign_in(username, password)
        assert answer.status_code == 303, answer.text
        return self

    # --- pages of the front end -----------------------------------------------------------

    def refresh(self) -> httpx.Response:
        return self.post("/login_refresh", headers={"Origin": MFE})

    def csrf(self) -> str:
        answer = self.get("/csrf/api/v1/token", headers={"USE-JWT-COOKIE": "true", "Origin": MFE})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["csrfToken"])

    def api(
        self, method: str, path: str, *, csrf: str | None = None, **more: Any
    ) -> httpx.Response:
        headers = {"USE-JWT-COOKIE": "true", "Origin": MFE, **more.pop("headers", {})}
        if csrf is not None:
            headers["X-CSRFToken"] = csrf
        return self.client.request(method, self.url + path, headers=headers, **more)

    def write(self, *, csrf: str | None = None, **more: Any) -> httpx.Response:
        """Hand something in, which global staff may do."""
        body = {"student_item": an_item(), "answer": "x"}
        return self.api("POST", f"{API}/submissions/", csrf=csrf, json=body, **more)

    def claims(self, **more: Any) -> dict[str, Any]:
        """What the token says, once its signature is verified."""
        token = f"{self.client.cookies[PAYLOAD]}.{self.client.cookies[SIGNATURE]}"
        options: Any = {"verify_exp": False, "verify_aud": False}
        found: dict[str, Any] = jwt.decode(
            token, SECRET, algorithms=["HS256"], options=options, **more
        )
        return found


def hidden(page: str) -> dict[str, str]:
    """The hidden fields of a page."""
    found = re.findall(r"<input type=hidden name=(\w+) value='([^']*)'", page)
    return {name: unescape(value) for name, value in found}


async def _note(call: Call) -> Any:
    """A page of gradelog itself, which reads and writes."""
    fields = await call.form_fields() if call.method == "POST" else {}
    return page("Notes", f"{call.caller.username} {fields.get('text', '')}")


NOTES = tuple(
    Operation(
        method=method,
        path="/notes/{course_id:course}/",
        handler=_note,
        operation_id=f"{method.lower()}Note",
        tag="operations",
        summary="A page of this test.",
        browser=True,
        path_descriptions={"course_id": "Of a course."},
        answers={200: Answers("The page.", str, ("text/html",))},
    )
    for method in ("GET", "POST")
)

SHAPED = Operation(
    method="POST",
    path="/shaped/",
    handler=_note,
    operation_id="postShaped",
    tag="operations",
    summary="What tells its errors in a shape of its own.",
    answers={200: Answers("Never.")},
    refusal=lambda error, _: JSONResponse({"developer_message": str(error)}, 403),
)


@contextmanager
def town(dsn: str, **settings: Any) -> Iterator[Town]:
    """Serve a town on a database, with a page of its own and a clock to be moved."""
    clock = Clock()
    config = HttpConfig(**{"jwt_secret": SECRET, "allowed_origins": frozenset({MFE}), **settings})
    with serving(dsn, config, clock=clock, serving=(*OPERATIONS, *NOTES, SHAPED)) as site:
        yield Town(site, clock)


@contextmanager
def whole_town(dsn: str, **settings: Any) -> Iterator[Town]:
    """The same with a projector."""
    with following(dsn), town(dsn, **settings) as found:
        yield found
