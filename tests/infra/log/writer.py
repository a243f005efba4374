"""A writer process: appends to streams of its own and to streams it shares with others.

Prints one JSON line for each acknowledged append. Arguments: database, number of tasks,
appends of each task (0: without end), number of shared streams.
"""

import asyncio
import json
import sys
from itertools import count
from uuid import UUID, uuid4, uuid5

import psycopg
import uvloop

from domain.application import StreamConflictError
from infra.log.postgres_log import PostgresLog
from tests.infra.log.support import PATIENCE, events

SHARED = UUID("3b0d3bb2-9fd6-4d0a-8a52-8c1f1a4f4f11")


async def write(dsn: str, tasks: int, appends: int, shared: int) -> None:
    log = PostgresLog(dsn, timeout=PATIENCE)
    versions: dict[UUID, int] = {}
    reader = await psycopg.AsyncConnection.connect(dsn, autocommit=True)

    async def newest_version(stream: UUID) -> int:
        cursor = await reader.execute(
            "SELECT coalesce(max(version), 0) FROM gradelog.events WHERE stream_id = %s", (stream,)
        )
        return (await cursor.fetchone())[0]

    async def task(number: int) -> None:
        done = 0
        for turn in count():
            if appends and done == appends:
                return
            if shared and turn % 3 == 2:
                stream = uuid5(SHARED, str((number + turn) % shared))
                version = versions.get(stream, 0) + 1
                batch = events(stream, version)
            else:
                stream = uuid4()
                batch = events(stream, 1, 2, 3)
            try:
                appended = await log.append_encoded(batch)
            except StreamConflictError:
                # Somebody else has stored that very version. To try the next one at once could
                # go on for ever: who was first knows the newest version, the others must ask.
                versions[stream] = await newest_version(stream)
                continue
            versions[stream] = max(versions.get(stream, 0), batch[-1].version)
            done += 1
            print(
                json.dumps(
                    {
                        "position": appended.first_position,
                        "stream": str(stream),
                        "version": batch[0].version,
                        "count": len(batch),
                    }
                ),
                flush=True,
            )

    await asyncio.gather(*(task(number) for number in range(tasks)))
    await reader.close()
    await log.close()


if __name__ == "__main__":
    uvloop.run(write(sys.argv[1], *map(int, sys.argv[2:5])))
