"""The event catalogue says what the code says."""

from pathlib import Path

from infra.catalogue import catalogue

DOCS = Path(__file__).parents[2] / "docs"


def test_the_catalogue_is_the_one_of_this_code() -> None:
    assert (DOCS / "events.md").read_text() == catalogue()
