"""An installation of this process, on a database of the test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.in_process import Gradelog, in_process
from infra.settings import Settings


@pytest.fixture
def gradelog(dsn: str, tmp_path: Path) -> Iterator[Gradelog]:
    settings = Settings(database_url=dsn, home=tmp_path)
    with in_process(settings, dsn=dsn) as opened:
        yield opened
