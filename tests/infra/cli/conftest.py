"""The command on a database of the test's own."""

from pathlib import Path

import pytest

from tests.infra.cli.support import Cli


@pytest.fixture
def cli(dsn: str, tmp_path: Path) -> Cli:
    return Cli(tmp_path, DATABASE_URL=dsn)


@pytest.fixture
def bare(tmp_path: Path) -> Cli:
    """The command without a database."""
    return Cli(tmp_path)
