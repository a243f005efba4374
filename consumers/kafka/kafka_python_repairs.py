"""What kafka-python 3.0.12 does wrong, put right from outside.

Each of these reaches into the library, so each does nothing where the library has changed.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from kafka import KafkaConsumer

_MUCH: Final = 1024 * 1024
"""Bytes that are read of a connection at once."""

_ENOUGH: Final = 16 * 1024 * 1024
"""Bytes of one connection after which the others get their turn."""


def repair(consumer: KafkaConsumer) -> None:
    """Put a consumer right before it polls."""
    _keep_what_was_joined(consumer)
    _end_what_was_begun(consumer)
    _forget_what_is_drained(consumer)
    _ask_only_for_what_is_there(consumer)


def fetch_ahead(consumer: KafkaConsumer) -> None:
    """Let the library ask for what comes next while its caller is busy with what came.

    It asks at the beginning of a poll, and not when it returns what it had to wait for. Only for
    what is there already: an answer that has to wait brings the first message that comes, and
    those after it wait for another turn.
    """
    fetcher: Any = getattr(consumer, "_fetcher", None)
    send = getattr(fetcher, "send_fetches", None)
    if send is not None and _has_more(fetcher):
        send()


def let_go_of_what_failed(consumer: KafkaConsumer) -> None:
    """Let the library fetch again what it could not read: damaged, or compressed as it cannot.

    It has raised that once. From then on it takes the records that it holds for some that go on
    though they never do, and looks for the next one without end, inside of ``poll``.
    """
    fetcher: Any = getattr(consumer, "_fetcher", None)
    append = getattr(fetcher, "_append", None)
    if append is None:
        return

    def appended(drained: Any, held: Any, *arguments: Any) -> Any:
        count = append(drained, held, *arguments)
        if not count and held:
            held.drain()
        return count

    fetcher._append = appended  # noqa: SLF001


def read_all(transport: Any) -> None:
    """Let the library read what a connection has, at once and to its end, or to what is enough.

    It reads 4 KB at a time and lets go of the interpreter for each, which another thread that
    is busy gives back 5 ms later. And it drops what came before the end of a connection, if
    both are there when it looks: mostly the answer of a broker that does not accept a password,
    and hangs up.
    """
    receive = getattr(transport, "_sock_recv", None)
    if receive is None or not hasattr(transport, "_sock"):
        return

    def received() -> tuple[bytes, Any]:
        parts, size = [], 0
        sock = transport._sock  # noqa: SLF001
        # What TLS has unpacked and not handed over nobody would be woken for.
        unpacked = getattr(sock, "pending", int)
        with suppress(Exception):  # what it means the library says, when it is all there is
            while (size < _ENOUGH or unpacked()) and (part := sock.recv(_MUCH)):
                parts.append(part)
                size += len(part)
        if parts:
            return b"".join(parts), None  # an end is still there at the next look
        data, problem = receive()
        return data, None if data else problem

    transport._sock_recv = received  # noqa: SLF001


class _Kept:
    """What a finished task has brought, for somebody who passes over finished tasks."""

    is_done = False

    def __init__(self, value: Any) -> None:
        self._value = value

    def add_callback(self, call: Callable[[Any], None]) -> None:
        call(self._value)

    def add_errback(self, _: Callable[[BaseException], None]) -> None:
        """It has not failed."""


def _keep_what_was_joined(consumer: KafkaConsumer) -> None:
    """Let the library take the assignment that came while nobody polled.

    It would join the group again instead, which lets the others join again as well: a group
    whose members are busy between short polls would not come to rest.
    """
    coordinator: Any = getattr(consumer, "_coordinator", None)
    task = getattr(coordinator, "_join_task", None)
    if task is not None and task.is_done and getattr(task, "exception", task) is None:
        coordinator._join_task = _Kept(task.value)  # noqa: SLF001


def _end_what_was_begun(consumer: KafkaConsumer) -> None:
    """Let the library end a join that it began, also when the reason for it is gone.

    It sends no heartbeats meanwhile. If it then sees no need to join any more it goes on
    reading without them: the group gives its partitions to others, and it never learns that.
    """
    coordinator: Any = getattr(consumer, "_coordinator", None)
    if getattr(coordinator, "rejoining", False):
        coordinator.request_rejoin()


def _forget_what_is_drained(consumer: KafkaConsumer) -> None:
    """Let the library return what it holds of partitions that were paused in between.

    It looks for that only when nothing is left over, but takes what it has read to the end
    for something that is; such a partition would stand still for ever.
    """
    fetcher: Any = getattr(consumer, "_fetcher", None)
    left_over = getattr(fetcher, "_next_partition_records", None)
    if left_over is not None and not left_over:
        fetcher._next_partition_records = None  # noqa: SLF001


def _ask_only_for_what_is_there(consumer: KafkaConsumer) -> None:
    """Let the library return what it holds before it asks for what may be long in coming.

    What comes in just when it begins to wait it would hold until the other partitions have
    something, or for half a second. And while such a question is open it asks for nothing else:
    a partition of which it holds the rest would stand still when that is returned.
    """
    fetcher: Any = getattr(consumer, "_fetcher", None)
    send = getattr(fetcher, "_send_fetches_async", None)
    if send is None or not hasattr(fetcher, "_completed_fetches") or hasattr(send, "is_repaired"):
        return

    async def send_fetches() -> Any:
        # What has come leaves a finished request behind, which ends the wait at once.
        holds = fetcher._completed_fetches or fetcher._next_partition_records  # noqa: SLF001
        return [] if holds and not _has_more(fetcher) else await send()

    send_fetches.is_repaired = True  # type: ignore[attr-defined]
    fetcher._send_fetches_async = send_fetches  # noqa: SLF001


def _has_more(fetcher: Any) -> bool:
    """Whether a broker has told of more than it gave, so that it answers at once when asked."""
    fetchable = getattr(fetcher, "_fetchable_partitions", tuple)
    known = getattr(getattr(fetcher, "_subscriptions", None), "assignment", {})
    return any(
        (state := known.get(partition)) is not None
        and state.highwater is not None
        and state.position.offset < state.highwater
        for partition in fetchable()
    )
