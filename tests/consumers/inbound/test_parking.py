"""What cannot be carried out is kept with its reason, holds nobody up, and may be tried again."""

import json
from pathlib import Path

import pytest

from consumers.inbound.parking import DROPPED_AT_ONCE
from consumers.inbound.requests import LONGEST_VALUE
from tests.consumers.inbound.support import Desk, Post
from tests.infra.cli.support import Cli, children_of, eventually, get

pytestmark = pytest.mark.kafka

HEADERS = {
    "ce_specversion": "1.0",
    "ce_id": "m",
    "ce_source": "/lms",
    "ce_type": "gradelog.inbound.UserChanged",
    "content-type": "application/json",
}
MANY = """
INSERT INTO gradelog.inbound_parked (kind, topic, topic_id, partition, message_offset, sent_at,
    header_names, header_values, payload, payload_size, reason, detail, attempts)
SELECT kind, topic, topic_id, 1000, n, sent_at, '{}', '{}', payload, payload_size, 'many', '', 1
FROM generate_series(1, %s) AS n, (SELECT * FROM gradelog.inbound_parked LIMIT 1) AS one
RETURNING id
"""
ROLE = {"username": "ada", "course_id": "course-v1:A+B+C", "role": "staff"}


@pytest.fixture
def cli(desk: Desk, tmp_path: Path) -> Cli:
    settings = desk.settings
    assert settings.kafka_bootstrap_servers is not None
    return Cli(
        tmp_path,
        DATABASE_URL=desk.dsn,
        KAFKA_BOOTSTRAP_SERVERS=settings.kafka_bootstrap_servers,
        GRADELOG_KAFKA_TOPIC_PREFIX=settings.kafka_topic_prefix,
    )


def bad(post: Post) -> list[str]:
    """Send all kinds of nonsense; the reasons for which each is parked."""
    good = json.dumps({"username": "ada"}).encode()
    without = {name: HEADERS[name] for name in HEADERS if name != "ce_id"}
    post.raw("roster", b"\xff\x00 garbage", HEADERS)
    post.raw("roster", b"", HEADERS)
    post.strange("roster", None, HEADERS)
    post.raw("roster", good, {})
    post.raw("roster", good, without)
    post.raw("roster", good, {**HEADERS, "ce_id": ""})
    post.raw("roster", good, {**HEADERS, "ce_id": b"\xff\x00"})
    post.raw("roster", good, {**HEADERS, "ce_id": "x" * 256})
    post.raw("roster", good, {**HEADERS, "ce_specversion": "0.3"})
    post.raw("roster", good, {**HEADERS, "content-type": "application/avro"})
    post.strange("roster", good, {**HEADERS, "content-type": None})
    post.strange("roster", good, {**HEADERS, "ce_id": None})
    post.raw("roster", b"[" * 300 + b"]" * 300, HEADERS)
    post.raw("roster", b"[" * 5000 + b"]" * 5000, HEADERS)
    post.raw("roster", b"[]", {"content-type": "application/cloudevents+json"})
    post.raw("roster", b'{"id": "x"}', {"content-type": "application/cloudevents+json"})
    undecodable = ["undecodable"] * 16
    post.raw("roster", good, {**HEADERS, "ce_type": "gradelog.inbound.ScoreReported"})
    post.raw("roster", good, {**HEADERS, "ce_type": "learners.UserRegistered"})
    unknown = ["unknown type"] * 2
    for data in (
        None,
        [],
        {},
        {"username": 5},
        {"username": "ada", "is_staff": "true"},
        {"username": "ada", "admin": True},
        {"username": "a" * 151},
        {"username": "ada", "user_id": 2**64},
    ):
        post.roster("UserChanged", data)
    invalid = ["invalid"] * 8
    post.roster("UserChanged", {"username": "a/b"})
    post.roster("UserChanged", {"username": "ada\0"})
    post.roster("CourseRoleGranted", {**ROLE, "username": "ada"})
    post.roster("CourseRoleGranted", {**ROLE, "username": "ada\0"})
    refused = ["InvalidLearnerError"] * 2 + ["UserNotFoundError"] * 2
    return [*undecodable, *unknown, *invalid, *refused]


def test_nonsense_is_parked_and_holds_nobody_up(desk: Desk) -> None:
    reasons = bad(desk.post)
    desk.post.roster("UserChanged", {"username": "ada"})
    desk.carried_out()
    assert [reason for reason, _ in desk.parked()] == reasons
    assert desk.figures() == (1, 0, len(reasons))
    assert all(detail for _, detail in desk.parked())
    assert ("x",) in desk.rows("SELECT message_id FROM gradelog.inbound_parked")


def test_a_header_without_a_value_says_nothing(desk: Desk) -> None:
    headers = {**HEADERS, "ce_traceparent": None, "x-any": None}
    desk.post.strange("roster", json.dumps({"username": "ada"}).encode(), headers)
    desk.post.strange("roster", b"garbage", headers)
    desk.carried_out()
    assert desk.figures() == (1, 0, 1)
    ((values,),) = desk.rows("SELECT header_values FROM gradelog.inbound_parked")
    assert values[-2:] == [b"", b""]


def test_a_member_that_is_null_says_nothing(desk: Desk) -> None:
    document = {
        "specversion": "1.0",
        "id": "m",
        "source": "/lms",
        "type": "gradelog.inbound.UserChanged",
        **dict.fromkeys(("datacontenttype", "data_base64", "traceparent", "time")),
        "data": {"username": "ada"},
    }
    headers = {"content-type": "application/cloudevents+json"}
    desk.post.raw("roster", json.dumps(document).encode(), headers)
    desk.carried_out()
    assert desk.figures() == (1, 0, 0)


def test_what_is_wrong_is_told_without_what_was_given(desk: Desk) -> None:
    desk.post.roster("UserChanged", {"username": "ada", "email": 17, "password": "hunter2"})
    desk.carried_out()
    ((_, detail),) = desk.parked()
    assert "email" in detail
    assert "password" in detail
    assert "hunter2" not in detail


def test_a_score_has_whole_points_and_one_submission(desk: Desk) -> None:
    item = {"student_id": "a", "course_id": "c", "item_id": "i", "item_type": "t"}
    points = {"points_earned": 1, "points_possible": 2}
    uuid = "6f0a1d0e-0c52-4a3e-9a6b-2f6c1f8a4d11"
    for data in (
        points,
        {**points, "submission_uuid": uuid, "student_item": item},
        {**points, "submission_uuid": "no uuid"},
        {**points, "submission_uuid": uuid, "create_submission": True},
        {"student_item": item, "points_earned": 1.5, "points_possible": 2},
        {"student_item": item, "points_earned": -1, "points_possible": 2},
        {"student_item": item, "points_earned": "1", "points_possible": 2},
    ):
        desk.post.scores("ScoreReported", data)
    desk.post.scores("ScoreReported", {**points, "submission_uuid": uuid})
    desk.carried_out()
    assert [reason for reason, _ in desk.parked()] == ["invalid"] * 7 + ["SubmissionNotFoundError"]


def test_what_is_too_large_is_cut_off(desk: Desk, cli: Cli) -> None:
    value = json.dumps({"username": "ada", "full_name": "x" * LONGEST_VALUE}).encode()
    desk.post.raw("roster", value, HEADERS)
    desk.carried_out()
    ((reason, _),) = desk.parked()
    assert reason == "too large"
    ((size, kept),) = desk.rows("SELECT payload_size, length(payload) FROM gradelog.inbound_parked")
    assert size == len(value)
    assert kept == 64 * 1024
    done = cli.run("parked", "replay", "--all")
    assert done.code == 1
    assert "sent again" in done.out


@pytest.fixture
def two(desk: Desk) -> Desk:
    """A desk with a role for somebody who is not there, and with garbage."""
    desk.post.roster("CourseRoleGranted", ROLE, id="early")
    desk.post.raw("roster", b"garbage", {**HEADERS, "ce_id": "garbled"})
    desk.carried_out()
    return desk


def test_the_command_shows_what_is_parked(two: Desk, cli: Cli) -> None:
    listed = cli.ask("parked", "list")
    assert listed["total"] == 2
    early, garbled = listed["parked"]
    assert (early["message_id"], early["reason"]) == ("early", "UserNotFoundError")
    assert garbled["reason"] == "undecodable"
    assert cli.ask("parked", "list", "--reason", "undecodable")["parked"] == [garbled]
    table = cli.run("parked", "list", "--topic", two.post.topic("roster")).out
    assert "there is no user called ada" in table
    shown = cli.ask("parked", "show", str(early["id"]))
    assert json.loads(shown["payload"]) == ROLE
    assert shown["headers"]["ce_id"] == "early"
    assert json.dumps(ROLE) in cli.run("parked", "show", str(early["id"])).out
    (second,) = cli.ask("parked", "list", "--limit", "1", "--after", str(early["id"]))["parked"]
    assert second == garbled
    missing = cli.run("parked", "show", "999")
    assert (missing.code, missing.err) == (1, "gradelog: no message is parked under 999\n")


def test_the_command_tries_again(two: Desk, cli: Cli) -> None:
    in_vain = cli.run("parked", "replay", "--all", "--reason", "UserNotFoundError")
    assert in_vain.code == 1
    assert "there is no user called ada" in in_vain.out
    assert two.rows("SELECT attempts FROM gradelog.inbound_parked ORDER BY id") == [(2,), (1,)]
    two.post.roster("UserChanged", {"username": "ada"})
    two.carried_out()
    replayed = cli.run("parked", "replay", "--all", "--json")
    assert replayed.code == 1
    result = json.loads(replayed.out)
    assert (result["carried_out"], result["still_parked"]) == (1, 1)
    assert [reason for reason, _ in two.parked()] == ["undecodable"]
    ((metadata,),) = two.rows(
        "SELECT metadata::jsonb FROM gradelog.events WHERE type = 'learners.CourseRoleGranted'"
    )
    assert (metadata["cause"], metadata["via"]) == ("early", "inbound.roster")
    # Sent again after all: it has been carried out.
    two.post.roster("CourseRoleGranted", ROLE, id="early")
    two.carried_out()
    assert two.figures() == (1, 1, 2)
    assert cli.ask("inbound", "status")["topics"] == [
        {
            "topic": two.post.topic("roster"),
            "carried_out": 1,
            "repeated": 1,
            "rejected": 2,
            "parked": 1,
        },
        {
            "topic": two.post.topic("scores"),
            "carried_out": 0,
            "repeated": 0,
            "rejected": 0,
            "parked": 0,
        },
    ]


def test_what_was_done_is_told_whatever_becomes_of_the_rest(two: Desk, cli: Cli) -> None:
    two.post.roster("UserChanged", {"username": "ada"})
    two.carried_out()
    ((first,), (second,)) = two.rows("SELECT id FROM gradelog.inbound_parked ORDER BY id")
    # Of a topic that is not among those of the settings any more.
    two.rows(
        "UPDATE gradelog.inbound_parked SET kind = 'openedx.gone' WHERE id = %s RETURNING id",
        second,
    )
    replayed = cli.run("parked", "replay", str(second), str(first), "999", "--json")
    assert (replayed.code, replayed.err) == (1, "gradelog: not parked: 999\n")
    result = json.loads(replayed.out)
    assert (result["carried_out"], result["still_parked"]) == (1, 1)
    assert [(one["id"], one["reason"]) for one in result["messages"]] == [
        (first, None),
        (second, "unknown kind"),
    ]
    assert [reason for reason, _ in two.parked()] == ["undecodable"]


def test_a_time_that_no_calendar_has_is_no_hindrance(two: Desk, cli: Cli) -> None:
    two.rows("UPDATE gradelog.inbound_parked SET sent_at = %s RETURNING id", 2**63 - 1)
    assert [one["sent_at"] for one in cli.ask("parked", "list")["parked"]] == [None, None]


def test_personal_data_is_found_however_it_is_written(desk: Desk, cli: Cli) -> None:
    name = "Zo\u00eb O'Brien \U0001f600"
    for written in (
        json.dumps({"full_name": name}),
        json.dumps({"full_name": name}, ensure_ascii=False),
        json.dumps({"full_name": name}).replace("'", "\\u0027").replace("eb", "EB"),
    ):
        desk.post.raw("roster", written.encode(), HEADERS)
    desk.post.raw("roster", b"{}", {**HEADERS, "ce_subject": name}, key="key")
    desk.post.raw("roster", b"{}", HEADERS, key=name)
    desk.post.raw("roster", b"{}", HEADERS)
    desk.carried_out()
    assert cli.ask("parked", "list", "--containing", name)["total"] == 5
    assert cli.ask("parked", "drop", "--all", "--containing", name)["dropped"] == 5
    assert cli.ask("parked", "list")["total"] == 1


def test_a_message_gives_no_orders_to_a_terminal(desk: Desk, cli: Cli) -> None:
    order = "\x1b]0;owned\x07\x9b2J"
    strange = {**HEADERS, "ce_source": order, "x-any": order}
    desk.post.raw("roster", f'"{order}"'.encode(), strange)
    desk.post.roster("CourseRoleGranted", {**ROLE, "username": order}, key=order)
    desk.carried_out()
    first, second = (str(one["id"]) for one in cli.ask("parked", "list")["parked"])
    for command in (["list"], ["show", first], ["show", second], ["replay", first, second]):
        shown = cli.run("parked", *command).out
        assert r"\x1b" in shown
        assert all(character.isprintable() or character == "\n" for character in shown)


def test_any_number_is_dropped(two: Desk, cli: Cli) -> None:
    count = 2 * DROPPED_AT_ONCE
    two.rows(MANY, count)
    assert cli.ask("parked", "drop", "--all", "--reason", "many")["dropped"] == count
    assert len(two.parked()) == 2


def test_the_command_forgets(two: Desk, cli: Cli) -> None:
    assert cli.ask("parked", "drop", "--older-than", "1")["dropped"] == 0
    nothing = cli.run("parked", "drop")
    assert (nothing.code, nothing.err) == (2, "gradelog: either ids or --all is needed\n")
    ((first,), _) = two.rows("SELECT id FROM gradelog.inbound_parked ORDER BY id")
    assert cli.ask("parked", "drop", str(first))["dropped"] == 1
    gone = cli.run("parked", "replay", str(first))
    assert (gone.code, gone.err) == (1, f"gradelog: not parked: {first}\n")
    gone = cli.run("parked", "drop", str(first))
    assert (gone.code, gone.out) == (1, "0 forgotten\n")
    assert gone.err == f"gradelog: not parked: {first}\n"
    assert cli.ask("parked", "drop", "--all", "--containing", "ada")["dropped"] == 0
    assert cli.ask("parked", "list", "--containing", "garbage")["total"] == 1
    assert cli.ask("parked", "drop", "--older-than", "0")["dropped"] == 1
    assert cli.run("parked", "list").out == "nothing is parked\n"


def test_a_server_reads_the_topics_if_it_shall(desk: Desk, cli: Cli) -> None:
    desk.post.roster("UserChanged", {"username": "ada"})
    desk.post.roster("CourseRoleGranted", {**ROLE, "username": "nobody"})
    with cli.but(GRADELOG_KAFKA_INBOUND="true").start("serve", "--port", "0") as server:
        address = server.address()
        desk.wait()
        ready = eventually(lambda: json.loads(get(address, "/health/ready")).get("inbound"))
        assert ready == {"carried_out": 1, "repeated": 0, "rejected": 1, "parked": 1}
        metrics = get(address, "/metrics")
    labels = f'{{outcome="carried_out",topic="{desk.post.topic("roster")}"}}'
    assert f"gradelog_inbound_messages_total{labels} 1.0" in metrics
    assert f'gradelog_inbound_parked{{topic="{desk.post.topic("roster")}"}} 1.0' in metrics
    desk.post.roster("UserChanged", {"username": "bob"})
    desk.post.flush()
    with cli.start("serve", "--port", "0") as server:
        server.address()
        server.child("infra.cli.main relay")
        assert not [what for what in children_of(server.pid).values() if "inbound" in what]


def test_a_message_that_is_read_twice_is_parked_once(desk: Desk) -> None:
    desk.post.roster("CourseRoleGranted", ROLE)
    desk.carried_out()
    desk.rows("UPDATE gradelog.inbound_offsets SET next_offset = NULL RETURNING topic")
    desk.carried_out_again(1)
    assert len(desk.parked()) == 1
