"""The gradebook as a course team uses it, in a real browser."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.chromium import follow, sign_in
from tests.browser.seminar import COURSE_ID, LEARNERS, STRANGER, TITLE, Seminar

pytestmark = [pytest.mark.browser, pytest.mark.slow]

Windows = Callable[..., Page]


def names(page: Page) -> list[str]:
    return page.locator("table.book tbody th.name .full").all_inner_texts()


def count(page: Page) -> str:
    return page.locator("#count").inner_text()


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.innerText"))


def fact(page: Page, name: str) -> str:
    return " ".join(page.locator(f"#{name}").inner_text().split())


def history(page: Page) -> list[list[str]]:
    rows = page.get_by_role("region", name="History").locator("tbody tr").all()
    return [row.locator("th, td").all_inner_texts() for row in rows]


def override(page: Page, points: str, reason: str) -> None:
    page.get_by_label("Points that count").fill(points)
    page.get_by_label("Reason").fill(reason)
    follow(page.get_by_role("button", name="Save"))


# --- coming in --------------------------------------------------------------------------------


def test_whoever_signs_in_comes_to_the_page_that_was_asked_for(
    window: Windows, seminar: Seminar
) -> None:
    page = window()
    sign_in(page, seminar.table)
    expect(page).to_have_title(f"{TITLE} · gradelog")
    expect(page.get_by_role("heading", level=1)).to_have_text(TITLE)
    page.get_by_role("link", name="Sign out").click()
    page.goto(seminar.table)
    expect(page.get_by_label("Password")).to_be_visible()


def test_the_courses_that_one_may_see_lead_to_their_gradebooks(
    page: Page, seminar: Seminar
) -> None:
    page.goto(seminar.address())
    page.get_by_label("Name or key contains").fill("ELECTRO")
    follow(page.get_by_role("button", name="Find"))
    page.get_by_role("link", name=TITLE).click()
    expect(page).to_have_url(seminar.table)
    page.goto(seminar.address() + "?search=chemistry")
    expect(page.get_by_text("No course that you may see")).to_be_visible()


def test_others_are_told_why_they_see_nothing(window: Windows, seminar: Seminar) -> None:
    page = window()
    sign_in(page, seminar.table, STRANGER)
    expect(page.get_by_text("You are not of the team of this course")).to_be_visible()
    page.get_by_role("link", name="Your courses").click()
    expect(page.get_by_text("There is no course whose gradebook you may see")).to_be_visible()
    page.goto(seminar.table)
    page.get_by_role("link", name="Sign in as somebody else").click()
    expect(page.get_by_label("Password")).to_be_visible()


def test_a_course_that_is_not_there_is_not_found(page: Page, seminar: Seminar) -> None:
    for missing in ("course-v1:No+Such+Course", "nonsense"):
        answer = page.goto(seminar.address(missing))
        assert answer is not None
        assert answer.status == 404
        expect(page.get_by_role("heading", level=1)).to_have_text("Not found")


# --- the table --------------------------------------------------------------------------------


def test_the_table_shows_learners_and_what_they_have(page: Page, seminar: Seminar) -> None:
    page.goto(seminar.table)
    headings = page.locator("table.book thead th").all_inner_texts()
    assert [text.splitlines()[0] for text in headings[:4]] == [
        "Learner", "Course grade", "HW 01", "HW 02",
    ]  # fmt: skip
    assert len(names(page)) == 25
    assert count(page) == f"{LEARNERS} learners"
    learner = seminar.school.learner("learner001", COURSE_ID)
    row = page.get_by_role("row", name=re.compile("Learner 001"))
    expect(row.get_by_role("cell").first).to_contain_text(f"{round(learner.percent * 100)}")


def test_a_part_of_a_name_finds_learners(page: Page, seminar: Seminar) -> None:
    page.goto(seminar.table)
    page.get_by_label("Name or address contains").fill("LEARNER01")
    page.keyboard.press("Enter")
    page.wait_for_url("**user_contains=LEARNER01")  # what was left empty is not in the address
    assert names(page)
    assert all("Learner 01" in name for name in names(page))
    assert count(page) == f"{len(names(page))} of {LEARNERS} learners"
    page.get_by_label("Name or address contains").fill("er 02")  # no user name has this
    page.keyboard.press("Enter")
    page.wait_for_url("**user_contains=er+02")
    assert names(page)
    assert all("Learner 02" in name for name in names(page))
    page.get_by_label("Name or address contains").fill("nobody at all")
    page.keyboard.press("Enter")
    follow(page.get_by_role("link", name="Show all"))
    assert len(names(page)) == 25


def test_filters_narrow_together(page: Page, seminar: Seminar) -> None:
    page.goto(seminar.table)
    page.locator("summary").click()
    page.get_by_label("Cohort").select_option("Monday")
    page.get_by_label("Track").select_option("Verified")
    page.get_by_label("Assignment", exact=True).select_option("Exam 01 · Midterm")
    page.get_by_role("group", name="Assignment grade").get_by_label("From %").fill("70")
    page.get_by_role("group", name="Course grade").get_by_label("To %").fill("80")
    page.get_by_label("Learners on a page").select_option("200")
    follow(page.get_by_role("button", name="Apply"))
    rows = page.locator("table.book tbody tr")
    assert 0 < rows.count() < LEARNERS / 3
    for row in rows.all():
        assert "Monday" in row.inner_text()
        course, *grades = [number(cell) for cell in row.locator("td").all_inner_texts()]
        assert course is None or course <= 80
        assert (grades[6] or 0) >= 70
    expect(page.get_by_label("Cohort")).to_have_value(re.compile(r"\d+"))
    follow(page.get_by_role("link", name="Clear"))
    assert count(page) == f"{LEARNERS} learners"


def number(text: str) -> float | None:
    found = re.search(r"[\d.]+", text)
    return float(found[0]) if found else None


def test_staff_are_shown_when_asked_for(page: Page, seminar: Seminar) -> None:
    page.goto(seminar.table + "?user_contains=assistant")
    expect(page.get_by_text("No learner matches")).to_be_visible()
    page.locator("summary").click()
    page.get_by_label("Course staff, too").check()
    follow(page.get_by_role("button", name="Apply"))
    assert names(page) == ["Assistant 1"]


def test_points_are_shown_instead_of_percentages(page: Page, seminar: Seminar) -> None:
    page.goto(seminar.table + "?show=points&user_contains=learner003")
    expect(page.locator("a.cell").first).to_have_text(re.compile(r"^\d+(\.\d+)? / 10$"))


def test_what_a_filter_does_not_understand_is_said_beside_it(page: Page, seminar: Seminar) -> None:
    page.goto(seminar.table)
    page.locator("summary").click()
    group = page.get_by_role("group", name="Course grade")
    group.get_by_label("From %").fill("half")
    page.get_by_label("Name or address contains").fill("a")
    follow(page.get_by_role("button", name="Apply"))
    wrong = group.get_by_label("From %")
    expect(wrong).to_be_focused()
    expect(wrong).to_have_value("half")
    expect(wrong).to_have_attribute("aria-invalid", "true")
    expect(group.get_by_text("Enter a percentage")).to_be_visible()
    expect(page.get_by_label("Name or address contains")).to_have_value("a")


def test_pages_are_turned_forward_and_back(page: Page, seminar: Seminar) -> None:
    page.goto(seminar.table)
    pages = [names(page)]
    while (following := page.get_by_role("link", name="Next page")).count():
        follow(following)
        pages.append(names(page))
    assert [len(one) for one in pages] == [25, 25, 12]
    for earlier in (pages[1], pages[0]):
        follow(page.get_by_role("link", name="Previous page"))
        assert names(page) == earlier
    expect(page.get_by_role("link", name="Previous page")).to_have_count(0)


def test_names_and_headings_stay_in_sight(
    window: Windows, signed_in: Any, seminar: Seminar
) -> None:
    page = window(storage_state=signed_in, viewport={"width": 480, "height": 600})
    page.goto(seminar.table)
    corner = page.locator("table.book thead th.name")
    before = corner.bounding_box()
    page.locator(".scroll").evaluate("area => area.scrollTo(200, 300)")
    name = page.locator("table.book tbody th.name").last.bounding_box()
    assert corner.bounding_box() == before
    assert name is not None
    assert before is not None
    assert name["x"] == before["x"]


# --- one cell ---------------------------------------------------------------------------------


def test_a_grade_is_overridden_with_the_keyboard_alone(page: Page, seminar: Seminar) -> None:
    page.goto(seminar.table)
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to the content"
    page.keyboard.press("Enter")
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('a.cell')"):
            break
    for step in ("ArrowDown", "ArrowDown", "ArrowRight", "ArrowRight", "End", "Home", "ArrowUp"):
        page.keyboard.press(step)
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"  # where the focus is can be seen
    with page.expect_navigation():
        page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Learner 002 learner002")
    assert history(page) == []
    while not page.evaluate("document.activeElement.id == 'points'"):
        page.keyboard.press("Tab")
    page.keyboard.type("8.5")
    page.keyboard.press("Tab")
    page.keyboard.type("Handed in on paper.")
    page.keyboard.press("Tab")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    expect(page.get_by_text("Saved.")).to_be_visible()
    assert fact(page, "counts") == "85 % 8.5 / 10"
    assert fact(page, "override") == "8.5 / 10"
    ((_when, who, before, after, reason, feature),) = history(page)
    assert (who, before, after, reason) == (
        "instructor-1", "calculated", "8.5 / 10", "Handed in on paper.",
    )  # fmt: skip
    assert feature.startswith("Gradebook")
    page.locator("#back").click()
    expect(page).to_have_url(re.compile("#learner-"))
    cell = page.get_by_role("row", name=re.compile("Learner 002")).locator("a.cell").first
    expect(cell).to_have_text(re.compile("^85.%, overridden$"))
    expect(cell).to_have_attribute("tabindex", "0")  # the table is entered where it was left


def test_changes_are_told_with_what_was_before(page: Page, seminar: Seminar) -> None:
    page.goto(seminar.cell("learner004", "diodes"))
    calculated = fact(page, "computed")
    override(page, "9", "A slip of mine.")
    override(page, "7", "It was none.")
    expect(page.get_by_role("region", name="History").locator("tbody tr")).to_have_count(2)
    newest, oldest = history(page)
    assert newest[2:5] == ["9 / 10", "7 / 10", "It was none."]
    assert oldest[2:5] == ["calculated", "9 / 10", "A slip of mine."]
    assert fact(page, "computed") == calculated
    follow(page.get_by_role("button", name="Remove the override"))
    expect(page.get_by_role("region", name="History").locator("tbody tr")).to_have_count(3)
    assert history(page)[0][2:4] == ["7 / 10", "calculated"]
    assert fact(page, "override") == "none"
    assert fact(page, "counts").endswith(calculated)
    expect(page.get_by_role("button", name="Remove the override")).to_have_count(0)


def test_the_scores_behind_a_grade_are_shown(page: Page, seminar: Seminar) -> None:
    page.goto(seminar.cell("learner003", "midterm"))
    rows = page.get_by_role("region", name="What the calculated points").locator("tbody tr")
    assert [row.locator("th").inner_text() for row in rows.all()] == ["mid-1", "mid-2"]
    points = [number(row.locator("td").first.inner_text()) or 0 for row in rows.all()]
    assert number(fact(page, "computed")) == sum(points)


@pytest.mark.parametrize(
    ("points", "complaint"),
    [("many", "Enter a number"), ("-1", "not negative"), ("nan", "Enter a number")],
)
def test_bad_points_are_refused_and_kept(
    page: Page, seminar: Seminar, points: str, complaint: str
) -> None:
    page.goto(seminar.cell("learner005", "ohm"))
    override(page, points, "Worth keeping.")
    field = page.get_by_label("Points that count")
    expect(page.locator("#points-error")).to_contain_text(complaint)
    expect(field).to_be_focused()
    expect(field).to_have_value(points)
    expect(page.get_by_label("Reason")).to_have_value("Worth keeping.")
    recorded = len(history(page))
    field.fill("6")
    follow(page.get_by_role("button", name="Save"))
    expect(page.get_by_text("Saved.")).to_be_visible()
    assert len(history(page)) == recorded + 1
    follow(page.get_by_role("button", name="Remove the override"))
    expect(page.locator("#override")).to_have_text("none")


def test_who_changes_what_somebody_else_has_changed_is_told(page: Page, seminar: Seminar) -> None:
    page.goto(seminar.cell("learner006", "ohm"))
    seminar.override("learner006", "ohm", 4, "By a colleague.")
    override(page, "9", "Did not see that.")
    expect(page.get_by_role("alert")).to_contain_text("Somebody changed this grade")
    expect(page.get_by_label("Points that count")).to_have_value("9")
    assert [change[4] for change in history(page)] == ["By a colleague."]
    follow(page.get_by_role("button", name="Save"))
    expect(page.get_by_text("Saved.")).to_be_visible()
    assert history(page)[0][2:5] == ["4 / 10", "9 / 10", "Did not see that."]


def test_what_people_write_is_text(page: Page, seminar: Seminar) -> None:
    page.goto(seminar.cell("learner007", "ohm"))
    hostile = "<script>document.title = 'gotcha'</script><b>\"'&"
    override(page, "5", hostile)
    expect(page.get_by_text("Saved.")).to_be_visible()
    assert history(page)[0][4] == hostile
    assert "gotcha" not in page.title()


def test_grades_of_a_course_that_ended_are_shown_and_not_changed(
    page: Page, seminar: Seminar
) -> None:
    page.goto(seminar.cell("learner009", "ohm"))
    seminar.freeze("2020-01-01T00:00:00Z")
    try:
        override(page, "1", "Too late.")
        expect(page.get_by_role("alert")).to_have_text("Nothing was saved.")
        expect(page.get_by_text("its grades are frozen")).to_be_visible()
        page.goto(seminar.cell("learner009", "ohm"))
        assert history(page) == []
        expect(page.get_by_text("its grades are frozen")).to_be_visible()
        expect(page.get_by_role("button", name="Save")).to_have_count(0)
        page.goto(seminar.table)
        expect(page.get_by_text("frozen")).to_be_visible()
    finally:
        seminar.freeze(None)


def test_everything_works_without_scripts(
    window: Windows, signed_in: Any, seminar: Seminar
) -> None:
    page = window(storage_state=signed_in, java_script_enabled=False)
    page.goto(seminar.table)
    page.get_by_label("Name or address contains").fill("learner010")
    follow(page.get_by_role("button", name="Find"))
    expect(page.locator("#count")).to_have_text(f"1 of {LEARNERS} learners")
    page.locator("summary").click()
    page.get_by_label("Points instead").check()
    follow(page.get_by_role("button", name="Apply"))
    follow(page.locator("a.cell").first)
    override(page, "many", "Without scripts.")
    expect(page.locator("#points-error")).to_be_visible()
    expect(page.get_by_label("Reason")).to_have_value("Without scripts.")
    page.get_by_label("Points that count").fill("3")
    follow(page.get_by_role("button", name="Save"))
    expect(page.get_by_text("Saved.")).to_be_visible()
    page.locator("#back").click()
    expect(page.locator("#count")).to_have_text(f"1 of {LEARNERS} learners")
    expect(page.locator("a.cell").first).to_contain_text("3 / 10")
