"""gradelog inside another program."""

from pathlib import Path

import pytest

from domain.errors import UnavailableError
from infra.in_process import in_process
from infra.log.reader import connect
from infra.settings import Settings
from projections.submissions import submission_by_uuid
from tests import facts


@pytest.mark.usefixtures("unhurried")
def test_a_program_says_how_long_a_question_waits(dsn: str, tmp_path: Path) -> None:
    settings = Settings(database_url=dsn, home=tmp_path)
    with in_process(settings, dsn=dsn, projector=False, wait=0.0) as opened:
        query = submission_by_uuid(facts.uuid(1))
        assert opened.ask(query, latest=True) is None
        with connect(dsn) as db:
            facts.store(db, [facts.submission_created()])
        with pytest.raises(UnavailableError, match="has not reached position 1 in time"):
            opened.ask(query, latest=True)
