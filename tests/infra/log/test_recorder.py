"""The library's own tests of a recorder, on our log, and an application of the library."""

from collections.abc import Iterator
from uuid import UUID

import pytest
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import ApplicationRecorder, IntegrityError
from eventsourcing.tests.persistence import (
    ApplicationRecorderTestCase,
    NonInterleavingNotificationIDsBaseCase,
)

from infra.log.recorder import LogRecorder, open_recorder
from tests.infra.log.support import PATIENCE

pytestmark = pytest.mark.usefixtures("unhurried")


@pytest.fixture
def recorder(dsn: str) -> Iterator[LogRecorder]:
    with open_recorder(dsn, timeout=PATIENCE) as opened:
        yield opened


class OnOurLog:
    @pytest.fixture(autouse=True)
    def _use(self, recorder: LogRecorder) -> None:
        self._recorder = recorder

    def create_recorder(self) -> LogRecorder:
        return self._recorder


class TestTheLibrarysApplicationRecorderTests(OnOurLog, ApplicationRecorderTestCase):
    test_performance = None
    test_concurrent_throughput = None


class TestTheLibrarysInterleavingTests(OnOurLog, NonInterleavingNotificationIDsBaseCase):
    insert_num = 200


del ApplicationRecorderTestCase, NonInterleavingNotificationIDsBaseCase


class Note(Aggregate):
    @event("Written")
    def __init__(self, text: str) -> None:
        self.text = text

    @event("Changed")
    def change(self, text: str) -> None:
        self.text = text


def test_an_application_of_the_library_works_on_the_log(recorder: LogRecorder) -> None:
    class Notes(Application[UUID]):
        def construct_recorder(self) -> ApplicationRecorder:
            return recorder

    with Notes() as notes:
        note = Note("first")
        notes.save(note)
        note.change("second")
        assert [r.notification.id for r in notes.save(note)] == [2]
        assert notes.repository.get(note.id).text == "second"
        stale = notes.repository.get(note.id)
        note.change("third")
        notes.save(note)
        stale.change("lost")
        with pytest.raises(IntegrityError):
            notes.save(stale)
        assert [n.id for n in notes.notification_log.select(start=1, limit=10)] == [1, 2, 3]


def test_a_subscription_follows_the_log_across_its_head(recorder: LogRecorder) -> None:
    class Notes(Application[UUID]):
        def construct_recorder(self) -> ApplicationRecorder:
            return recorder

    with Notes() as notes, recorder.subscribe(gt=None) as subscription:
        note = Note("first")
        notes.save(note)
        assert next(subscription).id == 1
        note.change("second")
        notes.save(note)
        assert next(subscription).id == 2
