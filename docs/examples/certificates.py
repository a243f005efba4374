"""A service that issues a certificate when a learner passes a course for the first time."""

import os

import psycopg

from consumers.subscriber import RecordedEvent, Subscriber
from domain.grades.learner_grades import CoursePassedFirstTime

subscriber = Subscriber(
    kafka=os.environ["KAFKA_BOOTSTRAP_SERVERS"],
    database=os.environ["DATABASE_URL"],
    name="certificates",
    prefix=os.environ.get("GRADELOG_KAFKA_TOPIC_PREFIX", "gradelog"),
)


@subscriber.on(CoursePassedFirstTime)
def issue(
    db: psycopg.Connection[tuple[object, ...]], recorded: RecordedEvent[CoursePassedFirstTime]
) -> None:
    event = recorded.event
    db.execute(
        "INSERT INTO certificates (user_id, course_id, passed_at) VALUES (%s, %s, %s)",
        (event.user_id, event.course_id, event.timestamp),
    )


if __name__ == "__main__":
    with psycopg.connect(os.environ["DATABASE_URL"]) as db:
        db.execute(
            """
            CREATE TABLE IF NOT EXISTS certificates (
                user_id bigint, course_id text, passed_at timestamptz,
                PRIMARY KEY (user_id, course_id)
            )
            """
        )
    subscriber.run()
