"""Which pages of other sites may call, and what they may see."""

from collections.abc import Callable, Iterator
from uuid import uuid4

import httpx
import pytest

from api.http.app import OPERATIONS
from api.http.routing import Operation
from tests.api.http.browser import MFE, Town, town
from tests.api.http.site import API, Site

OTHER = "http://localhost:1994"
EVIL = "https://evil.example"
SENT = (
    "authorization",
    "content-type",
    "use-jwt-cookie",
    "x-csrftoken",
    "x-min-log-position",
    "idempotency-key",
)
SEEN = ("x-log-position", "date", "etag", "content-disposition")


@pytest.fixture(scope="module")
def here(new_database: Callable[[], str]) -> Iterator[Town]:
    with town(new_database(), allowed_origins=frozenset({MFE, OTHER})) as found:
        yield found


def preflight(
    site: Site, path: str, origin: str, method: str = "PUT", headers: str = ", ".join(SENT)
) -> httpx.Response:
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": headers,
    }
    return site.client.options(site.url + path, headers=asked)


def words(answer: httpx.Response, name: str) -> set[str]:
    return {word.strip().lower() for word in answer.headers.get(name, "").split(",") if word}


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o.operation_id)
def test_every_route_may_be_asked_with_and_without_a_slash(
    here: Town, operation: Operation
) -> None:
    path = operation.template
    for name in operation.path_names:
        path = path.replace(f"{{{name}}}", str(uuid4()))
    for one in (path.rstrip("/"), path.rstrip("/") + "/"):
        answer = preflight(here.site, one, MFE, operation.method)
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers["Access-Control-Allow-Origin"] == MFE
        assert answer.headers["Access-Control-Allow-Credentials"] == "true"
        assert operation.method.lower() in words(answer, "Access-Control-Allow-Methods")
        assert words(answer, "Access-Control-Allow-Headers") >= set(SENT)
        assert "origin" in words(answer, "Vary")
        assert len(answer.headers["X-Request-ID"]) == 32


@pytest.mark.parametrize(
    "origin",
    [
        EVIL,
        "null",
        "*",
        "",
        "http://mfe.example",
        "https://MFE.example",
        "https://mfe.example:8443",
        "https://mfe.example/",
        "https://sub.mfe.example",
        "https://mfe.example.evil.example",
    ],
)
def test_other_pages_are_told_nothing(here: Town, origin: str) -> None:
    asked = preflight(here.site, API + "/score/", origin)
    read = here.site.client.get(here.site.url + "/health/live", headers={"Origin": origin})
    assert read.status_code == 200
    for answer in (asked, read):
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert "origin" in words(answer, "Vary")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/health/live", 200),
        (API + "/score/", 401),
        ("/nowhere", 404),
        ("/" + "x" * 9000, 414),
        ("/api/mfe_config/v1?unknown=1", 400),
    ],
)
def test_every_answer_can_be_read_errors_too(here: Town, path: str, status: int) -> None:
    for origin in (MFE, OTHER):
        answer = here.site.client.get(here.site.url + path, headers={"Origin": origin})
        assert answer.status_code == status
        assert answer.headers.get_list("Access-Control-Allow-Origin") == [origin]
        assert answer.headers["Access-Control-Allow-Credentials"] == "true"
        assert words(answer, "Access-Control-Expose-Headers") >= set(SEEN)
        assert "origin" in words(answer, "Vary")


def test_other_methods_can_be_read_too(here: Town) -> None:
    answer = here.site.client.request(
        "TRACE", here.site.url + "/health/live", headers={"Origin": MFE}
    )
    assert answer.status_code == 405
    assert answer.headers["Access-Control-Allow-Origin"] == MFE


def test_who_asks_without_a_page_gets_no_such_headers(here: Town) -> None:
    answer = here.site.client.get(here.site.url + "/health/live")
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert "origin" in words(answer, "Vary")


def test_options_that_ask_for_nothing_are_told_the_methods(here: Town) -> None:
    answer = here.site.client.options(here.site.url + "/health/live", headers={"Origin": MFE})
    assert answer.headers["Allow"] == "GET, HEAD, OPTIONS"
    assert answer.headers["Access-Control-Allow-Origin"] == MFE


def test_without_origins_nothing_is_said(site: Site) -> None:
    asked = preflight(site, "/health/live", MFE)
    read = site.client.get(site.url + "/health/live", headers={"Origin": MFE})
    for answer in (asked, read):
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert "origin" not in words(answer, "Vary")
