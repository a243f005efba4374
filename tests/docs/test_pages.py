"""What the pages lead to exists: other pages, their headings, commands, settings."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer import Typer
from typer.main import get_command

from infra.cli.commands import app
from infra.settings import OF_EVERYBODY, PREFIX, Settings

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
OF_THE_SCRIPT = {"test", "setup"}
"""What the file ``gradelog`` of a checkout does by itself."""


def text_of(page: Path) -> str:
    return page.read_text()


def prose(page: Path) -> str:
    """A page without its code."""
    return re.sub(r"```.*?```|`[^`\n]*`", "", text_of(page), flags=re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The names of headings, as those who show the pages make them."""
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> Iterator[str]:
    yield from re.findall(r"\]\((?!https?:)([^)]+)\)", prose(page))


def commands(page: Path) -> Iterator[list[str]]:
    """The words after ``gradelog`` in code."""
    for block, span in re.findall(
        r"```(?:sh|console)\n(.*?)```|`([^`\n]+)`", text_of(page), re.DOTALL
    ):
        for words in re.findall(r"(?:^|[\s(/;|])gradelog((?: +[a-z][a-z-]*)+)", block or span):
            yield words.split()


def is_there(words: list[str], of: Typer = app) -> bool:
    """Whether the words begin with a command; those behind it may be its arguments."""
    command = get_command(of)
    for depth, word in enumerate(words):
        of_group = getattr(command, "commands", None)
        if of_group is None or (word not in of_group and command.invoke_without_command and depth):
            return True
        if word not in of_group:
            return False
        command = of_group[word]
    return True


def names(pages: list[Path]) -> list[str]:
    return [str(page.relative_to(ROOT)) for page in pages]


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_commands_exist(page: Path) -> None:
    for words in commands(page):
        assert words[0] in OF_THE_SCRIPT or is_there(words), f"gradelog {' '.join(words)}"


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_settings_exist(page: Path) -> None:
    known = {OF_EVERYBODY.get(name, PREFIX + name.upper()) for name in Settings.model_fields}
    for name in re.findall(r"\bGRADELOG_[A-Z_]+\b", text_of(page)):
        assert name.removesuffix("_FILE") in known or name in known, name


def test_every_setting_is_explained() -> None:
    explained = text_of(ROOT / "docs" / "operations.md")
    for name in Settings.model_fields:
        variable = OF_EVERYBODY.get(name, PREFIX + name.upper())
        assert f"`{variable}`" in explained, variable
