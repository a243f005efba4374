"""Each function of the submissions interface, from HTTP to stored event and back."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import psycopg
import pytest

from tests.api.http.site import ESSAY, Site, an_item, serving, uuids


def test_a_submission_becomes_an_event_and_can_be_read(site: Site) -> None:
    lms, item, before = site.service, an_item(), site.head()
    created = lms.post("/submissions/", {"student_item": item, "answer": {"text": "Ça va?"}})
    assert created.status_code == 201
    submission = created.json()
    assert list(submission) == [
        "uuid",
        "student_item",
        "attempt_number",
        "submitted_at",
        "created_at",
        "answer",
        "team_submission_uuid",
    ]
    assert submission["answer"] == {"text": "Ça va?"}
    assert submission["attempt_number"] == 1
    assert created.headers["Location"].endswith(f"/submissions/{submission['uuid']}/")
    assert int(created.headers["X-Log-Position"]) == before + 2
    (registered, _, _), (kind, fields, metadata) = site.events(before)
    assert registered == "submissions.StudentItemRegistered"
    assert kind == "submissions.SubmissionCreated"
    assert fields["submission_uuid"] == submission["uuid"]
    assert "va?" not in str(fields)
    assert (metadata["actor"], metadata["via"]) == ("lms", "http")
    read = lms.get(f"/submissions/{submission['uuid']}/")
    assert read.json() == submission
    with_student = lms.get(f"/submissions/{submission['uuid']}/", include="student_item")
    assert with_student.json() == submission | {"student_item": item}


def test_times_have_six_digits_and_z_also_on_a_whole_second(site: Site) -> None:
    lms = site.service
    submission = lms.create(an_item(), submitted_at="2026-01-02T03:04:05+01:00")
    assert submission["submitted_at"] == "2026-01-02T02:04:05.000000Z"
    assert submission["created_at"].endswith("Z")
    assert len(submission["created_at"]) == len("2026-01-02T02:04:05.000000Z")


def test_submissions_of_an_item_come_newest_first(site: Site) -> None:
    lms, item = site.service, an_item()
    made = [lms.create(item, n)["uuid"] for n in range(3)]
    assert uuids(lms.get("/submissions/", **item).json()) == made[::-1]
    assert uuids(lms.get("/submissions/", **item, limit=2).json()) == made[:0:-1]
    assert lms.get("/submissions/", **an_item()).json() == []


def test_a_score_becomes_an_event_and_counts(site: Site) -> None:
    lms, item = site.service, an_item()
    uuid = lms.create(item)["uuid"]
    before = site.head()
    scored = lms.score(
        uuid,
        8,
        10,
        annotation_creator="staff-7",
        annotation_type="staff_defined",
        annotation_reason="Well argued.",
    )
    score = scored.json()
    assert list(score) == [
        "student_item",
        "submission",
        "points_earned",
        "points_possible",
        "created_at",
        "submission_uuid",
        "annotations",
    ]
    assert score["annotations"] == [
        {"creator": "staff-7", "reason": "Well argued.", "annotation_type": "staff_defined"}
    ]
    ((kind, fields, _),) = site.events(before)
    assert kind == "submissions.ScoreSet"
    assert (fields["points_earned"], fields["points_possible"]) == (8, 10)
    assert "Well" not in str(fields)
    assert lms.get("/score/", **item).json() == score
    assert lms.get(f"/submissions/{uuid}/score/").json() == score
    del score["annotations"]
    path = f"/courses/{item['course_id']}/students/{item['student_id']}/scores/"
    assert lms.get(path).json() == {item["item_id"]: score}


def test_a_score_that_is_hidden_or_missing_is_null(site: Site) -> None:
    lms, item = site.service, an_item()
    assert lms.get("/score/", **item).json() is None
    uuid = lms.create(item)["uuid"]
    lms.score(uuid, 3, 0)
    assert lms.get("/score/", **item).json() is None
    assert lms.get(f"/submissions/{uuid}/score/").json() is None
    assert lms.get(f"/submissions/{uuid4()}/score/").json() is None


def test_a_reset_hides_the_score_and_can_delete_the_submissions(site: Site) -> None:
    lms, item = site.service, an_item()
    uuid = lms.create(item)["uuid"]
    lms.score(uuid, 5, 5)
    reset = {name: item[name] for name in ("student_id", "course_id", "item_id")}
    before = site.head()
    answer = lms.post("/score-resets/", reset)
    assert (answer.status_code, answer.content) == (204, b"")
    assert int(answer.headers["X-Log-Position"]) == before + 1
    assert [kind for kind, _, _ in site.events(before)] == ["submissions.ScoreReset"]
    assert lms.get("/score/", **item).json() is None
    assert lms.get(f"/submissions/{uuid}/score/").json()["points_earned"] == 5
    lms.post("/score-resets/", reset | {"clear_state": True})
    assert lms.get(f"/submissions/{uuid}/").status_code == 404
    assert lms.get(f"/submissions/{uuid}/score/").json() is None


def test_the_reset_of_an_unknown_item_writes_nothing(site: Site) -> None:
    item, before = an_item(), site.head()
    del item["item_type"]
    answer = site.service.post("/score-resets/", item)
    assert answer.status_code == 204
    assert int(answer.headers["X-Log-Position"]) == site.head() == before


def test_the_best_scored_answers_come_first(site: Site) -> None:
    lms, item = site.service, an_item()
    for points in (3, 9, 0, 6):
        learner = item | {"student_id": f"learner-of-{points}"}
        lms.score(lms.create(learner, {"points": points})["uuid"], points, 10)
    asked = {name: item[name] for name in ("course_id", "item_id", "item_type")}
    top = lms.get("/items/top/", **asked, number_of_top_scores=2)
    assert top.json() == [
        {"score": 9, "content": {"points": 9}},
        {"score": 6, "content": {"points": 6}},
    ]


def test_all_submissions_of_an_item_come_in_pages_or_as_lines(site: Site) -> None:
    lms, item = site.service, an_item()
    for number in range(5):
        lms.create(item | {"student_id": f"learner-{number}"}, number)
    asked = {name: item[name] for name in ("course_id", "item_id", "item_type")}
    page = lms.get("/items/submissions/", **asked, page_size=2).json()
    assert list(page) == ["next", "previous", "results"]
    found = page["results"]
    assert list(found[0])[-1] == "student_id"
    while page["next"]:
        page = site.client.get(page["next"], headers=lms.headers).json()
        found += page["results"]
    assert [row["student_id"] for row in found] == [f"learner-{n}" for n in range(5)]
    headers = {"Accept": "application/x-ndjson", "X-Min-Log-Position": str(site.head())}
    streamed = lms.get("/items/submissions/", **asked, headers=headers)
    assert streamed.headers["Content-Type"] == "application/x-ndjson"
    assert int(streamed.headers["X-Log-Position"]) >= int(headers["X-Min-Log-Position"])
    assert [json.loads(line) for line in streamed.text.splitlines()] == found
    for accepted, answered in (
        ("application/json, Application/X-NDJSON;q=0.9", "application/x-ndjson"),
        ("application/x-ndjson;q=0, */*", "application/json"),
        ("application/x-ndjson; q=0.000", "application/json"),
    ):
        one = lms.get("/items/submissions/", **asked, headers=headers | {"Accept": accepted})
        assert one.headers["Content-Type"] == answered


def test_a_course_comes_in_pages_or_as_lines_newest_first(site: Site) -> None:
    lms, item = site.service, an_item()
    path = f"/courses/{quote(item['course_id'], safe='')}/submissions/"
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    for number in range(5):
        learner = item | {"student_id": f"learner-{number}"}
        at = (moment + timedelta(hours=number // 2)).isoformat()
        uuid = lms.create(learner, number, submitted_at=at)["uuid"]
        if number == 4:
            lms.score(uuid, 1, 2)
    page = lms.get(path, item_type=ESSAY, page_size=2).json()
    found = page["results"]
    while page["next"]:
        page = site.client.get(page["next"], headers=lms.headers).json()
        found += page["results"]
    assert [row["submission"]["answer"] for row in found] == [4, 3, 2, 1, 0]
    assert found[0]["student_item"] == item | {"student_id": "learner-4"}
    assert found[0]["score"]["points_earned"] == 1
    assert found[1]["score"] == {}
    headers = {"Accept": "application/x-ndjson", "X-Min-Log-Position": str(site.head())}
    streamed = lms.get(path, item_type=ESSAY, headers=headers)
    assert [json.loads(line) for line in streamed.text.splitlines()] == found


def test_whose_submissions_these_are(site: Site) -> None:
    lms, item = site.service, an_item()
    mine = lms.create(item)["uuid"]
    other = lms.create(an_item())["uuid"]
    path = f"/courses/{item['course_id']}/student-ids/"
    asked = {"submission_uuids": [mine, mine.upper(), other, str(uuid4())]}
    answer = lms.post(path, asked, headers={"X-Min-Log-Position": str(site.head())})
    assert answer.status_code == 200
    assert answer.json() == {mine: item["student_id"]}


def test_history_tells_who_did_what_when_and_why(site: Site) -> None:
    lms, item = site.service, an_item()
    uuid = lms.create(item, {"text": "first"})["uuid"]
    grader = site.as_("grader", staff=True)
    response = grader.post(
        f"/submissions/{uuid}/score/",
        {
            "points_earned": 1,
            "points_possible": 2,
            "annotation_creator": "staff-7",
            "annotation_type": "staff_defined",
            "annotation_reason": "Half of it.",
        },
        headers={
            "X-Request-ID": "appeal-42",
            "X-On-Behalf-Of": "professor",
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        },
    )
    assert response.headers["X-Request-ID"] == "appeal-42"
    asked = {name: item[name] for name in ("student_id", "course_id", "item_id")}
    registered, created, scored = lms.get("/history/", **asked).json()
    assert registered["type"] == "submissions.StudentItemRegistered"
    assert created["fields"]["answer"] == {"text": "first"}
    assert scored["position"] == int(response.headers["X-Log-Position"])
    assert (scored["actor"], scored["on_behalf_of"]) == ("grader", "professor")
    assert scored["request_id"] == "appeal-42"
    assert scored["trace"].startswith("00-0af7651916cd43dd8448eb211c80319c")
    assert scored["fields"]["annotation"]["reason"] == "Half of it."
    assert scored["recorded_at"].endswith("Z")


def test_every_answer_about_the_past_is_the_answer_that_was_given_then(site: Site) -> None:
    lms, item = site.service, an_item()
    first = lms.create(item, "first")["uuid"]
    lms.score(first, 4, 10)
    second = lms.create(item, "second")["uuid"]
    lms.score(second, 9, 10)
    asked = {name: item[name] for name in ("course_id", "item_id", "item_type")}
    course = f"/courses/{item['course_id']}/students/{item['student_id']}/scores/"
    questions: list[tuple[str, dict[str, Any]]] = [
        ("/submissions/", item),
        ("/score/", item),
        ("/items/top/", asked | {"number_of_top_scores": 3}),
        (course, {}),
        (f"/submissions/{first}/score/", {}),
        (f"/submissions/{second}/score/", {}),
    ]
    position, moment = site.head(), datetime.now(UTC).isoformat()
    then = [lms.get(path, **query).json() for path, query in questions]
    reset = {name: item[name] for name in ("student_id", "course_id", "item_id")}
    lms.post("/score-resets/", reset | {"clear_state": True})
    lms.create(item, "third")
    assert lms.get("/score/", **item).json() is None
    for past in ({"as_of_position": position}, {"as_of": moment}):
        answers = [lms.get(path, **query, **past) for path, query in questions]
        assert [answer.json() for answer in answers] == then
        assert {answer.headers["X-Log-Position"] for answer in answers} == {str(position)}


@pytest.mark.parametrize("past", [{"as_of_position": 2**62}, {"as_of": "2999-01-01T00:00:00Z"}])
def test_the_future_is_answered_as_of_now(site: Site, past: dict[str, Any]) -> None:
    lms, item = site.service, an_item()
    uuid = lms.create(item)["uuid"]
    assert uuids(lms.get("/submissions/", **item, **past).json()) == [uuid]


def test_what_was_before_everything_is_empty(site: Site) -> None:
    lms, item = site.service, an_item()
    lms.create(item)
    assert lms.get("/submissions/", **item, as_of="1999-12-31").json() == []
    assert lms.get("/score/", **item, as_of_position=0).json() is None


def test_answers_survive_with_nul_surrogates_and_large_numbers(site: Site) -> None:
    lms, item = site.service, an_item()
    answer = '{"b": "\\u0000 \\ud800", "a": 123456789012345678901234567890, "b2": 1e5}'
    body = f'{{"student_item": {json.dumps(item)}, "answer": {answer}}}'
    created = lms.send(
        "POST", "/submissions/", content=body, headers={"Content-Type": "application/json"}
    )
    assert created.status_code == 201
    kept = b'{"b": "\\u0000 \\ud800", "a": 123456789012345678901234567890, "b2": 100000.0}'
    assert kept in created.content
    assert kept in lms.get(f"/submissions/{created.json()['uuid']}/").content


@pytest.mark.parametrize(
    "course_id",
    [
        "course-v1:Org+C+R",
        "Org/Course/Run",
        "any text, with spaces",
        "a/submissions/b",
        "100% +/?#&=ünï",
        "x" * 255,
    ],
)
def test_any_text_names_a_course(site: Site, course_id: str) -> None:
    lms, item = site.service, an_item(course_id=course_id, item_type=f"t{uuid4().hex}")
    uuid = lms.create(item)["uuid"]
    lms.score(uuid, 1, 1)
    escaped = quote(course_id, safe="")
    information = lms.get(f"/courses/{escaped}/submissions/", item_type=item["item_type"])
    assert [row["submission"]["uuid"] for row in information.json()["results"]] == [uuid]
    scores = lms.get(f"/courses/{escaped}/students/{item['student_id']}/scores")
    assert item["item_id"] in scores.json()


def test_the_old_form_of_a_course_key_is_taken_as_it_is(site: Site) -> None:
    lms, item = site.service, an_item(course_id="Org/Course/Run", item_type=f"t{uuid4().hex}")
    lms.create(item)
    found = lms.get("/courses/Org/Course/Run/submissions", item_type=item["item_type"])
    assert len(found.json()["results"]) == 1


def test_of_an_erased_learner_scores_are_left_and_answers_are_null(site: Site) -> None:
    lms, item = site.service, an_item()
    key = {"Idempotency-Key": uuid4().hex}
    body = {"student_item": item, "answer": "a secret"}
    uuid = lms.post("/submissions/", body, headers=key).json()["uuid"]
    reason = {"annotation_creator": "c", "annotation_type": "t", "annotation_reason": "a secret"}
    lms.score(uuid, 1, 2, **reason)
    with psycopg.connect(site.dsn) as db:
        db.execute("SELECT gradelog.destroy_key(%s)", (item["student_id"],))
    with serving(site.dsn, site.config) as fresh:  # this one has the key in no cache
        lms = fresh.service
        asked = {name: item[name] for name in ("course_id", "item_id", "item_type")}
        assert lms.get(f"/submissions/{uuid}/").json()["answer"] is None
        assert lms.get("/score/", **item).json()["annotations"][0]["reason"] is None
        assert lms.get("/score/", **item).json()["points_earned"] == 1
        top = lms.get("/items/top/", **asked, number_of_top_scores=1)
        assert top.json() == [{"score": 1, "content": None}]
        named = {name: item[name] for name in ("student_id", "course_id", "item_id")}
        history = lms.get("/history/", **named).json()
        assert history[1]["fields"]["answer"] is None
        assert history[2]["fields"]["annotation"]["reason"] is None
        assert "secret" not in json.dumps(history)
        again = lms.post("/submissions/", body, headers=key)
        assert (again.json()["uuid"], again.json()["answer"]) == (uuid, None)


def test_of_a_learner_whose_key_was_lost_nothing_is_answered(site: Site) -> None:
    item = an_item()
    uuid = site.service.create(item)["uuid"]
    with psycopg.connect(site.dsn) as db:
        statement = "DELETE FROM gradelog.learner_keys WHERE subject = %s"
        db.execute(statement, (item["student_id"],))
    with serving(site.dsn, site.config) as fresh:  # this one has the key in no cache
        answer = fresh.service.get(f"/submissions/{uuid}/")
    assert answer.status_code == 503
    assert answer.json()["type"].endswith(":UnavailableError")
