"""The inbound topics in a process: made from the settings, and how far they are read."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeVar

from consumers.inbound.carrying import Carrier, Inlet
from consumers.inbound.consuming import KEPT_FOR, Inbound
from consumers.inbound.decoding import decoder
from consumers.inbound.lanes import Lanes
from consumers.inbound.models import ROSTER, SCORES
from consumers.inbound.parking import PATIENCE
from consumers.inbound.requests import Commands
from consumers.inbound.store import Store
from domain.errors import UnavailableError
from domain.grades.application import Grades
from domain.learners.application import Learners
from domain.submissions.application import Submissions
from infra.database import database, now, refuse_copy
from infra.engine import Engine
from infra.kafka.client import kafka_client
from infra.log.postgres_log import PostgresLog
from infra.logging import configure
from infra.openedx import make_registry, openedx_inlets
from infra.postgres import Session
from infra.reads import PostgresReads
from infra.settings import Settings, master_key, read_settings
from infra.vault import Vault, VaultError

T = TypeVar("T")

ENDING: Final = 15.0
"""Seconds that commands under way have when the process ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """What carries out messages, in the event loop of ``engine``."""

    engine: Engine
    commands: Commands
    store: Store
    carrier: Carrier
    inlets: Mapping[str, Inlet]
    """By kind."""
    group: str


def group_of(settings: Settings) -> str:
    """The consumer group of the inbound topics."""
    return f"{settings.kafka_topic_prefix}.inbound"


def inlets(settings: Settings) -> tuple[Inlet, ...]:
    """The inbound topics, and how their messages are read."""
    prefix = f"{settings.kafka_topic_prefix}.inbound"
    return tuple(
        Inlet(kind=kind, topic=f"{prefix}.{kind}", decode=decoder(types, via=f"inbound.{kind}"))
        for kind, types in (("scores", SCORES), ("roster", ROSTER))
    )


@contextmanager
def workshop(settings: Settings, dsn: str) -> Iterator[Workshop]:
    """Everything that messages need to be carried out."""
    limit = settings.append_timeout
    with ExitStack() as stack:
        # A message waits for a key, a stream, an id and the log, each for so long at most.
        engine = Engine(limit=max(limit * 5, 4 * PATIENCE))
        stack.callback(engine.close)
        log = PostgresLog(dsn, timeout=limit, queue=settings.log_queue)
        stack.callback(lambda: engine.run(log.close))
        vault = _PatientVault(dsn, master_key=master_key(settings), timeout=limit)
        stack.callback(lambda: engine.run(vault.close))

        async def open_reads() -> PostgresReads:
            reads = PostgresReads(dsn, size=settings.pool_size, timeout=settings.read_timeout)
            await reads.open()
            return reads

        reads = engine.run(open_reads)
        stack.callback(lambda: engine.run(reads.close))
        session = Session(dsn, statement_timeout=PATIENCE, application_name="gradelog inbound")
        stack.callback(lambda: engine.run(session.close))
        commands = Commands(
            submissions=Submissions(log, now, vault),
            learners=Learners(log, now, vault),
            grades=Grades(log, now, vault),
            reads=reads,
            log=log,
            clock=now,
            # No message may outlive the memory of it: topics that are copied to another
            # cluster are read from their beginning.
            lifetime=max(timedelta(days=settings.idempotency_days), KEPT_FOR),
        )
        group = group_of(settings)
        store = Store(session, group)
        known = list(inlets(settings))
        if settings.event_bus_topics:
            registry = stack.enter_context(make_registry(settings))
            known += openedx_inlets(settings, registry)
        yield Workshop(
            engine=engine,
            commands=commands,
            store=store,
            carrier=Carrier(commands, store),
            inlets={inlet.kind: inlet for inlet in known},
            group=group,
        )


@contextmanager
def inbound(settings: Settings, dsn: str) -> Iterator[Inbound]:
    """A member of the group that reads the inbound topics of the settings, which name a cluster.

    Raises:
        KafkaError: the client library that the settings name is not installed.
    """
    client = kafka_client(settings, name="gradelog-inbound")
    with workshop(settings, dsn) as opened:
        topics = opened.inlets.values()
        lanes = Lanes(opened.carrier, opened.store, topics)
        try:
            yield Inbound(
                client,
                topics,
                lanes,
                opened.engine.run,
                group=opened.group,
                replicas=settings.kafka_replicas,
            )
        finally:
            opened.engine.run(lambda: lanes.close(ENDING))


class _PatientVault(Vault):
    """Lets messages wait while the learners' keys cannot be used: that is no fault of theirs."""

    async def seal(self, subject: str, text: str, context: str) -> str:
        try:
            return await super().seal(subject, text, context)
        except VaultError as error:
            raise UnavailableError(str(error)) from error

    def open(self, sealed: str, context: str) -> str:
        try:
            return super().open(sealed, context)
        except VaultError as error:
            raise UnavailableError(str(error)) from error


def ask_store(question: Callable[[Store], Awaitable[T]]) -> T:
    """Ask the tables of the inbound topics something, for commands of an operator."""
    settings = read_settings()
    configure(settings, role="inbound", quiet=True)

    async def ask(dsn: str) -> T:
        session = Session(dsn, statement_timeout=PATIENCE, application_name="gradelog parked")
        try:
            return await question(Store(session, group_of(settings)))
        finally:
            await session.close()

    with database(settings) as dsn:
        refuse_copy(dsn)
        return asyncio.run(ask(dsn))
