"""What the HTTP interfaces say about Kafka: they and the consumers do not know each other."""

from api.http.asyncapi import Topics
from consumers.inbound import schemas
from consumers.inbound.models import ROSTER, SCORES, type_of
from consumers.messages import topic_names
from infra.settings import Settings


def topics_of(settings: Settings) -> Topics:
    """The topics of these settings."""
    prefix = settings.kafka_topic_prefix
    known = schemas()
    inbound = {
        f"{prefix}.inbound.{name}": {type_of(model): known[type_of(model)] for model in models}
        for name, models in (("scores", SCORES), ("roster", ROSTER))
    }
    return Topics(**topic_names(prefix), inbound=inbound)
