"""What became of the messages of the inbound topics, for the tasks of one event loop."""

from collections.abc import Sequence

from api.inbound import InboundTopic
from consumers.inbound.store import Store
from infra.postgres import Session


class PostgresInboundStatus:
    """``api.inbound.InboundStatus`` over the tables of the consumer."""

    def __init__(self, dsn: str, *, timeout: float = 10.0) -> None:
        """Make it; connects when it is first asked."""
        self._session = Session(dsn, statement_timeout=timeout, application_name="gradelog api")
        self._store = Store(self._session)

    async def close(self) -> None:
        """Close the connection."""
        await self._session.close()

    async def figures(self) -> Sequence[InboundTopic]:
        """By topic; nothing if no topic was ever read."""
        return [InboundTopic(*one) for one in await self._store.figures()]
