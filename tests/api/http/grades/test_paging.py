"""Cursors and pages, without a server."""

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.http.calls import HEADERS, REQUEST_ID, Call
from api.http.config import HttpConfig
from api.http.grades.errors import ApiError
from api.http.grades.paging import Cursor, Page, read_page
from api.http.grades.parameters import Parameters


class App:
    """What a request knows of the application."""

    class state:  # noqa: N801 - as Starlette calls it
        config = HttpConfig()


def a_call(query: str = "") -> Call:
    async def receive() -> Any:
        raise AssertionError

    scope = {
        "type": "http",
        "method": "GET",
        "scheme": "https",
        "path": "/list/",
        "raw_path": b"/list/",
        "root_path": "",
        "query_string": query.encode(),
        "headers": [],
        HEADERS: {b"host": b"lms.example"},
        REQUEST_ID: "r1",
        "app": App,
    }
    call = Call(scope, receive)
    call.raw = scope[HEADERS]  # type: ignore[assignment]
    return call


def page_of(query: str) -> Page:
    return read_page(Parameters(a_call(query)))


def test_cursors_are_written_as_the_peer_writes_them() -> None:
    assert Cursor(position=50).encoded() == "cD01MA=="
    assert Cursor(backward=True, position=51).encoded() == "cj0xJnA9NTE="
    assert Cursor(offset=2, backward=True, position=5).encoded() == "bz0yJnI9MSZwPTU="


@settings(deadline=None)
@given(st.integers(0, 1000), st.booleans(), st.none() | st.integers(0, 2**63 - 1))
def test_what_is_written_is_read(offset: int, backward: bool, position: int | None) -> None:
    cursor = Cursor(offset, backward, position)
    assert page_of(f"cursor={cursor.encoded().replace('=', '%3D')}").cursor == cursor


def test_a_large_offset_is_cut() -> None:
    assert page_of(f"cursor={Cursor(offset=5000).encoded()}").cursor.offset == 1000


@settings(deadline=None)
@given(st.text(max_size=20))
def test_any_text_is_a_cursor_or_is_refused(text: str) -> None:
    query = f"cursor={quote(text, errors='replace')}"
    try:
        page = page_of(query)
    except ApiError as refused:
        assert refused.status in (400, 404)  # noqa: PT017
    else:
        assert 0 <= page.cursor.offset <= 1000


@settings(deadline=None)
@given(
    st.sets(st.integers(1, 200), max_size=40), st.integers(1, 7), st.sampled_from(["next", "back"])
)
def test_pages_show_everybody_once_in_both_directions(
    ids: set[int], size: int, direction: str
) -> None:
    order = sorted(ids)

    def fetch(page: Page) -> tuple[list[int], dict[str, str | None]]:
        after, before, limit = page.bounds
        if before is not None:
            rows = [n for n in reversed(order) if n < before][:limit]
        else:
            rows = [n for n in order if n > (after or 0)][:limit]
        shown, more = page.cut(rows)
        return shown, page.links(a_call(f"page_size={size}"), shown, more=more)

    start = Cursor() if direction == "next" else Cursor(backward=True)
    shown, links = fetch(Page(size, start))
    seen = list(shown)
    name = "next" if direction == "next" else "previous"
    while (address := links[name]) is not None:
        assert address.startswith("https://lms.example/list/?cursor=")
        shown, links = fetch(page_of(address.partition("?")[2]))
        seen = seen + shown if direction == "next" else shown + seen
    assert seen == order


def test_an_empty_page_leads_back_to_where_it_came_from() -> None:
    page = Page(2, Cursor(position=9))
    links = page.links(a_call(), [], more=False)
    assert links["next"] is None
    assert links["previous"] is not None
    assert page_of(links["previous"].partition("?")[2]).cursor == Cursor(0, True, 9)


@pytest.mark.parametrize("text", ["cD14", "bz14", "cj14"])
def test_parts_that_are_no_numbers(text: str) -> None:
    with pytest.raises(ApiError, match="Invalid cursor"):
        page_of(f"cursor={text}")
