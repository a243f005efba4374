"""Who may do what: every route with every kind of caller. A new route must be added to its rules."""

from typing import Any
from uuid import uuid4

import pytest

from api.http.app import OPERATIONS
from api.http.routing import Operation
from tests.api.http.people import COHORTS, COURSES, ENROLLMENT, USERS
from tests.api.http.people import ask as send
from tests.api.http.rights import (
    CALLERS,
    CELL,
    CLOSED,
    COURSE,
    HIDDEN_FROM,
    ITEM,
    ITEM_NAMES,
    LEARNER,
    OTHER_COURSE,
    PUBLISHED,
    ROOT,
    RULES,
    STAFF,
    Known,
    filtered,
)
from tests.api.http.site import ESSAY, Site, an_item


@pytest.fixture(scope="module")
def known(site: Site) -> Known:
    """A course with a learner, staff, a cohort and a submission: what stands in paths."""
    root = site.as_("g", staff=True)

    def write(method: str, url: str, body: Any = None) -> Any:
        response = send(root, method, url, body)
        response.raise_for_status()
        return response.json() if response.content else None

    course = f"{COURSES}/{COURSE}/"
    write("PUT", course, PUBLISHED | {"grading_policy": None})
    user = write("PUT", f"{USERS}/{LEARNER}/", {"full_name": "Ann"})
    write("PUT", f"{USERS}/{ROOT}/", {"is_staff": True})
    for name in (STAFF, CLOSED):
        write("PUT", f"{USERS}/{name}/", {"is_active": True})
        write("PUT", f"{course}roles/staff/{name}/")
    write("PUT", f"{USERS}/{CLOSED}/", {"is_active": False})
    enrolled = {"user": LEARNER, "course_details": {"course_id": COURSE}}
    write("POST", f"{ENROLLMENT}/enrollment/", enrolled)
    cohort = {"name": "Blue", "assignment_type": "manual"}
    cohort_id = write("POST", f"{COHORTS}/courses/{COURSE}/cohorts/", cohort)["id"]
    write("POST", f"{COHORTS}/courses/{COURSE}/cohorts/{cohort_id}/users/{LEARNER}/")
    write("PUT", course, PUBLISHED)
    return ITEM | {
        "submission_uuid": str(site.service.create(ITEM)["uuid"]),
        "username": LEARNER,
        "key": f"{LEARNER},{COURSE}",
        "role": "beta_testers",
        "cohort_id": str(cohort_id),
        "user_id": str(user["user_id"]),
        "usage_key": CELL,
        "subsection_id": CELL,
        "webhook_id": str(uuid4()),
    }


@pytest.fixture(scope="module")
def uuid(known: Known) -> str:
    return known["submission_uuid"]


def test_every_route_has_a_rule() -> None:
    assert set(RULES) == {operation.operation_id for operation in OPERATIONS}


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.operation_id)
def test_the_route_is_for(site: Site, known: Known, operation: Operation, caller: str) -> None:
    rule = RULES[operation.operation_id]
    head = site.head()
    request = rule.request(operation, known)
    own = CALLERS[caller](site).headers | {"X-Min-Log-Position": str(head)}
    with site.client.stream(
        request.pop("method"),
        site.url + request.pop("url"),
        headers=request.pop("headers") | own,
        **request,
    ) as response:
        goes_on = response.headers.get("Content-Type", "").startswith("text/event-stream")
        if not goes_on:
            response.read()
        assert response.status_code in rule.expected(caller), goes_on or response.text
    if caller not in rule.allowed:  # grading may go on meanwhile
        assert not [type_ for type_, _, by in site.events(head) if by.get("via") == "http"]


@pytest.mark.parametrize("caller", sorted(set(CALLERS) - {"nobody"}))
def test_what_is_private_of_an_account_is_for_its_owner_and_global_staff(
    site: Site, known: Known, caller: str
) -> None:
    account = send(CALLERS[caller](site), "GET", f"/api/user/v1/accounts/{known['username']}")
    told = caller in {"global staff", "recorded global staff", "the learner"}
    assert ("email" in account.json()) is told


@pytest.mark.parametrize("past", [{}, {"as_of_position": 2**60}])
@pytest.mark.parametrize("caller", sorted(HIDDEN_FROM | {"staff of another course"}))
@pytest.mark.parametrize("path", ["", "score/"])
def test_whether_a_submission_exists_is_told_to_readers_only(
    site: Site, uuid: str, caller: str, path: str, past: dict[str, int]
) -> None:
    if past and not path:
        past = {}
    there, absent = (
        CALLERS[caller](site).get(f"/submissions/{name}/{path}", **past)
        for name in (uuid, str(uuid4()))
    )
    if caller == "staff of another course":
        assert (there.status_code, absent.status_code) == (403, 404)
    else:
        assert there.status_code == absent.status_code == 404
        assert there.json()["title"] == absent.json()["title"]


def test_a_learner_reads_his_own_score_and_nobody_elses(site: Site, uuid: str) -> None:
    site.service.score(uuid, 1, 2)
    ann = site.as_(LEARNER)
    assert ann.get("/score/", **ITEM).json()["points_earned"] == 1
    assert ann.get("/score/", **ITEM | {"student_id": "bob"}).status_code == 403
    other = site.service.create(ITEM | {"student_id": "bob"})["uuid"]
    assert ann.get(f"/submissions/{other}/").status_code == 404


def test_an_id_of_digits_is_the_number_of_the_user(site: Site) -> None:
    item = an_item(student_id="11391")
    site.service.create(item)
    assert site.as_("zoe", user_id=11391).get("/submissions/", **item).status_code == 200
    assert site.as_("zoe", user_id=11392).get("/submissions/", **item).status_code == 403


def test_staff_writes_lines_about_its_own_course_only(site: Site, uuid: str) -> None:
    staff = CALLERS["course staff"](site)
    other_item = an_item(course_id=OTHER_COURSE)
    other = site.service.create(other_item)["uuid"]
    score = {"command": "set_score", "points_earned": 1, "points_possible": 1}
    _, results = staff.bulk(
        {"id": 1, "command": "create_submission", "student_item": ITEM, "answer": 1},
        {"id": 2, "command": "create_submission", "student_item": other_item, "answer": 1},
        score | {"id": 3, "submission_uuid": uuid},
        score | {"id": 4, "submission_uuid": other},
        score | {"id": 5, "submission_uuid": str(uuid4())},
        {"id": 6, "command": "reset_score"} | {n: other_item[n] for n in ITEM_NAMES[:3]},
        {"id": 7, "command": "create_submission"},
    )
    assert [result["status"] for result in results] == [201, 403, 201, 403, 404, 403, 400]


def test_a_course_named_like_no_course_is_out_of_reach_of_a_restricted_token(site: Site) -> None:
    item = an_item(course_id="no key at all", item_type=ESSAY)
    restricted = filtered(site, "content_org:Right")
    assert restricted.get("/score/", **item).status_code == 403
