"""Notices topics that are gone or were made anew, which librdkafka does not tell."""

import logging
import time
from collections.abc import Collection, Mapping
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError as LibraryError
from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from consumers.kafka.client import UnknownTopicError
from consumers.kafka.confluent_settings import common
from consumers.kafka.settings import METADATA_MAX_AGE, ClientSettings


class TopicWatch:
    """Asks now and then for the ids of topics, without ever waiting for the answer."""

    def __init__(self, settings: ClientSettings, logger: logging.Logger) -> None:
        self._settings = settings
        self._logger = logger
        self._admin: AdminClient | None = None
        self._asked: Mapping[str, Future[Any]] = {}
        self._next = 0.0
        self._ids: dict[str, str] = {}

    def look(self, topics: Collection[str], *, seen: Collection[str] = ()) -> None:
        """Take the answer to the last question, and put the next when its time has come.

        Args:
            topics: which to ask for.
            seen: those that were there, even if their ids were never told.

        Raises:
            UnknownTopicError: a topic that was there is gone, or has another id.
        """
        if self._asked:
            if all(future.done() for future in self._asked.values()):
                asked, self._asked = self._asked, {}
                for topic, future in asked.items():
                    self._compare(topic, future, seen)
        elif topics and time.monotonic() >= self._next:
            self._next = time.monotonic() + METADATA_MAX_AGE
            if self._admin is None:
                self._admin = AdminClient(common(self._settings), logger=self._logger)
            self._asked = self._admin.describe_topics(
                TopicCollection(sorted(topics)), request_timeout=self._settings.timeout
            )

    def _compare(self, topic: str, future: Future[Any], seen: Collection[str]) -> None:
        known = self._ids.get(topic)
        try:
            found = str(future.result().topic_id)
        except KafkaException as error:
            was_there = known is not None or topic in seen
            if was_there and error.args[0].code() == LibraryError.UNKNOWN_TOPIC_OR_PART:
                raise UnknownTopicError(f"{topic} is gone") from None
            return
        if known not in {None, found}:
            raise UnknownTopicError(f"{topic} was made anew")
        self._ids[topic] = found
