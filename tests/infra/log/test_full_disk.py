"""A disk without room: a clear answer, nothing half-written, and it goes on by itself."""

import asyncio
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from domain.errors import UnavailableError
from infra.embedded import EmbeddedPostgres
from infra.log.postgres_log import PostgresLog
from infra.migrate import migrate
from tests.infra.log.support import PATIENCE, contiguous, events, stored

SIZE = "320m"


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of a few hundred megabytes, in memory."""
    place = Path(tempfile.mkdtemp(prefix="gradelog-small-"))
    place.chmod(0o755)
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", place],
            check=False,
            capture_output=True,
        ).returncode
    )
    if not mounted:
        place.rmdir()
        pytest.skip("only a superuser who may mount can make a small disk")
    yield place
    subprocess.run(["umount", "-l", place], check=True)
    place.rmdir()


@pytest.mark.fault
def test_a_full_disk_refuses_appends_until_there_is_room(small_disk: Path) -> None:
    ballast = small_disk / "ballast"

    async def fill(dsn: str) -> int:
        log = PostgresLog(dsn, timeout=PATIENCE)
        data = b'"' + os.urandom(100_000).hex().encode() + b'"'
        promised = 0
        await log.append_encoded(events(uuid4(), 1))
        promised += 1
        # What is left of the disk is taken by somebody else.
        room = os.statvfs(small_disk)
        ballast.write_bytes(b"\0" * (room.f_bavail * room.f_frsize - 3_000_000))
        with pytest.raises(UnavailableError, match="cannot store now"):  # noqa: PT012
            for _ in range(1000):
                await log.append_encoded(events(uuid4(), 1, 2, data=data))
                promised += 2
        ballast.unlink()
        await log.append_encoded(events(uuid4(), 1))
        await log.close()
        return promised + 1

    with EmbeddedPostgres(small_disk) as server:
        migrate(server.dsn)
        promised = asyncio.run(fill(server.dsn))
        rows = stored(server.dsn)
    assert len(rows) == promised
    assert contiguous([row[0] for row in rows])
