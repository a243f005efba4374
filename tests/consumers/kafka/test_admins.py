"""Topics are made, looked at and deleted."""

import pytest

from consumers.kafka.client import Admin, KafkaError, NewTopic
from tests.consumers.kafka.support import until

pytestmark = pytest.mark.kafka


def test_a_topic_is_as_it_was_ordered(admin: Admin, topic_prefix: str) -> None:
    name, none = f"{topic_prefix}.made", f"{topic_prefix}.none"
    assert admin.topics([name, none]) == {}
    admin.create([NewTopic(name, 3, settings={"cleanup.policy": "delete"})])
    found = admin.topics([name, none])
    assert [*found] == [name]
    assert found[name].partitions == 3
    assert found[name].id is not None
    assert admin.topics([name]) == found
    assert admin.topics([]) == {}


def test_a_topic_that_is_there_already_is_left_as_it_is(admin: Admin, topic_prefix: str) -> None:
    name, other = f"{topic_prefix}.made", f"{topic_prefix}.other"
    admin.create([NewTopic(name, 3)])
    before = admin.topics([name])
    admin.create([NewTopic(name, 5), NewTopic(other, 1)])
    assert admin.topics([name]) == before
    assert admin.topics([other])[other].partitions == 1


def test_a_topic_made_anew_has_another_id(admin: Admin, topic_prefix: str) -> None:
    name = f"{topic_prefix}.made"
    admin.create([NewTopic(name, 1)])
    first = admin.topics([name])[name]
    admin.delete([name])
    until(lambda: not admin.topics([name]))
    admin.delete([name])  # is gone already
    admin.create([NewTopic(name, 1)])
    second = admin.topics([name])[name]
    assert first.id != second.id
    assert second.partitions == 1


def test_settings_that_do_not_exist_are_refused(admin: Admin, topic_prefix: str) -> None:
    name = f"{topic_prefix}.made"
    with pytest.raises(KafkaError, match=name):
        admin.create([NewTopic(name, 1, settings={"no.such.setting": "1"})])
    with pytest.raises(KafkaError, match=name):
        admin.create([NewTopic(name, 1, replicas=99)])
    assert admin.topics([name]) == {}
