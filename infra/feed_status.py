"""Who feeds the read models of a copy, for the tasks of one event loop."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from psycopg import AsyncConnection

from api.feed import FeedProgress
from infra.postgres import Row, Session, fetch_all
from projections.read_model import ReadModel
from projections.registry import READ_MODELS

# A member tells every five seconds how it goes; who is silent for longer is gone, or hangs.
PROGRESS: Final = """
SELECT m.name, count(f.member) FILTER (WHERE f.fresh)::int,
    CASE WHEN k.partitions IS NOT NULL
        THEN greatest(k.partitions + 1 - coalesce(sum(f.partitions) FILTER (WHERE f.fresh), 0), 0)
    END::int,
    CASE WHEN bool_and(f.messages_left IS NOT NULL) FILTER (WHERE f.fresh)
        THEN sum(f.messages_left) FILTER (WHERE f.fresh) END::bigint,
    extract(epoch FROM clock_timestamp() - max(f.seen_at))::float8,
    min(f.trouble) FILTER (WHERE f.fresh)
FROM gradelog.kafka_feed k CROSS JOIN gradelog.read_models m
LEFT JOIN (
    SELECT *, seen_at > clock_timestamp() - interval '15 seconds' AS fresh
    FROM gradelog.kafka_feed_members
) AS f USING (schema)
WHERE m.schema = ANY (%s::text[])
GROUP BY m.name, k.partitions ORDER BY m.name
"""


class PostgresFeedStatus:
    """``api.feed.FeedStatus`` over the tables of those who feed."""

    def __init__(
        self,
        dsn: str,
        *,
        timeout: float = 10.0,
        models: Sequence[type[ReadModel]] = READ_MODELS,
    ) -> None:
        """Make it; connects when it is first asked."""
        self._session = Session(dsn, statement_timeout=timeout, application_name="gradelog api")
        self._timeout = timeout
        self._schemas = [model.schema() for model in models]

    async def close(self) -> None:
        """Close the connection."""
        await self._session.close()

    async def progress(self) -> Mapping[str, FeedProgress]:
        """By name of read model; nothing where there is a log."""

        async def ask(db: AsyncConnection[Row]) -> list[Row]:
            return await fetch_all(db, PROGRESS, (self._schemas,))

        return progress_of(await self._session.run(ask, within=self._timeout))


def progress_of(rows: Sequence[tuple[Any, ...]]) -> dict[str, FeedProgress]:
    """What ``PROGRESS`` finds."""
    return {
        name: FeedProgress(
            members, unread, left, None if silent is None else round(max(silent, 0.0), 1), trouble
        )
        for name, members, unread, left, silent, trouble in rows
    }
