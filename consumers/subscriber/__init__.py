"""Subscribe to what happens in gradelog, from another service, with its own PostgreSQL.

    subscriber = Subscriber(
        kafka="kafka:9092", database="postgresql://…/certificates", name="certificates"
    )

    @subscriber.on(CoursePassedFirstTime)
    def issue(db, recorded):
        db.execute("INSERT INTO certificates …", (recorded.event.user_id, …))

    subscriber.run()

What a handler writes with ``db`` and where the subscriber stands are one transaction: it counts
once. The handler may be called more often, when a neighbour of the event fails or a connection
is lost. What fails again and again is parked with its reason; the rest goes on.
"""

from consumers.kafka.clients import ClientSettings
from consumers.subscriber.handlers import HandleEach, RecordedEvent
from consumers.subscriber.parked import Parked
from consumers.subscriber.status import Status
from consumers.subscriber.subscriber import Subscriber

__all__ = ["ClientSettings", "HandleEach", "Parked", "RecordedEvent", "Status", "Subscriber"]
