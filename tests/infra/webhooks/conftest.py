"""A log on a database of its own, targets, and webhooks that lead there."""

from collections.abc import Iterator

import pytest

from tests.infra.webhooks.hooks import Hooks
from tests.infra.webhooks.target import Target, target


@pytest.fixture
def hooks(dsn: str) -> Iterator[Hooks]:
    with Hooks(dsn) as opened:
        yield opened


@pytest.fixture
def there() -> Iterator[Target]:
    with target() as opened:
        yield opened


@pytest.fixture
def elsewhere() -> Iterator[Target]:
    with target() as opened:
        yield opened
