"""What became of the messages of the inbound topics, for Prometheus and for the curious."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from api.inbound import InboundTopic

OUTCOMES: Final = ("carried_out", "repeated", "rejected")


def exposition(topics: Sequence[InboundTopic]) -> bytes:
    """The figures as text; nothing if no topic was ever read."""
    if not topics:
        return b""
    registry = CollectorRegistry()
    registry.register(_OfTopics(topics))
    return generate_latest(registry)


def summary(topics: Sequence[InboundTopic]) -> dict[str, Any]:
    """The same in short."""
    return {
        **{name: sum(getattr(one, name) for one in topics) for name in OUTCOMES},
        "parked": sum(one.parked for one in topics),
    }


class _OfTopics(Collector):
    def __init__(self, topics: Sequence[InboundTopic]) -> None:
        self._topics = topics

    def collect(self) -> Iterable[Metric]:
        messages = CounterMetricFamily(
            "gradelog_inbound_messages",
            "Messages of inbound topics by what became of them, of all processes.",
            labels=("topic", "outcome"),
        )
        parked = GaugeMetricFamily(
            "gradelog_inbound_parked", "Messages that are parked.", labels=("topic",)
        )
        for one in self._topics:
            for name in OUTCOMES:
                messages.add_metric((one.topic, name), getattr(one, name))
            parked.add_metric((one.topic,), one.parked)
        yield messages
        yield parked
