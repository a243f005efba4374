"""One server for all tests of a run: each test works on items of its own."""

from collections.abc import Callable, Iterator

import pytest

from api.http.config import HttpConfig
from tests.api.http.site import SECRET, Site, serving
from tests.school import following


@pytest.fixture(scope="session")
def site(new_database: Callable[[], str]) -> Iterator[Site]:
    dsn = new_database()
    config = HttpConfig(jwt_secret=SECRET, wait_limit=0.5)
    with following(dsn), serving(dsn, config) as running:
        yield running
