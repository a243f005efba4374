"""One school for all tests of the grades interface: each test has a course of its own."""

from collections.abc import Callable, Iterator

import pytest

from api.http.config import HttpConfig
from tests.api.http.grades.classroom import Classroom
from tests.api.http.site import SECRET, Site, serving
from tests.school import School, school


@pytest.fixture(scope="session")
def campus(new_database: Callable[[], str]) -> Iterator[tuple[School, Site]]:
    dsn = new_database()
    config = HttpConfig(jwt_secret=SECRET, wait_limit=5)
    with school(dsn) as opened, serving(dsn, config) as site:
        yield opened, site


@pytest.fixture
def room(campus: tuple[School, Site]) -> Classroom:
    """A course that is not published yet."""
    return Classroom(*campus)


@pytest.fixture
def physics(room: Classroom) -> Classroom:
    """A small course without anybody in it."""
    room.publish()
    return room
