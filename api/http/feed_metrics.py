"""Who feeds the read models of a copy, for Prometheus."""

from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from api.feed import FeedProgress

_MEASURES: Final = {
    "members": "Processes that feed a read model from Kafka.",
    "partitions_unread": "Partitions that none of them reads.",
    "messages_left": "Messages in Kafka that are not applied; there only if somebody knows.",
    "silent_seconds": "Seconds since the last sign of life of such a process.",
}


def exposition(progress: Mapping[str, FeedProgress]) -> bytes:
    """The figures as text; nothing where there is a log."""
    if not progress:
        return b""
    registry = CollectorRegistry()
    registry.register(_OfReadModels(progress))
    return generate_latest(registry)


class _OfReadModels(Collector):
    def __init__(self, progress: Mapping[str, FeedProgress]) -> None:
        self._progress = progress

    def collect(self) -> Iterable[Metric]:
        for name, text in _MEASURES.items():
            metric = GaugeMetricFamily(f"gradelog_feed_{name}", text, labels=("read_model",))
            for read_model, progress in self._progress.items():
                value = getattr(progress, name)
                if value is not None:
                    metric.add_metric((read_model,), value)
            yield metric
        troubled = GaugeMetricFamily(
            "gradelog_feed_troubled",
            "Whether something keeps all that comes from being applied.",
            labels=("read_model",),
        )
        for read_model, progress in self._progress.items():
            troubled.add_metric((read_model,), float(progress.trouble is not None))
        yield troubled
