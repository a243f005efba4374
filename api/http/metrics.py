"""Figures of this process for Prometheus.

Each worker answers with its own figures, told apart by the label ``worker``, so that a
scrape that reaches another worker does not look like a counter that went back.
"""

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from api.backend import GradingProgress, ReadModelStatus, RelayProgress
from api.http import webhooks_metrics
from api.webhooks import WebhookFigures

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """What this process counts."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._worker = str(os.getpid())
        self._requests = Counter(
            "gradelog_http_requests",
            "Requests answered.",
            ("method", "route", "status", "worker"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "gradelog_http_request_seconds",
            "Time from the first byte of a request to the last of its answer.",
            ("method", "route", "worker"),
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._counters: dict[tuple[str, str, int], Counter] = {}
        self._histograms: dict[tuple[str, str], Histogram] = {}

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request. ``route`` is a template, never a path with somebody's ids."""
        counter = self._counters.get((method, route, status))
        if counter is None:
            counter = self._requests.labels(method, route, str(status), self._worker)
            self._counters[method, route, status] = counter
        counter.inc()
        histogram = self._histograms.get((method, route))
        if histogram is None:
            histogram = self._seconds.labels(method, route, self._worker)
            self._histograms[method, route] = histogram
        histogram.observe(seconds)

    def exposition(
        self,
        *,
        appender: object,
        read_models: Mapping[str, ReadModelStatus] | None,
        grading: GradingProgress | None,
        relays: Mapping[str, RelayProgress],
        webhooks: WebhookFigures | None = None,
    ) -> bytes:
        """All figures as text.

        Args:
            appender: a dataclass of what the appender did, if it tells.
            read_models: where each stands; None when the database is away.
            grading: how far it is; None when the database is away.
            relays: how far ``relay`` and ``event_bus`` are; without those that are not there,
                and none when the database is away.
            webhooks: how they are; None when the database is away.
        """
        moment = CollectorRegistry()
        moment.register(_Moment(self._worker, appender, read_models, grading, relays, webhooks))
        return generate_latest(self._registry) + generate_latest(moment)


class _Moment(Collector):
    """Figures that others keep, as they are now."""

    def __init__(
        self,
        worker: str,
        appender: object,
        read_models: Mapping[str, ReadModelStatus] | None,
        grading: GradingProgress | None,
        relays: Mapping[str, RelayProgress],
        webhooks: WebhookFigures | None,
    ) -> None:
        self._worker = worker
        self._appender = appender
        self._read_models = read_models
        self._grading = grading
        self._relays = relays
        self._webhooks = webhooks

    def collect(self) -> Iterable[Metric]:
        yield from self._of_appender()
        up = 0.0 if self._read_models is None else 1.0
        yield GaugeMetricFamily("gradelog_database_up", "Whether the database answers.", up)
        yield from self._of_read_models(self._read_models or {})
        if self._grading is not None:
            yield from _of_grading(self._grading)
        for name, relay in self._relays.items():
            yield from _of_relay(name, relay)
        if self._webhooks is not None:
            yield from webhooks_metrics.metrics_of(self._webhooks)

    def _of_appender(self) -> Iterator[Metric]:
        if not dataclasses.is_dataclass(self._appender):
            return
        for field in dataclasses.fields(self._appender):
            family = GaugeMetricFamily if field.name == "waiting" else CounterMetricFamily
            metric = family(
                f"gradelog_appender_{field.name}", f"Appender: {field.name}.", labels=("worker",)
            )
            metric.add_metric((self._worker,), getattr(self._appender, field.name))
            yield metric

    def _of_read_models(self, statuses: Mapping[str, ReadModelStatus]) -> Iterator[Metric]:
        measures: dict[str, Any] = {
            "position": lambda status: status.position,
            "lag": lambda status: status.lag,
            "serving": lambda status: float(status.state == "serving"),
        }
        for name, measure in measures.items():
            metric = GaugeMetricFamily(
                f"gradelog_read_model_{name}", f"Read model: {name}.", labels=("read_model",)
            )
            for read_model, status in statuses.items():
                metric.add_metric((read_model,), measure(status))
            yield metric


def _of_grading(grading: GradingProgress) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "gradelog_grading_position",
        "Log position up to which grades are calculated.",
        grading.position,
    )
    yield GaugeMetricFamily(
        "gradelog_grading_lag", "Events that grades do not reflect yet.", grading.lag
    )
    yield GaugeMetricFamily(
        "gradelog_recalculation_courses",
        "Courses whose learners are graded anew.",
        grading.recalculations,
    )
    yield GaugeMetricFamily(
        "gradelog_recalculation_learners_left",
        "Learners of these courses who still have to be.",
        grading.learners_left,
    )


_PUBLISHED_TO: Final = {"relay": "Kafka", "event_bus": "the event bus of Open edX"}


def _of_relay(name: str, relay: RelayProgress) -> Iterator[Metric]:
    where = _PUBLISHED_TO[name]
    yield GaugeMetricFamily(
        f"gradelog_{name}_position",
        f"Log position up to which events are published to {where}.",
        relay.position,
    )
    yield GaugeMetricFamily(
        f"gradelog_{name}_lag", f"Events that are not published to {where} yet.", relay.lag
    )
    yield GaugeMetricFamily(
        f"gradelog_{name}_working",
        f"Whether a process publishes events to {where}.",
        float(relay.holder is not None),
    )
    yield GaugeMetricFamily(
        f"gradelog_{name}_failing",
        f"Whether something keeps events from being published to {where}.",
        float(relay.error is not None),
    )
