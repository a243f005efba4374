"""One Chromium and one seminar for a module; a fresh window, already signed in, for a test.

Where there is no Chromium these tests are left out, except where everything must be tested.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    expect,
    sync_playwright,
)

from tests.api.http.site import serving
from tests.browser.chromium import PATIENCE, executable, launched, sign_in
from tests.browser.seminar import CONFIG, Seminar, fill
from tests.school import school

MISSING = "no Chromium here (apt-get install chromium, or name one in GRADELOG_CHROMIUM)"
EXPECTED = "Failed to load resource: the server responded with a status of 4"
"""How a browser notes that a page was refused, which is shown to people as well."""


@pytest.fixture(scope="session")
def seminar(new_database: Callable[[], str]) -> Iterator[Seminar]:
    if executable() is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(MISSING)
    dsn = new_database()
    with school(dsn) as opened, serving(dsn, CONFIG) as site:
        fill(opened)
        yield Seminar(opened, site)


# Not for the session: while Playwright runs, its loop runs in this thread, and no other
# test could have one.
@pytest.fixture(scope="module")
def chromium(seminar: Seminar) -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright, launched(playwright) as browser:
        yield browser


@pytest.fixture(scope="module")
def signed_in(chromium: Browser, seminar: Seminar) -> Any:
    """The cookies of a teacher."""
    context = chromium.new_context()
    sign_in(context.new_page(), seminar.table)
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def window(chromium: Browser) -> Iterator[Callable[..., Page]]:
    """Opens windows; at the end no browser may have complained about anything in them."""
    opened: list[BrowserContext] = []
    complaints: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(EXPECTED):
            complaints.append(message.text)

    def open_window(**options: Any) -> Page:
        context = chromium.new_context(**options)
        context.set_default_timeout(PATIENCE)
        opened.append(context)
        page = context.new_page()
        page.on("console", heard)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        return page

    yield open_window
    for context in opened:
        context.close()
    assert complaints == []


@pytest.fixture
def page(window: Callable[..., Page], signed_in: Any) -> Page:
    return window(storage_state=signed_in)
