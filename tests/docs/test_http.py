"""The page about HTTP names every route that there is, and no other."""

import re
from pathlib import Path

from api.http.app import OPERATIONS

PAGE = (Path(__file__).parents[2] / "docs" / "http.md").read_text()


def test_every_route_is_on_the_page() -> None:
    named = set(re.findall(r"`(GET|POST|PUT|PATCH|DELETE) (/[^`]*)`", PAGE))
    there = {(operation.method, re.sub(r":\w+\}", "}", operation.path)) for operation in OPERATIONS}
    assert named == there
