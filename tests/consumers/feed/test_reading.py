"""An API process on a copy answers reads as one beside the log does, and refuses the rest."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from kafka import KafkaAdminClient

from api.http.auth import issue_token
from infra.relay import relaying
from projections.registry import READ_MODELS
from tests.consumers.feed import term
from tests.consumers.feed.comparing import wait_until_fed
from tests.consumers.feed.conftest import members, on_copy, settings
from tests.infra.cli.support import SECRET, Cli, eventually
from tests.school import School, key, school, wait_until

# The first test waits for a term.
pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

GRADEBOOK = f"/api/grades/v1/gradebook/{term.PHYSICS}/"
TOKEN = {"Authorization": f"Bearer {issue_token(SECRET, username='root', staff=True)}"}


@dataclass
class Fed:
    """A school with a term behind it, and a copy of its read models, which follows."""

    school: School
    copy: str
    far: Cli


@pytest.fixture(scope="module")
def fed(
    new_database: Callable[[], str],
    kafka: str,
    topics: KafkaAdminClient,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Fed]:
    dsn, copy, prefix = new_database(), new_database(), f"test-{uuid4().hex[:12]}"
    far = on_copy(tmp_path_factory.mktemp("far"), copy, dsn, kafka, prefix)
    with ExitStack() as stack:
        opened = stack.enter_context(school(dsn))
        stack.enter_context(relaying(settings(dsn, kafka, prefix), dsn))
        stack.enter_context(members(far))()
        term.begin(opened)
        term.go_on(opened, seed=1, steps=30)
        term.finish(opened)
        wait_until_fed(dsn, copy)
        yield Fed(opened, copy, far)
    topics.delete_topics([f"{prefix}.courses", f"{prefix}.people"])


@pytest.fixture(scope="module")
def there(fed: Fed) -> Iterator[httpx.Client]:
    """Asks the server beside the copy."""
    with fed.far.start("api", "--port", "0") as running, client(running.address()) as asking:
        yield asking


@pytest.fixture(scope="module")
def here(fed: Fed) -> Iterator[httpx.Client]:
    """Asks a server beside the log."""
    beside_log = fed.far.but(DATABASE_URL=fed.school.dsn, GRADELOG_KEYS_URL=None)
    with beside_log.start("api", "--port", "0") as running, client(running.address()) as asking:
        yield asking


def client(address: str) -> httpx.Client:
    return httpx.Client(base_url=address, headers=TOKEN, timeout=30)


def answered(asking: httpx.Client, path: str, position: int, **more: str) -> httpx.Response:
    """What is answered when a position is reached; a server waits a few seconds for it."""
    headers = {"X-Min-Log-Position": str(position), **more}
    return eventually(
        lambda: (
            response if (response := asking.get(path, headers=headers)).status_code != 503 else None
        )
    )


def test_reads_are_answered_as_beside_the_log(
    fed: Fed, here: httpx.Client, there: httpx.Client
) -> None:
    wait_until_fed(fed.school.dsn, fed.copy)
    ((student,),) = fed.school.rows(
        "SELECT student_id FROM submissions_v1.submissions WHERE course_id = %s AND counts"
        " AND points_possible > 0 ORDER BY submission_uuid LIMIT 1",
        term.CHEMISTRY,
    )
    for path in (
        GRADEBOOK,
        f"{GRADEBOOK}?username=learner0",
        f"/api/grades/v1/courses/{term.PHYSICS}/",
        f"/api/courses/v1/courses/{term.HISTORY}/",
        f"/api/submissions/v1/courses/{term.CHEMISTRY}/students/{student}/scores/",
    ):
        expected, found = here.get(path), there.get(path)
        assert found.status_code == expected.status_code == 200, (path, found.text)
        assert content(found, there) == content(expected, here)
        assert found.headers["x-log-position"] == expected.headers["x-log-position"]
        assert content(expected, here) not in ("", "{}", "[]")


def test_what_learners_wrote_is_opened(fed: Fed, here: httpx.Client, there: httpx.Client) -> None:
    # Elsewhere there are answers of another kind, too.
    ((uuid,),) = fed.school.rows(
        "SELECT submission_uuid FROM submissions_v1.submissions WHERE course_id = %s"
        " ORDER BY submission_uuid LIMIT 1",
        term.PHYSICS,
    )
    path = f"/api/submissions/v1/submissions/{uuid}/"
    assert there.get(path).json() == here.get(path).json()
    assert there.get(path).json()["answer"] == "42"


def test_a_read_waits_for_a_write_elsewhere(fed: Fed, there: httpx.Client) -> None:
    for earned in range(1, 6):
        position = fed.school.score("learner0", "p1", earned, 5, course_id=term.PHYSICS)
        wait_until(fed.school.graded)
        response = answered(
            there,
            f"/api/submissions/v1/courses/{term.PHYSICS}/students/learner0/scores/",
            position,
        )
        assert response.status_code == 200, response.text
        assert int(response.headers["x-log-position"]) >= position
        assert f'"points_earned":{earned}' in response.text.replace(" ", "")


def test_a_read_of_grades_waits_until_they_are_calculated_and_shown(
    fed: Fed, here: httpx.Client, there: httpx.Client
) -> None:
    path = f"{GRADEBOOK}?username=learner1"
    for earned in range(1, 4):
        position = fed.school.score("learner1", "q1", earned, 10, course_id=term.PHYSICS)
        expected, found = answered(here, path, position), answered(there, path, position)
        assert expected.status_code == found.status_code == 200, found.text
        assert content(found, there) == content(expected, here)


def test_a_position_that_is_not_there_yet_is_not_answered(fed: Fed, there: httpx.Client) -> None:
    ((head,),) = fed.school.rows("SELECT max(position) FROM gradelog.events")
    response = there.get(GRADEBOOK, headers={"X-Min-Log-Position": str(head + 1)})
    assert response.status_code == 503


def test_a_page_that_changes_has_another_tag(fed: Fed, there: httpx.Client) -> None:
    wait_until_fed(fed.school.dsn, fed.copy)
    before = there.get(GRADEBOOK)
    assert (
        there.get(GRADEBOOK, headers={"If-None-Match": before.headers["etag"]}).status_code == 304
    )
    people = fed.school.backend.learners
    fed.school.run(lambda: people.register_user("learner0", email="another@example.org"))
    fed.school.score("learner0", "p1", 2, 5, course_id=term.PHYSICS)
    wait_until(fed.school.graded)
    ((head,),) = fed.school.rows("SELECT max(position) FROM gradelog.events")
    known = {"If-None-Match": before.headers["etag"]}
    assert answered(there, GRADEBOOK, head, **known).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        (
            "POST",
            "/api/submissions/v1/submissions/",
            {
                "student_item": {
                    "student_id": "learner0",
                    "course_id": term.PHYSICS,
                    "item_id": "item",
                    "item_type": "problem",
                },
                "answer": "too far away",
            },
        ),
        ("PUT", "/api/users/v1/users/somebody/", {"email": "somebody@example.org"}),
        ("GET", "/api/users/v1/users/learner0/", None),
        ("GET", f"/api/courses/v1/courses/{term.PHYSICS}/?as_of_position=1", None),
        ("GET", f"/api/courses/v1/courses/{term.PHYSICS}/?as_of=2026-03-02T12:00:00Z", None),
        ("GET", f"/api/courses/v1/courses/{term.PHYSICS}/recalculation/", None),
        ("GET", "/api/events/v1/events/", None),
        ("POST", "/api/events/v1/webhooks/", {"url": "https://lms.example.org/hook"}),
        ("GET", "/api/events/v1/stream/", None),
    ],
)
def test_what_needs_the_log_is_refused(
    fed: Fed, there: httpx.Client, method: str, path: str, body: Any
) -> None:
    response = there.request(method, path, json=body)
    assert response.status_code == 503, (response.status_code, response.text)
    problem = response.json()
    assert problem["type"] == "urn:gradelog:problem:ReadOnlyServerError"
    assert "only reads" in problem["detail"]
    with psycopg.connect(fed.copy) as db:
        assert db.execute("SELECT count(*) FROM gradelog.learner_keys").fetchone() == (0,)


def test_an_override_is_refused_in_the_shape_of_its_interface(
    fed: Fed, there: httpx.Client
) -> None:
    user_id = fed.school.learner("learner0", term.PHYSICS).user_id
    usage_id = key("sequential", "hw1", term.PHYSICS)
    item = {"user_id": user_id, "usage_id": usage_id, "grade": {"earned_all_override": 1}}
    response = there.post(f"/api/grades/v1/gradebook/{term.PHYSICS}/bulk-update", json=[item])
    assert response.status_code == 422
    (refused,) = response.json()
    assert not refused["success"]
    assert "nothing was written" in refused["reason"]


def test_nobody_is_told_that_the_password_is_wrong(there: httpx.Client) -> None:
    form = there.get("/login").text
    (given,) = re.findall(r"name=.?csrf_token.? value=[\"']?([^\"' >]+)", form)
    fields = {"csrf_token": given, "username": "learner0", "password": "any password"}
    response = there.post("/login", data=fields)
    assert response.status_code == 503
    assert "Nobody signs in here" in response.text


def test_health_tells_where_a_copy_stands(fed: Fed, there: httpx.Client) -> None:
    response = there.get("/health/ready")
    assert response.status_code == 200, response.text
    ((head,),) = fed.school.rows("SELECT max(position) FROM gradelog.events")
    found = eventually(lambda: (now := there.get("/health/ready").json())["head"] >= head and now)
    assert {one["state"] for one in found["read_models"].values()} == {"serving"}
    assert set(found["read_models"]) == {
        "submissions",
        "score_history",
        "team_submissions",
        "gradebook",
    }


def test_health_tells_who_feeds_a_copy(fed: Fed, here: httpx.Client, there: httpx.Client) -> None:
    found = eventually(lambda: is_fed_whole(there.get("/health/ready").json()["feed"]))
    assert found is not None
    assert set(found) == {model.name for model in READ_MODELS}
    for figure in (
        'gradelog_feed_members{read_model="gradebook"} 1.0',
        'gradelog_feed_troubled{read_model="gradebook"} 0.0',
    ):
        eventually(lambda: figure in there.get("/metrics").text)  # noqa: B023
    assert "feed" not in here.get("/health/ready").json()
    assert "gradelog_feed" not in here.get("/metrics").text


def is_fed_whole(feed: dict[str, Any]) -> dict[str, Any] | None:
    """What is told of who feeds, if one member reads all there is and is through with it."""
    expected = {"members": 1, "partitions_unread": 0, "messages_left": 0, "trouble": None}
    return feed if all(one.items() >= expected.items() for one in feed.values()) else None


def content(response: httpx.Response, of: httpx.Client) -> str:
    """The body, without the address of who has answered."""
    return response.text.replace(str(of.base_url).rstrip("/"), "")
