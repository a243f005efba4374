"""An installation of this process, on a database of the test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.in_process import Gradelog, in_process
from infra.settings import Settings
from projections.registry import READ_MODELS
from tests import looking
from tests.school import PATIENCE, wait_until

MADE = "SELECT count(*) FROM gradelog.read_models"


@pytest.fixture
def gradelog(dsn: str, tmp_path: Path) -> Iterator[Gradelog]:
    settings = Settings(database_url=dsn, home=tmp_path)
    with in_process(settings, dsn=dsn, wait=PATIENCE) as opened:
        # The tables of read models are made first: nobody waits for what is not there.
        wait_until(lambda: looking.rows(dsn, MADE) == [(len(READ_MODELS),)])
        yield opened
