"""Many commands in one request: each line has its own result, whatever the others are."""

import json
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Self
from uuid import uuid4

import pytest

from api.http.bulk import WINDOW
from tests.api.http.site import API, Site, an_item, serving


def a_submission(item: dict[str, str], answer: Any = 1, **more: Any) -> dict[str, Any]:
    return {"command": "create_submission", "student_item": item, "answer": answer, **more}


def a_score(uuid: str, earned: int = 1, **more: Any) -> dict[str, Any]:
    points = {"points_earned": earned, "points_possible": 10}
    return {"command": "set_score", "submission_uuid": uuid, **points, **more}


def test_each_command_has_its_result_in_the_order_of_the_lines(site: Site) -> None:
    lms, item = site.service, an_item()
    uuid = lms.create(item)["uuid"]
    before = site.head()
    names = ("student_id", "course_id", "item_id")
    response, results = lms.bulk(
        a_submission(item, {"n": 2}, id="a"),
        a_score(uuid, 7, id=2),
        {"id": "c", "command": "reset_score", **{name: item[name] for name in names}},
    )
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/x-ndjson"
    assert [(result["id"], result["status"]) for result in results] == [
        ("a", 201),
        (2, 201),
        ("c", 204),
    ]
    assert [result["position"] for result in results] == [before + 1, before + 2, before + 3]
    assert results[0]["result"]["answer"] == {"n": 2}
    assert results[1]["result"]["points_earned"] == 7
    assert results[2]["result"] is None
    kinds = [kind for kind, _, _ in site.events(before)]
    assert kinds == [
        "submissions.SubmissionCreated",
        "submissions.ScoreSet",
        "submissions.ScoreReset",
    ]


def test_a_bad_line_fails_alone(site: Site) -> None:
    lms, item = site.service, an_item()
    bad: list[tuple[Any, int]] = [
        (b"{broken", 400),
        (b"\xff\xfe", 400),
        (b"[]", 400),
        (b"{}", 400),
        ({"command": "drop_table"}, 400),
        ({"command": ["set_score"]}, 400),
        ({"id": {"a": 1}, "command": "set_score"}, 400),
        ({"id": "x" * 256, "command": "set_score"}, 400),
        ({"id": 10**30, "command": "set_score"}, 400),
        (a_submission(item, None), 400),
        (a_submission(item, more=1), 400),
        ({"command": "create_submission"}, 400),
        ({"command": "set_score"}, 400),
        ({"command": "reset_score"}, 400),
        (a_score("no-uuid"), 400),
        (a_score(str(uuid4())), 404),
        (a_score(str(uuid4()), points_earned=-1), 404),
        (b'{"command": "create_submission", "answer": ' + b"[" * 70 + b"]" * 70 + b"}", 400),
        (b'{"id": "' + b"x" * (1024 * 1024) + b'"}', 413),
        (a_submission(item, 1, idempotency_key=""), 400),
        (a_submission(item, 1, idempotency_key=7), 400),
        (a_submission(item, 1, attempt_number="\ud800"), 400),
    ]
    before = site.head()
    lines: list[Any] = []
    for line, _ in bad:
        lines += [line, a_submission(item, "good")]
    _, results = lms.bulk(*lines)
    assert [result["status"] for result in results[::2]] == [status for _, status in bad]
    assert all("error" in result and "result" not in result for result in results[::2])
    assert all(result["error"]["type"].startswith("urn:") for result in results[::2])
    assert {result["status"] for result in results[1::2]} == {201}
    assert site.head() == before + len(bad) + 1


@pytest.mark.parametrize(
    "line",
    [
        {"command": "reset_score", "\ud800": 1},
        b'{"\\ud800": 1, "\\ud800": 2}',
        a_score("\ud800"),
        a_submission(an_item() | {"\ud800": "x"}),
        a_submission(an_item(), team_submission_uuid="\ud800"),
    ],
)
def test_a_lone_surrogate_is_quoted_and_fails_alone(site: Site, line: Any) -> None:
    good = a_submission(an_item())
    _, results = site.service.bulk(good, line, good)
    assert [result["status"] for result in results] == [201, 400, 201]
    assert "\\ud800" in str(results[1]["error"])


@pytest.mark.parametrize(
    ("line", "loc"),
    [
        (a_submission(an_item(student_id="")), ["body", "student_item", "student_id"]),
        (
            {"command": "create_submission", "student_item": None, "answer": 1},
            ["body", "student_item", "non_field_errors"],
        ),
        (a_submission(an_item(), None), ["body", "answer"]),
        (a_submission(an_item(), idempotency_key=""), ["body", "idempotency_key"]),
        (a_score("no-uuid"), ["body", "submission_uuid"]),
        ({"command": "reset_score", "course_id": "c", "item_id": "i"}, ["body", "student_id"]),
        ({"id": [], "command": "reset_score"}, ["body", "id"]),
    ],
)
def test_a_refused_line_tells_what_is_wrong_where(site: Site, line: Any, loc: list[str]) -> None:
    _, (result,) = site.service.bulk(line)
    (entry,) = result["error"]["errors"]
    assert entry["loc"] == loc
    assert entry["msg"]


def test_without_the_read_model_only_the_lines_that_need_it_fail(
    site: Site, new_database: Callable[[], str]
) -> None:
    item = an_item()
    with serving(new_database(), site.config) as unprojected:
        staff = unprojected.as_("teacher", course_roles={"staff": [item["course_id"]]})
        score = a_score(str(uuid4()))
        _, results = staff.bulk(a_submission(item), score, a_submission(item), score)
    assert [result["status"] for result in results] == [201, 503, 201, 503]


def test_a_refused_line_keeps_its_id(site: Site) -> None:
    _, (result,) = site.service.bulk({"id": "mine", "command": "create_submission", "more": 1})
    assert result["id"] == "mine"


def test_empty_lines_are_no_commands(site: Site) -> None:
    _, results = site.service.bulk(b"", a_submission(an_item()), b"  \r", b"")
    assert [result["status"] for result in results] == [201]
    response, results = site.service.bulk(b"")
    assert (response.status_code, results) == (200, [])


def test_commands_about_one_item_are_carried_out_in_their_order(site: Site) -> None:
    lms, items = site.service, [an_item() for _ in range(3)]
    _, results = lms.bulk(
        *(a_submission(items[n % 3], n, id=n) for n in range(3 * (WINDOW // 3 + 10)))
    )
    assert [result["id"] for result in results] == list(range(len(results)))
    for number, item in enumerate(items):
        mine = [result for result in results if result["id"] % 3 == number]
        attempts = [result["result"]["attempt_number"] for result in mine]
        assert attempts == list(range(1, len(mine) + 1))
        assert [result["position"] for result in mine] == sorted(r["position"] for r in mine)
        answers = [entry["answer"] for entry in lms.get("/submissions/", **item).json()]
        assert answers == [result["id"] for result in reversed(mine)]


def test_a_repeated_request_writes_nothing_twice(site: Site) -> None:
    lms, item = site.service, an_item()
    uuid = lms.create(item)["uuid"]
    lines = [a_submission(item, n, id=n) for n in range(5)] + [
        a_score(uuid, annotation_creator="c", annotation_type="t", annotation_reason="why")
    ]
    key = {"Idempotency-Key": uuid4().hex}
    _, first = lms.bulk(*lines, headers=key)
    before = site.head()
    _, again = lms.bulk(*lines, headers=key)
    assert site.head() == before
    assert [entry["result"] for entry in again] == [entry["result"] for entry in first]
    assert not any("replayed" in entry for entry in first)
    assert all(entry["replayed"] is True for entry in again)
    _, other = lms.bulk(a_submission(item, "other"), *lines[1:], headers=key)
    assert [entry["status"] for entry in other] == [422, 201, 201, 201, 201, 201]


def test_a_line_may_have_a_key_of_its_own(site: Site) -> None:
    lms, item = site.service, an_item()
    line = a_submission(item, idempotency_key=uuid4().hex)
    before = site.head()
    _, results = lms.bulk(line, line, a_submission(item), line)
    assert [result["status"] for result in results] == [201] * 4
    assert len({result["result"]["uuid"] for result in results}) == 2
    assert site.head() == before + 3


def test_who_sends_all_before_reading_does_not_wait_for_ever(site: Site) -> None:
    lms, item = site.service, an_item()
    line = json.dumps(a_submission(item, "x" * 5000)).encode() + b"\n"
    count = 2000

    def body() -> Iterator[bytes]:
        for _ in range(count):
            yield line

    response = lms.send(
        "POST", "/commands/", content=body(), headers={"Content-Type": "application/x-ndjson"}
    )
    assert Counter(json.loads(line)["status"] for line in response.text.splitlines()) == {
        201: count
    }


def test_results_come_while_commands_are_still_sent(site: Site) -> None:
    with Conversation(site) as talk:
        for number in range(3):
            talk.say(json.dumps(a_submission(an_item(), id=number)).encode() + b"\n")
            assert json.loads(talk.hear())["id"] == number


def test_a_line_cut_off_by_a_client_that_has_gone_is_not_carried_out(site: Site) -> None:
    before = site.head()
    with Conversation(site) as talk:
        talk.say(json.dumps(a_submission(an_item())).encode() + b"\n")
        talk.hear()
        talk.say(json.dumps(a_submission(an_item())).encode())
    assert site.service.create(an_item())["attempt_number"] == 1
    assert site.head() == before + 4


@pytest.mark.parametrize("media_type", ["application/json", "text/plain", ""])
def test_another_format_is_415(site: Site, media_type: str) -> None:
    answer = site.service.send(
        "POST", "/commands/", content=b"{}", headers={"Content-Type": media_type}
    )
    assert answer.status_code == 415


def test_many_bulk_requests_at_once_are_all_carried_out(site: Site) -> None:
    items = [an_item() for _ in range(20)]
    statuses: Counter[int] = Counter()

    def send() -> None:
        _, results = site.service.bulk(*(a_submission(item) for item in items for _ in "12345"))
        statuses.update(result["status"] for result in results)

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == {201: 400}
    for item in items:
        found = site.service.get("/submissions/", **item).json()
        assert sorted(s["attempt_number"] for s in found) == list(range(1, 21))


class Conversation:
    """A bulk request that is sent bit by bit."""

    def __init__(self, site: Site) -> None:
        host, port = site.url.removeprefix("http://").split(":")
        self.connection = socket.create_connection((host, int(port)), timeout=60)
        self.connection.sendall(
            f"POST {API}/commands/ HTTP/1.1\r\nHost: gradelog\r\nTransfer-Encoding: chunked\r\n"
            f"Authorization: {site.service.headers['Authorization']}\r\n"
            "Content-Type: application/x-ndjson\r\n\r\n".encode()
        )
        self.answer = self.connection.makefile("rb")
        while self.answer.readline() != b"\r\n":
            pass

    def say(self, data: bytes) -> None:
        self.connection.sendall(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def hear(self) -> bytes:
        size = int(self.answer.readline(), 16)
        data = self.answer.read(size)
        self.answer.readline()
        return data

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.answer.close()
        self.connection.close()
