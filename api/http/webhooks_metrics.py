"""How webhooks are, for Prometheus and for whoever asks whether all is well."""

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from api.webhooks import WebhookFigures


def metrics_of(figures: WebhookFigures) -> Iterator[Metric]:
    """The figures of all webhooks."""
    states = GaugeMetricFamily("gradelog_webhooks", "Webhooks by state.", labels=("state",))
    for state, count in figures.states.items():
        states.add_metric((state,), count)
    yield states
    yield GaugeMetricFamily(
        "gradelog_webhooks_failing", "Active webhooks that are being tried again.", figures.failing
    )
    yield _by_webhook(
        "gradelog_webhook_lag", "Events that an active webhook has not passed yet.", figures.lags
    )
    yield _by_webhook(
        "gradelog_webhook_failures",
        "Attempts that failed since the last that did not.",
        figures.failures,
    )


def summary(figures: WebhookFigures) -> dict[str, Any]:
    """The same in short."""
    return {
        **figures.states,
        "failing": figures.failing,
        "lag": max(figures.lags.values(), default=0),
    }


def _by_webhook(name: str, description: str, values: Mapping[UUID, int]) -> Metric:
    family = GaugeMetricFamily(name, description, labels=("webhook",))
    for webhook_id, value in values.items():
        family.add_metric((str(webhook_id),), value)
    return family
