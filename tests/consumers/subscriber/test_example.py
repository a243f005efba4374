"""The example of the documentation works as it stands there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.relay import relaying
from infra.settings import Settings
from tests.consumers.subscriber.conftest import Service
from tests.school import school, wait_until

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "docs" / "examples" / "certificates.py"


def test_the_documentation_shows_it_verbatim() -> None:
    text = (ROOT / "docs" / "subscriber.md").read_text(encoding="utf-8")
    assert f"```python\n{EXAMPLE.read_text(encoding='utf-8')}```\n" in text


@pytest.mark.kafka
def test_whoever_passes_gets_a_certificate(service: Service, new_database) -> None:
    settings = Settings(
        kafka_bootstrap_servers=service.kafka, kafka_topic_prefix=service.prefix, kafka_partitions=4
    )
    dsn = new_database()
    environment = os.environ | {
        "KAFKA_BOOTSTRAP_SERVERS": service.kafka,
        "DATABASE_URL": service.dsn,
        "GRADELOG_KAFKA_TOPIC_PREFIX": service.prefix,
        "PYTHONPATH": str(ROOT),
    }
    with school(dsn) as opened, relaying(settings, dsn):
        opened.publish()
        users = {name: opened.register(name) for name in ("anna", "ben")}
        for name in users:
            opened.enroll(name)
        opened.scores([("anna", "q1", 10, 10), ("anna", "p1", 5, 5), ("ben", "q1", 1, 10)])
        with subprocess.Popen([sys.executable, str(EXAMPLE)], env=environment) as running:
            try:
                wait_until(
                    lambda: (
                        service.rows("SELECT to_regclass('certificates') IS NOT NULL") == [(True,)]
                    )
                )
                wait_until(lambda: service.rows("SELECT user_id FROM certificates"))
                assert service.rows("SELECT user_id, course_id FROM certificates") == [
                    (users["anna"], "course-v1:Uni+Physics+2026")
                ]
            finally:
                running.terminate()
                try:
                    assert running.wait(60) == 0
                finally:
                    running.kill()
