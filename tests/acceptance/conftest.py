"""An installation of this process, on a database of the test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.in_process import Gradelog, in_process
from infra.settings import Settings
from tests.school import PATIENCE, wait_for_read_models


@pytest.fixture
def gradelog(dsn: str, tmp_path: Path) -> Iterator[Gradelog]:
    settings = Settings(
        database_url=dsn, home=tmp_path, append_timeout=PATIENCE, read_timeout=PATIENCE
    )
    with in_process(settings, dsn=dsn, wait=PATIENCE) as opened:
        wait_for_read_models(dsn)
        yield opened
