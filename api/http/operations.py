"""What operators and their machines ask: is it alive, is it ready, how much, and what is there."""

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from starlette.responses import Response

from api.backend import GradingProgress, ReadModelStatus, RelayProgress
from api.feed import FeedProgress
from api.http import events_metrics, feed_metrics, inbound_metrics, schemas, webhooks_metrics
from api.http.asyncapi import found_at
from api.http.calls import Call
from api.http.cookies import base_of
from api.http.metrics import CONTENT_TYPE, Metrics
from api.http.responses import dumps, read
from api.http.routing import Answers, Operation
from api.inbound import InboundTopic
from api.webhooks import WebhookFigures
from domain.errors import UnavailableError

TAG: Final = "operations"
PATIENCE: Final = 5.0
"""Seconds after which a database that does not answer counts as away."""

NO_STORE: Final = {"Cache-Control": "no-store"}
SERVING: Final = "serving"


async def live(_: Call) -> Response:
    """The process answers."""
    return Response(b'{"status":"ok"}', headers=NO_STORE, media_type="application/json")


async def ready(call: Call) -> Response:
    """Whether requests can be answered, and where each read model stands."""
    statuses = await _read_models(call)
    found = statuses or {}
    well = bool(found) and all(status.state == SERVING for status in found.values())
    document: dict[str, Any] = {
        "status": "ok" if well else "unavailable",
        "head": max((status.head for status in found.values()), default=None),
        "read_models": {
            name: {
                "state": status.state,
                "version": status.model.version,
                "position": status.position,
                "lag": status.lag,
                "error": status.error,
            }
            for name, status in found.items()
        },
    }
    # Whoever feeds a copy, and Kafka, may be away for hours: what is asked of this process does
    # not depend on them.
    feed = None if statuses is None else await _feed(call)
    if feed:
        document["feed"] = {name: dataclasses.asdict(one) for name, one in feed.items()}
    relays = {} if statuses is None else await _relays(call)
    document |= {name: dataclasses.asdict(one) for name, one in relays.items()}
    # Nor on where events are delivered.
    webhooks = None if statuses is None else await _webhooks(call)
    if webhooks is not None and any(webhooks.states.values()):
        document["webhooks"] = webhooks_metrics.summary(webhooks)
    # Nor on what others send.
    inbound = None if statuses is None else await _inbound(call)
    if inbound:
        document["inbound"] = inbound_metrics.summary(inbound)
    headers = NO_STORE if well else NO_STORE | {"Retry-After": "1"}
    return Response(
        dumps(document), 200 if well else 503, headers=headers, media_type="application/json"
    )


async def metrics(call: Call) -> Response:
    """Figures of this process."""
    read_models = await _read_models(call)
    there = read_models is not None
    figures = cast(Metrics, call.app.state.metrics).exposition(
        appender=getattr(call.backend.events, "figures", None),
        read_models=read_models,
        grading=await _grading(call) if there else None,
        relays=await _relays(call) if there else {},
        webhooks=await _webhooks(call) if there else None,
    )
    figures += events_metrics.exposition(call.app.state.live.figures)
    figures += inbound_metrics.exposition((await _inbound(call) or ()) if there else ())
    figures += feed_metrics.exposition((await _feed(call) or {}) if there else {})
    return Response(figures, headers=NO_STORE | {"Content-Type": CONTENT_TYPE})


async def openapi(call: Call) -> Response:
    """This description."""
    return _unchanging(call, call.app.state.openapi, "application/json")


async def asyncapi(call: Call) -> Response:
    """What is published and taken in."""
    document = found_at(call.app.state.asyncapi, base_of(call).url)
    return _unchanging(call, dumps(document), "application/json")


async def docs(call: Call) -> Response:
    """The same for people."""
    return _unchanging(call, call.app.state.docs, "text/html; charset=utf-8")


async def _read_models(call: Call) -> Mapping[str, ReadModelStatus] | None:
    try:
        async with asyncio.timeout(PATIENCE):
            return await call.backend.reads.positions()
    except (UnavailableError, TimeoutError):
        return None


async def _grading(call: Call) -> GradingProgress | None:
    try:
        async with asyncio.timeout(PATIENCE):
            return await call.backend.grading.progress()
    except (UnavailableError, TimeoutError):
        return None


async def _feed(call: Call) -> Mapping[str, FeedProgress] | None:
    try:
        async with asyncio.timeout(PATIENCE):
            return await call.backend.feed.progress()
    except (UnavailableError, TimeoutError):
        return None


async def _relays(call: Call) -> Mapping[str, RelayProgress]:
    try:
        async with asyncio.timeout(PATIENCE):
            return await call.backend.relay.progress()
    except (UnavailableError, TimeoutError):
        return {}


async def _inbound(call: Call) -> Sequence[InboundTopic] | None:
    try:
        async with asyncio.timeout(PATIENCE):
            return await call.backend.inbound.figures()
    except (UnavailableError, TimeoutError):
        return None


async def _webhooks(call: Call) -> WebhookFigures | None:
    try:
        async with asyncio.timeout(PATIENCE):
            return await call.backend.webhooks.figures()
    except (UnavailableError, TimeoutError):
        return None


def _unchanging(call: Call, body: bytes, media_type: str) -> Response:
    response = read(body, 0, call.raw.get(b"if-none-match"))
    del response.headers["X-Log-Position"]
    response.headers["Cache-Control"] = "no-cache"
    if response.status_code == 200:
        response.headers["Content-Type"] = media_type
        if media_type.startswith("text/html"):
            response.headers["Content-Security-Policy"] = (
                "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
            )
    return response


def _operation(path: str, handler: Any, operation_id: str, summary: str, **more: Any) -> Operation:
    return Operation(
        method="GET",
        path=path,
        handler=handler,
        operation_id=operation_id,
        tag=TAG,
        summary=summary,
        public=True,
        **more,
    )


_SAME: Final = Answers("The answer at hand is the same.", headers=("ETag",))

OPERATIONS: Final = (
    _operation(
        "/health/live",
        live,
        "getLiveness",
        "Whether the process answers.",
        answers={200: Answers("It does.", schemas.Alive)},
    ),
    _operation(
        "/health/ready",
        ready,
        "getReadiness",
        "Whether requests can be answered, and where each read model stands.",
        answers={
            200: Answers("They can.", schemas.Readiness),
            503: Answers(
                "The database is away, or a read model has failed or is being built.",
                schemas.Readiness,
                headers=("Retry-After",),
            ),
        },
    ),
    _operation(
        "/metrics",
        metrics,
        "getMetrics",
        "Figures of this process for Prometheus.",
        answers={200: Answers("Figures.", str, ("text/plain",))},
    ),
    _operation(
        "/openapi.json",
        openapi,
        "getOpenApi",
        "This description.",
        answers={
            200: Answers("An OpenAPI 3.1 document.", dict[str, Any], headers=("ETag",)),
            304: _SAME,
        },
    ),
    _operation(
        "/asyncapi.json",
        asyncapi,
        "getAsyncApi",
        "What is published to Kafka and over streams, and what is taken from Kafka.",
        answers={
            200: Answers("An AsyncAPI 3.0 document.", dict[str, Any], headers=("ETag",)),
            304: _SAME,
        },
    ),
    _operation(
        "/docs",
        docs,
        "getDocs",
        "This description for people.",
        answers={200: Answers("A page.", str, ("text/html",), ("ETag",)), 304: _SAME},
    ),
)
