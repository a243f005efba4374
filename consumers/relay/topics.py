"""The topics of events: made when they are missing, and refused when they do not fit."""

import threading
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Final

import structlog

from consumers.kafka.client import Admin, Client, KafkaError, NewTopic, Partition, Topic
from consumers.leading import StandstillError
from consumers.messages import COURSES, PEOPLE, topic_names
from consumers.relay.store import NotedTopic

logger = structlog.get_logger(__name__)

MAX_MESSAGE_BYTES: Final = 32 * 1024 * 1024
CREATION_TIMEOUT: Final = 15.0
"""Seconds until a topic that was created shows; one that is being deleted is in the way so long."""

_LOOK_AGAIN: Final = 0.1


class TopicsError(StandstillError):
    """The log cannot be published to the topics as they are; the message says what to do."""


class TopicsChangedError(Exception):
    """A topic is gone, or another one stands in its place."""


@dataclass(frozen=True, slots=True)
class TopicSettings:
    """Which topics there are. Both numbers matter only when a topic is made."""

    prefix: str = "gradelog"
    partitions: int = 24
    replicas: int = 1

    @property
    def names(self) -> dict[str, str]:
        """The topics by what they are for."""
        return topic_names(self.prefix)

    def new(self) -> list[NewTopic]:
        """The topics as they are made."""
        settings = {
            # Both: brokers may have limits of their own for topics that name none.
            "retention.ms": "-1",
            "retention.bytes": "-1",
            "cleanup.policy": "delete",
            "max.message.bytes": str(MAX_MESSAGE_BYTES),
            # A message has the time of its event, which may be long ago; a clock that is
            # ahead must not stop everything.
            "message.timestamp.type": "CreateTime",
            "message.timestamp.after.max.ms": str(2**63 - 1),
        }
        if self.replicas >= 3:
            settings["min.insync.replicas"] = "2"
        counts = {COURSES: self.partitions, PEOPLE: 1}
        return [
            NewTopic(name, counts[purpose], self.replicas, settings)
            for purpose, name in self.names.items()
        ]


def make_missing(
    admin: Admin, settings: TopicSettings, stop: threading.Event
) -> Mapping[str, Topic]:
    """The topics, made if need be.

    Raises:
        KafkaError: they cannot be made, or do not show in time.
    """
    deadline = time.monotonic() + CREATION_TIMEOUT
    wanted = settings.new()
    while True:
        found = admin.topics([topic.name for topic in wanted])
        missing = [topic for topic in wanted if topic.name not in found]
        if not missing:
            return found
        names = ", ".join(topic.name for topic in missing)
        if time.monotonic() > deadline or stop.is_set():
            raise KafkaError(f"missing topics: {names}")
        logger.info("topics are made", topics=names)
        admin.create(missing)
        stop.wait(_LOOK_AGAIN)


def are_others(found: Mapping[str, Topic], noted: Mapping[str, NotedTopic]) -> bool:
    """Whether the log was never published to one of these topics.

    Raises:
        TopicsError: it was, and keys would be in other partitions now.
    """
    others = False
    for name, topic in found.items():
        known = noted.get(name)
        if known is None or _is_another(topic, known):
            others = True
        elif known.partitions != topic.partitions:
            raise TopicsError(
                f"the topic {name} has {topic.partitions} partitions, but its keys were placed"
                f" when it had {known.partitions}: delete it, and the relay makes it anew and"
                " publishes the whole log again"
            )
    return others


def check_placement(
    client: Client, found: Mapping[str, Topic], noted: Mapping[str, NotedTopic]
) -> None:
    """Refuse a topic that somebody else made anew while events were on their way to the old one.

    A client finds a partition by its number, so what it still had to send, or went on sending
    until it looked, stands in the new topic where the old one had its place. With another
    number of partitions that is the wrong place, and readers would step over what belongs there.

    Raises:
        TopicsError: it has another number of partitions, and is not empty.
        KafkaError: the broker does not answer.
    """
    for name, topic in found.items():
        known = noted.get(name)
        if known is None or not _is_another(topic, known) or known.partitions == topic.partitions:
            continue
        with closing(client.consumer()) as consumer:
            ends = consumer.end_offsets([Partition(name, n) for n in range(topic.partitions)])
        if any(ends.values()):
            raise TopicsError(
                f"the topic {name} was made anew with {topic.partitions} partitions instead of"
                f" {known.partitions}, and holds messages already, perhaps in wrong partitions:"
                " delete it, and the relay makes it anew and publishes the whole log again"
            )


def check_partitions(settings: TopicSettings, found: Mapping[str, Topic]) -> None:
    """Refuse a topic of people that is split: every reader of courses reads all of it in order.

    Raises:
        TopicsError: it is.
    """
    people = found[settings.names[PEOPLE]]
    if people.partitions != 1:
        raise TopicsError(
            f"the topic {people.name} has {people.partitions} partitions and must have 1:"
            " delete it, and the relay makes it anew and publishes the whole log again"
        )


def still_the_same(admin: Admin, settings: TopicSettings, noted: Mapping[str, NotedTopic]) -> None:
    """Look whether the topics are those that are being published to.

    Raises:
        TopicsChangedError: one is gone, or made anew by somebody else.
        TopicsError: one has another number of partitions.
        KafkaError: the broker does not answer.
    """
    found = admin.topics(list(settings.names.values()))
    if len(found) < len(settings.names) or are_others(found, noted):
        raise TopicsChangedError("a topic is gone, or was made anew")


def _is_another(topic: Topic, known: NotedTopic) -> bool:
    # Not every broker and library tells ids.
    return None not in (topic.id, known.id) and topic.id != known.id
