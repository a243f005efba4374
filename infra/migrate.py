"""Numbered SQL migrations: applied once, in order, by one process at a time.

A database that is ahead of the code is refused: an older program must not write into
tables whose rules it does not know.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg
from psycopg import Connection

from infra.postgres import LOG_SCHEMA, Row, options, parameters

DIRECTORY: Final = Path(__file__).parent / "migrations"
LOCK: Final = 7454127093424619624
LOCK_TIMEOUT: Final = 60
OLDEST_SERVER: Final = 140000

_FILE_NAME: Final = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")

CREATE_TABLE: Final = """
CREATE TABLE IF NOT EXISTS migrations (
    number     integer     PRIMARY KEY,
    name       text        NOT NULL,
    checksum   text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


class MigrationError(Exception):
    """The database cannot be brought to the state that this code needs."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file."""

    number: int
    name: str
    statements: str

    @property
    def checksum(self) -> str:
        """Digest that tells whether an applied file was edited later."""
        return hashlib.sha256(self.statements.encode()).hexdigest()


def migrations(directory: Path = DIRECTORY) -> list[Migration]:
    """All migrations of this code, in order, without a gap."""
    found = []
    for path in sorted(directory.glob("*.sql")):
        match = _FILE_NAME.fullmatch(path.name)
        if match is None:
            raise MigrationError(f"{path.name} is not named like 0001_what_it_does.sql")
        found.append(Migration(int(match[1]), match[2], path.read_text(encoding="utf-8")))
    if [m.number for m in found] != list(range(1, len(found) + 1)):
        raise MigrationError(f"the migrations in {directory} are not numbered 1, 2, 3, …")
    return found


def migrate(dsn: str, *, available: Sequence[Migration] | None = None) -> list[Migration]:
    """Apply what is missing and return it; do nothing when the database is up to date.

    Raises:
        MigrationError: the server is too old, the database is newer than this code, or an
            applied migration was edited.
        psycopg.Error: a migration failed; it was rolled back, earlier ones stand.
    """
    wanted = migrations() if available is None else list(available)
    with psycopg.connect(
        dsn,
        autocommit=True,
        **parameters(options=options(statement_timeout=3600), application_name="gradelog migrate"),
    ) as db:
        if db.info.server_version < OLDEST_SERVER:
            raise MigrationError(
                f"PostgreSQL {OLDEST_SERVER // 10000} or later is needed;"
                f" this server is {db.info.server_version // 10000}"
            )
        if not _missing(db, wanted):  # the common case takes no lock
            return []
        try:
            db.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}s'")
            db.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        except psycopg.errors.LockNotAvailable:
            raise MigrationError(
                f"another process has been migrating for more than {LOCK_TIMEOUT} seconds"
            ) from None
        db.execute("RESET lock_timeout")
        missing = _missing(db, wanted)
        for migration in missing:
            _apply(db, migration)
        return missing


def _missing(db: Connection[Row], wanted: Sequence[Migration]) -> list[Migration]:
    known = {migration.number: migration for migration in wanted}
    for number, name, checksum in _applied(db):
        migration = known.pop(number, None)
        if migration is None:
            raise MigrationError(
                f"the database is newer than this code: it has migration {number:04} ({name})"
                f" and this code ends at {len(wanted):04}; upgrade gradelog"
            )
        if migration.checksum != checksum:
            raise MigrationError(
                f"migration {number:04} ({name}) was edited after it had been applied"
            )
    return list(known.values())


def _applied(db: Connection[Row]) -> list[Row]:
    if db.execute("SELECT to_regclass(%s)", (f"{LOG_SCHEMA}.migrations",)).fetchone() == (None,):
        return []
    return db.execute("SELECT number, name, checksum FROM migrations ORDER BY number").fetchall()


def _apply(db: Connection[Row], migration: Migration) -> None:
    with db.transaction():
        db.execute(f"CREATE SCHEMA IF NOT EXISTS {LOG_SCHEMA}")
        db.execute(CREATE_TABLE)
        db.execute(migration.statements)
        db.execute(
            "INSERT INTO migrations (number, name, checksum) VALUES (%s, %s, %s)",
            (migration.number, migration.name, migration.checksum),
        )
