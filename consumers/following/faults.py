"""Which partitions stand still, why, and when they are tried again."""

import time
import traceback
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import structlog

from consumers.following.chain import GapError
from consumers.kafka.client import Partition
from consumers.messages import BadMessageError
from domain.events import UnknownEventTypeError
from projections.telling import in_one_line

logger = structlog.get_logger(__name__)

FIRST_RETRY: Final = 5.0
LONGEST_RETRY: Final = 60.0
"""Seconds until a partition that was stopped is tried again."""

_EXPECTED: Final = (BadMessageError, UnknownEventTypeError, GapError)
"""Errors that say everything; where in the code they arose is of no interest."""


@dataclass(slots=True)
class _Fault:
    error: str
    pause: float
    retry_at: float
    is_tried: bool = False


class Faults:
    """The faults of the partitions that a member reads. One that is tried again still has its own."""

    def __init__(self, retry_after: float = FIRST_RETRY) -> None:
        """Begin without any.

        Args:
            retry_after: seconds until the first try; each further one takes twice as long.
        """
        self._retry_after = retry_after
        self._faults: dict[Partition, _Fault] = {}

    def __bool__(self) -> bool:
        return bool(self._faults)

    def stop(self, partition: Partition, error: Exception) -> None:
        """Let a partition stand still for a while."""
        before = self._faults.get(partition)
        pause = self._retry_after if before is None else min(before.pause * 2, LONGEST_RETRY)
        text = in_one_line(error)
        self._faults[partition] = _Fault(text, pause, time.monotonic() + pause)
        logger.error(
            "partition stands still",
            topic=partition.topic,
            partition=partition.number,
            error=text,
            **({} if isinstance(error, _EXPECTED) else {"exception": _traceback(error)}),
        )

    def is_stopped(self, partition: Partition) -> bool:
        """Whether nothing of a partition may be written now."""
        fault = self._faults.get(partition)
        return fault is not None and not fault.is_tried

    def error_of(self, partition: Partition) -> str | None:
        """Why a partition stands still, or did before it was tried again."""
        fault = self._faults.get(partition)
        return None if fault is None else fault.error

    def try_again(self, among: Collection[Partition]) -> list[Partition]:
        """Those whose time has come; they may go on now."""
        now = time.monotonic()
        due = [
            (partition, fault)
            for partition, fault in self._faults.items()
            if not fault.is_tried and now >= fault.retry_at and partition in among
        ]
        for _, fault in due:
            fault.is_tried = True
        return [partition for partition, _ in due]

    def forget(self, partition: Partition) -> None:
        """It goes on, or is somebody else's."""
        self._faults.pop(partition, None)

    def clear(self) -> None:
        """Forget all."""
        self._faults.clear()


def _traceback(error: Exception) -> str:
    """Where it arose. No values of variables, which may be of people; no errors before it."""
    found = traceback.format_exception(type(error), error, error.__traceback__, chain=False)
    return "".join(found[:-1]) + in_one_line(error)
