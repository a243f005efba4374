"""Chromium as the tests drive it: the one of the system, without a window."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Locator, Page, Playwright

from tests.browser.seminar import PASSWORD, TEACHER

FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 20_000
"""Milliseconds after which what should be on a page counts as missing."""


def executable() -> str | None:
    """The program; None where there is none. ``GRADELOG_CHROMIUM`` names another."""
    named = os.environ.get("GRADELOG_CHROMIUM")
    return named or next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def launched(playwright: Playwright) -> Iterator[Browser]:
    browser = playwright.chromium.launch(executable_path=executable(), args=FLAGS)
    try:
        yield browser
    finally:
        browser.close()


def sign_in(page: Page, address: str, username: str = TEACHER) -> None:
    """Ask for a page and sign in where that leads, which leads back."""
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    page.get_by_label("User name").fill(username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(address)


def follow(way: Locator) -> None:
    """Click what leads to another page, and wait for all of that: it comes piece by piece."""
    with way.page.expect_navigation():
        way.click()
