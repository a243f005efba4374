"""A broker of the tests' own, which may be killed."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def home() -> Iterator[Path]:
    """A home with a name that means something to Java, to Kafka, and to shells."""
    parent = Path(tempfile.mkdtemp())
    yield parent / "it's a $HOME, or:é"
    shutil.rmtree(parent)
