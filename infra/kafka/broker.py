"""A Kafka broker of our own, for development and tests.

One node of the real thing, fetched with Maven and run by Java, without ZooKeeper, container
or root. All processes on one home share one broker; the last one to leave in good order
stops it, unless somebody has started it to stay. Its data and its port outlive it.

It listens to this machine alone, and lets in whoever comes from there.
"""

import atexit
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from infra.alive import has_ended, serves
from infra.kafka import node, process
from infra.kafka.launch import EmbeddedKafkaError, launch, tail, word_of
from infra.kafka.libraries import FETCH_LIMIT, LibrariesError, version
from infra.kafka.sharing import NotMyTurnError, Presence, turn
from infra.settings import make_home

logger = logging.getLogger(__name__)

START_LIMIT: Final = 90.0
STOP_LIMIT: Final = 30.0
LONGEST_TURN: Final = FETCH_LIMIT + START_LIMIT + STOP_LIMIT

PAUSE: Final = 0.05


class _NotInTimeError(EmbeddedKafkaError):
    """The broker lives but takes long: one that starts is not stopped, only to begin again."""


class Status(NamedTuple):
    """How a broker is doing. ``bootstrap_servers`` is where it is or was; None if nowhere yet."""

    running: bool
    ready: bool
    pid: int | None
    bootstrap_servers: str | None
    version: str
    directory: Path


class EmbeddedKafka:
    """The broker of one home, shared with all processes that use the same home.

    As a context manager it keeps the broker running from ``__enter__`` to ``__exit__``.
    A forked child has no part in it: it may connect, but it neither keeps nor stops it.
    """

    def __init__(
        self,
        home: Path,
        *,
        port: int = 0,
        libraries: Path | None = None,
        start_limit: float = START_LIMIT,
        tell: Callable[[str], None] = logger.info,
    ) -> None:
        """Prepare; nothing is touched yet.

        Args:
            home: the directory that gets ``kafka``, with everything in it.
            port: where to listen; 0 for where it listened last, or any free port.
            libraries: where Kafka's programs are kept, if not in the home.
            start_limit: seconds until a broker that does not answer counts as failed.
            tell: told before something that takes long.
        """
        self._home = Path(os.path.realpath(home))
        self._directory = self._home / "kafka"
        self._word = word_of(self._directory)
        self._port = port
        self._libraries = self._directory if libraries is None else libraries.absolute()
        self._start_limit = start_limit
        self._tell = tell
        self._presence: Presence | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def bootstrap_servers(self) -> str:
        """Where clients find it, once started."""
        ports = node.remembered(self._directory)
        return "" if ports is None else f"{node.HOST}:{ports.broker}"

    @property
    def log(self) -> Path:
        """Where the broker writes what happens to it; 20 MB at most, with the one before."""
        return self._directory / "broker.log"

    @property
    def pid(self) -> int | None:
        """The broker's process; None if it does not run."""
        pid = process.noted(self._directory)
        return pid if pid is not None and serves(pid, self._word) else None

    def start(self) -> str:
        """Take part in the broker, starting it if it does not run; return its address.

        Raises:
            MissingProgramError: there is no Java, or no Maven to fetch the broker with.
            EmbeddedKafkaError: no usable home, or the broker did not start.
        """
        with self._turn():
            presence = self._presence
            joined = presence is None or not presence.is_ours
            if joined:
                self._presence = Presence.at(self._directory / "users")
            try:
                self._run()
            except BaseException as error:
                if joined:
                    self._leave(stop=not isinstance(error, _NotInTimeError))
                raise
        if joined:
            atexit.register(self.close)
        return self.bootstrap_servers

    def launch(self) -> str:
        """Start the broker to stay until somebody stops it; return its address.

        Raises:
            MissingProgramError: there is no Java, or no Maven to fetch the broker with.
            EmbeddedKafkaError: no usable home, or the broker did not start.
        """
        with self._turn():
            self._run()
            self._kept.touch()
        return self.bootstrap_servers

    def close(self) -> None:
        """Leave; the last one to leave stops the broker. Never fails, never hangs for long."""
        if self._presence is None or not self._presence.is_ours:
            return
        atexit.unregister(self.close)
        try:
            with self._turn(limit=STOP_LIMIT * 2):
                self._leave(stop=True)
        except EmbeddedKafkaError as error:
            # A broker that goes on running does no harm: the next user stops it.
            logger.warning("the broker of %s was not stopped: %s", self._home, error)
            self._leave(stop=False)

    def stop(self) -> bool:
        """Stop the broker in good order, whoever else uses it; whether there was one.

        Raises:
            EmbeddedKafkaError: it did not stop.
        """
        if not self._directory.exists():
            return False
        with self._turn():
            self._kept.unlink(missing_ok=True)
            return self._end()

    def kill(self) -> bool:
        """Kill the broker as a crash would; whether there was one. It may be started again.

        Raises:
            EmbeddedKafkaError: it cannot be killed.
        """
        pid = self.pid
        if pid is None:
            return False
        try:
            self._signal(pid, signal.SIGKILL)
        except OSError as error:
            raise self._of_system(error) from error
        self._wait(lambda: has_ended(pid, self._word), STOP_LIMIT, "die")
        return True

    def status(self) -> Status:
        """How it is doing now."""
        pid = self.pid
        ports = node.remembered(self._directory)
        return Status(
            running=pid is not None,
            ready=pid is not None and ports is not None and node.answers(ports.broker),
            pid=pid,
            bootstrap_servers=self.bootstrap_servers or None,
            version=version(),
            directory=self._directory,
        )

    # --- taking turns -------------------------------------------------------------------------

    @contextmanager
    def _turn(self, limit: float = LONGEST_TURN) -> Iterator[None]:
        """Alone among all processes of this home: nobody else starts or stops meanwhile."""
        try:
            make_home(self._home)
            self._directory.mkdir(mode=0o700, exist_ok=True)
            owner = self._directory.stat().st_uid
            if owner != os.geteuid():
                raise EmbeddedKafkaError(
                    f"the broker in {self._directory} belongs to another user (number {owner});"
                    " set GRADELOG_HOME to a home of your own"
                )
            with turn(self._directory / "lock", limit):
                yield
        except (NotMyTurnError, LibrariesError) as error:
            raise EmbeddedKafkaError(str(error)) from error
        except OSError as error:
            raise self._of_system(error) from error

    def _leave(self, *, stop: bool) -> None:
        presence, self._presence = self._presence, None
        if presence is None:
            return
        try:
            if stop and presence.is_alone() and not self._kept.exists():
                self._end()
        finally:
            presence.end()

    @property
    def _kept(self) -> Path:
        """There while somebody wants the broker to stay."""
        return self._directory / "kept"

    # --- the broker ---------------------------------------------------------------------------

    def _run(self) -> None:
        """See to it that the broker runs and answers."""
        pid, ports = self.pid, node.remembered(self._directory)
        if pid is None or ports is None:
            ports = launch(self._directory, self._port, self._libraries, self._tell)
        elif self._port not in {0, ports.broker}:
            raise EmbeddedKafkaError(
                f"the broker of {self._home} runs already, at {node.HOST}:{ports.broker}"
            )
        # Perhaps whoever started it was killed before it was ready.
        self._wait(
            lambda: self.pid is None or node.answers(ports.broker), self._start_limit, "start"
        )
        if self.pid is None:
            raise EmbeddedKafkaError(self._failure("ended while it was starting"))

    def _end(self) -> bool:
        pid = self.pid
        if pid is None:
            return False
        self._signal(pid, signal.SIGTERM)
        try:
            self._wait(lambda: has_ended(pid, self._word), STOP_LIMIT, "stop")
        except _NotInTimeError:
            # What it has stored it finds again, as after a crash.
            logger.warning("the broker of %s did not stop and is killed", self._home)
            self._signal(pid, signal.SIGKILL)
            self._wait(lambda: has_ended(pid, self._word), STOP_LIMIT, "die")
        return True

    def _signal(self, pid: int, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, number)

    def _wait(self, done: Callable[[], bool], limit: float, verb: str) -> None:
        deadline = time.monotonic() + limit
        while not done():
            if time.monotonic() > deadline:
                raise _NotInTimeError(
                    f"the broker of {self._home} did not {verb} within {limit:.0f} seconds,"
                    f" perhaps because the machine is busy; try again, and see {self.log}"
                )
            time.sleep(PAUSE)

    def _failure(self, what: str) -> str:
        told = []
        for path in (self._directory / "broker.out", self.log):
            with suppress(FileNotFoundError):
                told.append(tail(path.read_text(encoding="utf-8", errors="replace")))
        last = "\n".join(filter(None, told))
        return f"the broker of {self._home} {what}; the end of {self.log}:\n{last}"

    def _of_system(self, error: OSError) -> EmbeddedKafkaError:
        return EmbeddedKafkaError(
            f"cannot keep a broker in {self._home}: {error.strerror or error}"
            f" ({error.filename or 'no file'}); set GRADELOG_HOME to a directory that can be"
            " written, or KAFKA_BOOTSTRAP_SERVERS to a broker that runs already"
        )
