"""A relay whose lease ends soon, so that tests need not wait long for one that was frozen.

Arguments: the seconds that its lease lasts.
"""

import sys
import threading

from consumers.relay.relay import Relay
from consumers.relay.topics import TopicSettings
from infra.cli.processes import on_signals
from infra.kafka.client import kafka_client
from infra.logging import configure
from infra.relay import LINGER, connect
from infra.settings import read_settings

READY = "the relay runs"


def main() -> None:
    stop = threading.Event()
    on_signals(stop.set)
    settings = read_settings()
    configure(settings, role="relay")
    dsn = settings.database_url
    assert dsn is not None
    relay = Relay(
        kafka_client(settings, name="gradelog-relay", linger=LINGER),
        lambda: connect(dsn),
        TopicSettings(settings.kafka_topic_prefix, settings.kafka_partitions),
        source=settings.event_source,
        lifetime=float(sys.argv[1]),
    )
    print(READY, flush=True)
    relay.run(stop)


if __name__ == "__main__":
    main()
