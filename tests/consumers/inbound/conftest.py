"""Inbound topics of the test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.settings import Settings
from tests.consumers.inbound.support import Desk, Post


@pytest.fixture
def post(kafka: str, topic_prefix: str) -> Iterator[Post]:
    made = Post(kafka, topic_prefix)
    yield made
    made.close()


@pytest.fixture
def desk(dsn: str, kafka: str, topic_prefix: str, post: Post, tmp_path: Path) -> Desk:
    settings = Settings(
        database_url=dsn,
        kafka_bootstrap_servers=kafka,
        kafka_topic_prefix=topic_prefix,
        home=tmp_path,
    )
    return Desk(dsn, settings, post)
