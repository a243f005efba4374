"""Tables for people: what is a number stands as one."""

import pytest

from infra.cli.output import print_table


def test_columns_are_aligned_by_their_names(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("figures", ("topic", "carried out"), [("roster", 3)], right="carried out")
    assert "│ roster │           3 │" in capsys.readouterr().out
