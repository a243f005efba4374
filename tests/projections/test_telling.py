"""What operators are told of an error: what is wrong, in one line, and nothing of people."""

import psycopg
import pytest

from projections.telling import LONGEST_ERROR, in_one_line


def test_whatever_somebody_wrote_is_one_line_and_not_too_long() -> None:
    assert in_one_line(ValueError(" thirteen\n\n\tis unlucky\n")) == (
        "ValueError: thirteen is unlucky"
    )
    assert in_one_line(ValueError("delete the topic"), named=False) == "delete the topic"
    assert len(in_one_line(ValueError("x" * 2 * LONGEST_ERROR))) == LONGEST_ERROR


def test_of_a_row_that_the_server_refuses_nothing_is_told(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute("CREATE TEMP TABLE people (name text PRIMARY KEY)")
        db.execute("INSERT INTO people VALUES ('ada')")
        with pytest.raises(psycopg.errors.UniqueViolation, match="ada") as refused:
            db.execute("INSERT INTO people VALUES ('ada')")
    assert in_one_line(refused.value) == (
        'UniqueViolation: duplicate key value violates unique constraint "people_pkey"'
    )
