"""Reads messages with kafka-python."""

import logging
import threading
import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

from kafka import ConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka import errors as kafka_errors
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.net.compat import KafkaNetClient

from consumers.kafka.client import (
    Assigned,
    KafkaError,
    Message,
    OffsetOutOfRangeError,
    Partition,
    Revoked,
    UnknownTopicError,
)
from consumers.kafka.kafka_python_connecting import Connections
from consumers.kafka.kafka_python_repairs import fetch_ahead, let_go_of_what_failed, repair
from consumers.kafka.kafka_python_settings import common, readable
from consumers.kafka.kafka_python_unpacking import of_records, unpack_in_one_pass
from consumers.kafka.settings import (
    HEARTBEAT,
    LARGEST_MESSAGE,
    MAX_POLL_INTERVAL,
    SESSION_TIMEOUT,
    ClientSettings,
)

logger = logging.getLogger(__name__)

_SLICE: Final = 0.25
"""Seconds after which a poll looks whether the group has changed."""

_PAUSE: Final = 0.05
"""Seconds until the library is asked again when it could not answer."""

_GONE_AFTER: Final = 1.0
"""Seconds for which nobody knows a topic before it is called gone."""

_Change = tuple[bool, frozenset[Partition]]  # whether assigned, else revoked


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Notes what the group decides.

    The library calls it in its own thread and sends no heartbeat meanwhile. So what is new
    is only noted and held, until ``poll`` has asked where it begins, in the caller's thread.
    """

    def __init__(self, consumer: KafkaConsumer) -> None:
        self._consumer = consumer
        self.changes: deque[_Change] = deque()

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        for partition in assigned:
            self._consumer.pause(partition)
            self._consumer.seek(partition, 0)  # else the library looks for a place itself
        self._note(True, assigned)

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        self._note(False, revoked)

    def _note(self, assigned: bool, partitions: Collection[TopicPartition]) -> None:
        if partitions:
            self.changes.append((assigned, frozenset(Partition(*found) for found in partitions)))


class KafkaPythonConsumer:
    """Reads partitions that a group shares, or that it was given."""

    def __init__(self, settings: ClientSettings, group: str | None) -> None:
        self._settings = settings
        self._group = group
        self._connections = Connections(settings)
        self._net: KafkaNetClient | None = None
        self._reached = threading.Event()
        self._consumer: KafkaConsumer | None = None
        self._listener: _Listener | None = None
        self._topics: tuple[str, ...] = ()
        self._ids: dict[str, Any] = {}
        self._seen: set[str] = set()  # topics that were there, even if their ids were never told
        self._look_at = 0.0
        self._missing: dict[str, float] = {}  # since when
        self._on_assigned: Assigned = dict.fromkeys
        self._on_revoked: Revoked = lambda _: None
        self._given: dict[Partition, int | None] = {}
        self._reading: set[Partition] = set()
        self._paused: set[Partition] = set()
        self._problem: Exception | None = None
        self._closed = False

    def subscribe(
        self, topics: Collection[str], *, on_assigned: Assigned, on_revoked: Revoked
    ) -> None:
        """Share the partitions of topics with the group; the broker says who reads which."""
        if self._group is None:
            raise ValueError("only a member of a group can subscribe")
        self._topics = tuple(topics)
        self._on_assigned, self._on_revoked = on_assigned, on_revoked
        if self._consumer is not None:
            self._begin(self._consumer)

    def assign(self, offsets: Mapping[Partition, int | None]) -> None:
        """Read these partitions from these offsets, without a group."""
        self._given = dict(offsets)
        self._reading = set(offsets)
        self._paused &= self._reading
        if self._consumer is not None:
            self._begin(self._consumer)

    def poll(self, timeout: float, *, limit: int) -> Sequence[Message]:
        """What comes next of each partition, in its order; nothing if nothing comes in time."""
        deadline = time.monotonic() + timeout
        consumer = self._consumer or self._connect(timeout)
        if consumer is None:
            return ()
        if self._problem is not None:
            problem, self._problem = self._problem, None
            raise KafkaError(readable(problem)) from problem
        if time.monotonic() >= self._look_at:
            self._look_for_topics()
        while True:
            self._settle(consumer)
            left = max(0.0, deadline - time.monotonic())
            found: Mapping[TopicPartition, Sequence[Any]] | None = None
            repair(consumer)
            with _translated():
                found = consumer.poll(timeout_ms=int(min(left, _SLICE) * 1000), max_records=limit)
            if found is None:  # something that goes by itself, though not at once
                time.sleep(min(left, _PAUSE))
                found = {}
            self._seen.update(partition.topic for partition in found)
            changed = self._settle(consumer)
            messages = [
                message
                for partition, records in found.items()
                if partition in self._reading and partition not in changed
                for message in _messages(Partition(*partition), records)
            ]
            if messages:
                try:
                    fetch_ahead(consumer)
                except Exception as error:  # noqa: BLE001  # first what came before it
                    self._problem = error
            if messages or left <= 0:
                return messages

    def seek(self, partition: Partition, offset: int | None) -> None:
        """Go on with this offset of a partition that is read; None: with its first."""
        if self._consumer is None:
            self._given[partition] = offset
        else:
            with _translated():
                _seek(self._consumer, partition, offset)

    def pause(self, partitions: Collection[Partition]) -> None:
        """Return nothing of these partitions until ``resume``; the group keeps them ours."""
        self._paused.update(partitions)
        if self._consumer is not None:
            here = self._consumer.assignment()
            self._consumer.pause(*(TopicPartition(*one) for one in partitions if one in here))

    def resume(self, partitions: Collection[Partition]) -> None:
        """Return messages of these partitions again."""
        self._paused.difference_update(partitions)
        if self._consumer is not None:
            here = self._consumer.assignment()
            self._consumer.resume(
                *(TopicPartition(*one) for one in partitions if one in here & self._reading)
            )

    def assignment(self) -> frozenset[Partition]:
        """Which partitions are read now."""
        return frozenset(self._reading)

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Tell the group's coordinator what is to be read next, for those who measure lag."""
        if self._consumer is None or self._group is None or not offsets:
            return
        with suppress(Exception):
            self._consumer.commit_async(
                {
                    TopicPartition(*partition): OffsetAndMetadata(offset, "", -1)
                    for partition, offset in offsets.items()
                },
                callback=lambda _offsets, _answer: None,
            )

    def begin_offsets(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """The first offset that each of these partitions holds."""
        return self._offsets("beginning_offsets", partitions)

    def end_offsets(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """The offset of the next message of each of these partitions."""
        return self._offsets("end_offsets", partitions)

    def close(self, timeout: float = 5.0) -> None:
        """Leave the group. Never fails."""
        self._closed = True
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with suppress(Exception):
                consumer.close(autocommit=False, timeout_ms=int(timeout * 1000))
        if self._net is not None:
            with suppress(Exception):
                self._net.close()
        reading, self._reading = frozenset(self._reading), set()
        if reading and self._topics:
            try:
                self._on_revoked(reading)
            except Exception:
                logger.exception("What stops with the consumer has failed.")

    def _connect(self, timeout: float) -> KafkaConsumer | None:
        """The library's consumer, or None as long as no broker can be reached."""
        if self._closed:
            raise KafkaError("The consumer is closed.")
        if self._net is None:
            self._net = self._dial()
        reached = self._reached.wait(timeout)
        net = self._net
        try:
            with self._connections.begun():
                if not reached:
                    self._connections.check()
                    return None
                manager = net._manager  # noqa: SLF001  # ours, made below
                if not manager.bootstrapped:
                    manager.bootstrap(refresh=False)  # tells what went wrong
                with _translated():
                    consumer = KafkaConsumer(**_config(self._settings, self._group, net))
                    let_go_of_what_failed(consumer)
                    unpack_in_one_pass(consumer)
                    self._begin(consumer)
        except BaseException:
            self._net = None
            raise
        self._consumer = consumer
        return consumer

    def _dial(self) -> KafkaNetClient:
        """Connections that are tried for as long as it takes, in a thread of their own.

        The library's consumer gives up after a while, and blocks until then.
        """
        config = {**KafkaConsumer.DEFAULT_CONFIG, **_config(self._settings, self._group, None)}
        made = self._connections(**config)
        made._net.start()  # noqa: SLF001
        self._reached.clear()
        made._manager.bootstrap_async(None).add_both(lambda _: self._reached.set())  # noqa: SLF001
        return made

    def _begin(self, consumer: KafkaConsumer) -> None:
        if self._topics:
            # A leader that does not know the partitions yet gives none to anybody.
            for topic in self._topics:
                consumer.partitions_for_topic(topic)
            self._listener = _Listener(consumer)
            consumer.subscribe(self._topics, listener=self._listener)
        elif self._given:
            consumer.assign([TopicPartition(*partition) for partition in self._given])
            for partition, offset in self._given.items():
                _seek(consumer, partition, offset)
            consumer.resume(*consumer.assignment())
            consumer.pause(*(TopicPartition(*partition) for partition in self._paused))

    def _settle(self, consumer: KafkaConsumer) -> set[Partition]:
        """Tell the caller what the group has decided, and begin where it says."""
        changed: set[Partition] = set()
        listener = self._listener
        while listener is not None and listener.changes:
            assigned, partitions = listener.changes[0]
            changed |= partitions
            if assigned:
                begins = self._on_assigned(partitions)
                # What is told twice or was taken away meanwhile is told of by a later change.
                here = partitions & consumer.assignment()
                with _translated():
                    for partition in here:
                        _seek(consumer, partition, begins.get(partition))
                    self._reading |= partitions
                    consumer.resume(*(TopicPartition(*one) for one in here - self._paused))
            else:
                gone = partitions & self._reading
                if gone:
                    self._on_revoked(gone)
                self._reading -= partitions
                self._paused -= partitions
            listener.changes.popleft()
        return changed

    def _offsets(self, question: str, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        timeout = self._settings.timeout
        consumer = self._consumer or self._connect(timeout)
        if consumer is None:
            raise KafkaError(
                f"{self._settings.bootstrap_servers}: no broker can be reached in {timeout} seconds"
            )
        try:
            found: Mapping[TopicPartition, int] = getattr(consumer, question)(
                [TopicPartition(*partition) for partition in partitions],
                timeout_ms=int(timeout * 1000),
            )
        except KeyError as error:
            # The library asks the leaders that it knows of, and misses what nobody was asked for.
            raise KafkaError(f"nobody is known to lead {_name(error.args[0])}") from error
        except Exception as error:
            raise KafkaError(readable(error)) from error
        return {Partition(*partition): offset for partition, offset in found.items()}

    def _look_for_topics(self) -> None:
        """Notice a topic that is gone, or another one that has got its name.

        Raises:
            UnknownTopicError: as said.
            KafkaError: a topic is not for us to read, of which the library tells members only.
        """
        if self._net is None:
            return
        cluster = self._net.cluster
        gone = None
        topics = {*self._topics, *(partition.topic for partition in self._given)}
        if refused := topics & cluster.unauthorized_topics:
            raise KafkaError(f"{', '.join(sorted(refused))}: TopicAuthorizationFailedError")
        for topic in topics:
            known, now = self._ids.get(topic), cluster.topic_id(topic)
            if cluster.partitions_for_topic(topic) is None:
                since = self._missing.setdefault(topic, time.monotonic())
                was_there = known is not None or topic in self._seen
                if was_there and time.monotonic() - since > _GONE_AFTER:
                    gone = f"{topic} is gone"
                continue
            self._missing.pop(topic, None)
            if now is not None and known is not None and now != known:
                gone = f"{topic} was made anew"
            self._ids.setdefault(topic, now)
        if gone is not None:
            raise UnknownTopicError(gone)
        if all(topic in self._ids for topic in topics):  # before, there is nothing to compare
            self._look_at = time.monotonic() + _GONE_AFTER


def _config(
    settings: ClientSettings, group: str | None, net: KafkaNetClient | None
) -> dict[str, Any]:
    return {
        **common(settings),
        "group_id": group,
        "enable_auto_commit": False,
        "auto_offset_reset": "none",
        "allow_auto_create_topics": False,
        "isolation_level": "read_committed",  # what a sender has taken back was never sent
        "partition_assignment_strategy": (CooperativeStickyAssignor,),
        "session_timeout_ms": int(SESSION_TIMEOUT * 1000),
        "heartbeat_interval_ms": int(HEARTBEAT * 1000),
        "max_poll_interval_ms": int(MAX_POLL_INTERVAL * 1000),
        "request_timeout_ms": int(settings.timeout * 1000),
        "fetch_max_bytes": LARGEST_MESSAGE,
        "metrics_enabled": False,
        **({} if net is None else {"kafka_client": lambda **_: net}),
    }


def _messages(partition: Partition, records: Sequence[Any]) -> Iterable[Message]:
    return records if type(records[0]) is Message else of_records(partition, records)


def _name(partition: TopicPartition) -> str:
    return f"{partition.topic}[{partition.partition}]"


def _seek(consumer: KafkaConsumer, partition: Partition, offset: int | None) -> None:
    if offset is None:
        consumer.seek_to_beginning(TopicPartition(*partition))
    else:
        consumer.seek(TopicPartition(*partition), offset)


@contextmanager
def _translated() -> Iterator[None]:
    """Errors of the library as ours; what goes by itself is passed over."""
    try:
        yield
    except kafka_errors.OffsetOutOfRangeError as error:
        raise OffsetOutOfRangeError([Partition(*found) for found in error.args[0]]) from None
    except kafka_errors.LogTruncationError as error:
        raise OffsetOutOfRangeError(
            [Partition(*found) for found in error.divergent_offsets]
        ) from None
    except (
        kafka_errors.RetriableError,
        kafka_errors.NoOffsetForPartitionError,  # the group has just given it to us
        kafka_errors.UnknownMemberIdError,  # the library joins the group again
        kafka_errors.IllegalGenerationError,
        kafka_errors.RebalanceInProgressError,
    ):
        return
    except (kafka_errors.KafkaError, ValueError) as error:
        raise KafkaError(readable(error)) from error
