"""Rows that were built from the topics are those that were built from the log."""

import pytest

from infra.feed import feeding
from projections.gradebook import Gradebook
from projections.read_model import ReadModel
from projections.registry import READ_MODELS
from projections.submissions import Submissions
from tests.consumers.feed import term
from tests.consumers.feed.comparing import assert_same_rows, wait_until_fed
from tests.consumers.feed.conftest import settings
from tests.school import School

pytestmark = pytest.mark.kafka


def test_rows_are_the_same_when_all_was_published_before(
    published: School, copy: str, kafka: str, topic_prefix: str
) -> None:
    term.begin(published)
    term.go_on(published, seed=1, steps=60)
    term.finish(published)
    of_copy = settings(copy, kafka, topic_prefix, keys_url=published.dsn)
    with feeding(of_copy, copy, READ_MODELS):
        wait_until_fed(published.dsn, copy)
    assert_same_rows(published.dsn, copy)


def test_rows_are_the_same_when_they_come_as_it_happens(
    published: School, copy: str, kafka: str, topic_prefix: str
) -> None:
    models: list[type[ReadModel]] = [Gradebook, Submissions]
    of_copy = settings(copy, kafka, topic_prefix, keys_url=published.dsn)
    with feeding(of_copy, copy, models):
        term.begin(published)
        for seed in range(3):
            term.go_on(published, seed=seed, steps=20)
            wait_until_fed(published.dsn, copy, models)
            assert_same_rows(published.dsn, copy, models)
        term.finish(published)
        wait_until_fed(published.dsn, copy, models)
        assert_same_rows(published.dsn, copy, models)
