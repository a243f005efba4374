"""Figures of the streams of events of this process."""

import os
from collections.abc import Iterable
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from api.http.events_live import Figures

PREFIX: Final = "gradelog_event_streams"


def exposition(figures: Figures) -> bytes:
    """The figures as text."""
    registry = CollectorRegistry()
    registry.register(_OfStreams(figures))
    return generate_latest(registry)


class _OfStreams(Collector):
    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterable[Metric]:
        figures = self._figures
        yield _one(GaugeMetricFamily, "", "Streams of events that are open.", figures.open)
        counters = {
            "_events": ("Events sent over streams.", figures.sent),
            "_fell_behind": (
                "How often a reader was too slow and went back to the database.",
                figures.fell_behind,
            ),
            "_refused": ("Readers that were too many.", figures.refused),
        }
        for name, (text, value) in counters.items():
            yield _one(CounterMetricFamily, name, text, value)


def _one(
    family: type[GaugeMetricFamily | CounterMetricFamily], name: str, text: str, value: int
) -> Metric:
    metric = family(PREFIX + name, text, labels=("worker",))
    metric.add_metric((str(os.getpid()),), value)
    return metric
