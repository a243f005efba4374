"""Pages that people use with a keyboard, a screen reader, a small or a dark screen."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.browser.chromium import follow
from tests.browser.seminar import Seminar

pytestmark = [pytest.mark.browser, pytest.mark.slow]

Windows = Callable[..., Page]

FAULTS = """() => {
  const faults = [];
  const check = (fine, what) => { if (!fine) faults.push(what); };
  const all = (selector) => [...document.querySelectorAll(selector)];
  const named = (one) => (one.getAttribute('aria-label') || one.textContent).trim() !== '';
  check(document.documentElement.lang === 'en', 'no language');
  check(all('h1').length === 1, 'not one h1');
  check(all('main').length === 1, 'not one main');
  check(document.title.trim() !== '', 'no title');
  check(document.querySelector('meta[name=viewport]'), 'no viewport');
  const ids = all('[id]').map((one) => one.id);
  check(new Set(ids).size === ids.length, 'an id is there twice');
  for (const one of all('input:not([type=hidden]), select, textarea'))
    check(one.labels.length === 1 && named(one.labels[0]), `no label: ${one.name}`);
  for (const one of all('a[href], button, summary, legend')) check(named(one), `no name: ${one.outerHTML}`);
  for (const one of all('img')) check(one.hasAttribute('alt'), 'an image without alt');
  for (const one of all('table')) {
    check(one.caption && named(one.caption), 'a table without a caption');
    for (const head of one.querySelectorAll('th'))
      check(['col', 'row'].includes(head.scope) && named(head), 'a heading without scope or text');
    for (const row of one.tBodies[0].rows)
      check(row.querySelectorAll('th[scope=row]').length === 1, 'a row without heading');
  }
  for (const one of all('[aria-labelledby], [aria-describedby]'))
    for (const id of (one.getAttribute('aria-labelledby') || one.getAttribute('aria-describedby')).split(' '))
      check(document.getElementById(id), `nothing is called ${id}`);
  for (const one of all('[tabindex]')) check(one.tabIndex <= 0, 'an order of its own');
  for (const one of all('*')) check(!one.hasAttribute('style') && !one.hasAttribute('onclick'), 'inline');
  const levels = all('h1, h2, h3').map((one) => Number(one.tagName[1]));
  levels.forEach((level, n) => check(n === 0 || level - levels[n - 1] <= 1, 'a heading is left out'));
  const skip = document.querySelector('a');
  check(skip.className === 'skip' && document.querySelector(skip.hash), 'no skip link');
  return faults;
}"""


@pytest.fixture
def addresses(seminar: Seminar) -> list[str]:
    """One page of each kind, also with what is rarely on it."""
    overridden = seminar.cell("learner011", "ohm")
    seminar.override("learner011", "ohm", 8, "Twice, so that there is something to compare.")
    return [
        seminar.address(),
        seminar.address() + "?search=nothing",
        seminar.table,
        seminar.table + "?course_grade_min=x&assignment=y&cohort_id=z",
        seminar.table + "?user_contains=nobody",
        overridden,
        seminar.cell("learner011", "lab3"),
        seminar.address("course-v1:No+Such+Course"),
    ]


def test_everything_has_a_name_and_a_place(page: Page, addresses: list[str]) -> None:
    for address in addresses:
        page.goto(address)
        assert page.evaluate(FAULTS) == [], address


def test_what_is_wrong_in_a_form_belongs_to_its_field(page: Page, seminar: Seminar) -> None:
    page.goto(seminar.cell("learner011", "ohm"))
    page.get_by_label("Points that count").fill("many")
    page.get_by_label("Reason").fill(" ")
    follow(page.get_by_role("button", name="Save"))
    assert page.evaluate(FAULTS) == []
    assert page.locator("[aria-invalid=true][aria-describedby]").count() == 2


def test_no_page_is_wider_than_a_small_screen(
    window: Windows, signed_in: Any, addresses: list[str]
) -> None:
    page = window(storage_state=signed_in, viewport={"width": 320, "height": 568})
    for address in addresses:
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth") == 320, address


def test_the_colours_follow_the_system(window: Windows, signed_in: Any, seminar: Seminar) -> None:
    colours = {}
    for scheme in ("light", "dark"):
        page = window(storage_state=signed_in, color_scheme=scheme)
        page.goto(seminar.table)
        colours[scheme] = page.evaluate(
            "['backgroundColor', 'color'].map((one) => getComputedStyle(document.body)[one])"
        )
    assert colours["light"] != colours["dark"]
    assert colours["light"] == ["rgb(246, 247, 249)", "rgb(28, 36, 48)"]


def test_nothing_comes_from_elsewhere(page: Page, seminar: Seminar, addresses: list[str]) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for address in addresses:
        page.goto(address)
    assert asked
    assert all(url.startswith(seminar.site.url) for url in asked)
