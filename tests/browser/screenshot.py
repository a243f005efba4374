"""Draws ``docs/gradebook.png``: ``python -m tests.browser.screenshot [FILE]``."""

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from infra.embedded import EmbeddedPostgres
from tests.api.http.site import serving
from tests.browser.chromium import launched, sign_in
from tests.browser.seminar import CONFIG, Seminar, fill
from tests.school import school

TARGET = Path(__file__).parents[2] / "docs" / "gradebook.png"


def draw(page: Page, seminar: Seminar, target: Path) -> None:
    sign_in(page, seminar.table)
    page.locator("a.cell").nth(12).evaluate("cell => cell.focus({preventScroll: true})")
    page.screenshot(path=target)


def main(target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="gradelog-screenshot-") as home:
        Path(home).chmod(0o755)
        with (
            EmbeddedPostgres(Path(home)) as server,
            school(server.dsn) as opened,
            serving(server.dsn, CONFIG) as site,
            sync_playwright() as playwright,
        ):
            seminar = Seminar(opened, site)
            fill(opened)
            seminar.override("learner008", "capacitors", 9, "Handed in on paper.")
            with launched(playwright) as browser:
                page = browser.new_page(viewport={"width": 1180, "height": 760})
                draw(page, seminar, target)
    print(f"{target}: {target.stat().st_size // 1024} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET)
