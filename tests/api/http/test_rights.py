"""Who may do what: every route with every kind of caller. A new route must be added here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import jwt
import pytest

from api.http.app import OPERATIONS
from api.http.routing import Operation
from tests.api.http.site import ESSAY, SECRET, Site, an_item

LEARNER = "ann"
ITEM = an_item(student_id=LEARNER, course_id="course-v1:Right+C+R")
COURSE = ITEM["course_id"]
OTHER_COURSE = "course-v1:Wrong+C+R"
CELL = "block-v1:Right+C+R+type@sequential+block@week"
IN_PATH = {
    "{course_id}": COURSE,
    "{student_id}": LEARNER,
    "{username}": LEARNER,
    "{key}": f"{LEARNER},{COURSE}",
    "{role}": "beta_testers",
    "{cohort_id}": "1000000",
    "{user_id}": "1000000",
    "{usage_key}": CELL,
    "{subsection_id}": CELL,
}
"""What stands in paths; there is no such cohort, number of a user, or subsection."""

Callers = Callable[[Site], Site]

CALLERS: dict[str, Callers] = {
    "nobody": lambda site: site.nobody,
    "reading service": lambda site: site.as_("s", scopes=["submissions:read"]),
    "writing service": lambda site: site.as_("s", scopes=["submissions:write"]),
    "service of users": lambda site: site.as_("s", scopes=["users:write"]),
    "service of enrolments": lambda site: site.as_("s", scopes=["enrollments:write"]),
    "service of courses": lambda site: site.as_("s", scopes=["courses:write"]),
    "service of the organisation": lambda site: filtered(site, "content_org:Right"),
    "service of another organisation": lambda site: filtered(site, "content_org:Wrong"),
    "service restricted to itself": lambda site: filtered(site, "user:me"),
    "service with an unknown filter": lambda site: filtered(site, "tenant:7"),
    "global staff": lambda site: site.as_("g", staff=True),
    "course staff": lambda site: site.as_("t", course_roles={"staff": [COURSE]}),
    "course instructor": lambda site: site.as_("t", course_roles={"instructor": [COURSE]}),
    "course beta tester": lambda site: site.as_("t", course_roles={"beta_testers": [COURSE]}),
    "staff of another course": lambda site: site.as_("t", course_roles={"staff": [OTHER_COURSE]}),
    "the learner": lambda site: site.as_(LEARNER),
    "the learner by another id": lambda site: site.as_("ann2", anonymous_ids=[LEARNER]),
    "another learner": lambda site: site.as_("bob", user_id=7),
}


def filtered(site: Site, *filters: str) -> Site:
    """A service with all scopes whose token is restricted."""
    claims = jwt.decode(site.service.token("s", staff=True), options={"verify_signature": False})
    claims |= {"scopes": ["submissions:read", "submissions:write"], "filters": list(filters)}
    token = jwt.encode(claims, SECRET)
    return Site(site.dsn, site.url, site.config, site.client, {"Authorization": f"JWT {token}"})


READERS = {
    "reading service",
    "service of the organisation",
    "global staff",
    "course staff",
    "course instructor",
}
WRITERS = READERS - {"reading service"} | {"writing service"}
PUBLISHERS = {"global staff", "service of the organisation", "service of courses"}
TEAM = {"global staff", "service of the organisation", "course staff", "course instructor"}
COHORTS = TEAM | {"service of enrolments", "service of courses"}
LEARNERS = {"the learner", "the learner by another id"}
ANYBODY = set(CALLERS)
HIDDEN_FROM = {
    "service of users",
    "service of enrolments",
    "service of courses",
    "service restricted to itself",
    "service with an unknown filter",
    "course beta tester",
    "another learner",
    "writing service",
}
"""Who may read nothing anywhere, so that a submission looks to them as if it did not exist."""


@dataclass(frozen=True)
class Rule:
    """Who may use a route about the item of this module."""

    allowed: set[str]
    hidden_from: frozenset[str] = frozenset()
    query: tuple[str, ...] = ()
    body: Any = None
    answers: frozenset[int] = frozenset({200, 201, 204})
    to_nobody: int = 401

    def expected(self, caller: str) -> frozenset[int] | set[int]:
        if caller in self.allowed:
            return self.answers
        if caller == "nobody":
            return {self.to_nobody}
        return {404} if caller in self.hidden_from else {403}


ITEM_NAMES = ("student_id", "course_id", "item_id", "item_type")
BY_UUID = Rule(READERS | LEARNERS, hidden_from=frozenset(HIDDEN_FROM))
KNOWN = ANYBODY - {"nobody"}
TO_SIGN_IN = 302
NO_FORM = frozenset({400})
"""What is sent is no form: whoever may send one is told so."""
NOT_THERE = frozenset({404})

RULES = {
    "createSubmission": Rule(WRITERS, body={"student_item": ITEM, "answer": 1}),
    "setScore": Rule(WRITERS, body={"points_earned": 1, "points_possible": 2}),
    "resetScore": Rule(WRITERS, body={n: ITEM[n] for n in ITEM_NAMES[:3]}),
    "carryOutCommands": Rule(
        WRITERS | {"staff of another course", "service of another organisation"}, body={}
    ),
    "getScore": Rule(READERS | LEARNERS, query=ITEM_NAMES),
    "getSubmissions": Rule(READERS | LEARNERS, query=ITEM_NAMES),
    "getSubmission": BY_UUID,
    "getLatestScoreForSubmission": BY_UUID,
    "getAllSubmissions": Rule(READERS, query=ITEM_NAMES[1:]),
    "getAllCourseSubmissionInformation": Rule(READERS, query=("item_type",)),
    "getTopSubmissions": Rule(READERS, query=(*ITEM_NAMES[1:], "number_of_top_scores")),
    "getStudentIdsBySubmissionUuid": Rule(READERS, body={"submission_uuids": []}),
    "getScores": Rule(READERS | LEARNERS),
    "getHistory": Rule(READERS | LEARNERS, query=ITEM_NAMES[:3]),
    "getCourses": Rule(KNOWN),
    "getCourse": Rule(KNOWN - {"service of another organisation"}),
    "publishCourse": Rule(PUBLISHERS, body={"display_name": "Right", "outline": []}),
    # Which course it is stands in the archive.
    "importCourse": Rule(
        PUBLISHERS | {"service of another organisation"}, body={}, answers=NO_FORM
    ),
    "getRecalculation": Rule(TEAM | {"service of courses"}, answers=frozenset({200, 404})),
    "registerUser": Rule({"global staff", "service of users"}, body={"full_name": "Ann"}),
    "getUser": Rule({"global staff", "service of users", "the learner"}),
    "grantRole": Rule(
        PUBLISHERS | {"service of users", "course instructor"}, answers=frozenset({200})
    ),
    "revokeRole": Rule(PUBLISHERS | {"service of users", "course instructor"}),
    "enroll": Rule(
        {"global staff", "service of enrolments"},
        body={"user": LEARNER, "course_details": {"course_id": COURSE}},
    ),
    "getEnrollment": Rule(
        TEAM | {"service of enrolments", "the learner"}, hidden_from=frozenset(CALLERS)
    ),
    "getEnrollments": Rule(KNOWN),
    "getEnrollmentCourse": Rule(KNOWN),
    "getRoles": Rule(KNOWN),
    "getCohortSettings": Rule(COHORTS),
    "setCohortSettings": Rule(COHORTS, body={"is_cohorted": True}),
    "getCohorts": Rule(COHORTS),
    "listCohorts": Rule(COHORTS),
    "createCohort": Rule(COHORTS, body={"name": "Red", "assignment_type": "manual"}),
    "getCohort": Rule(COHORTS, answers=NOT_THERE),
    "changeCohort": Rule(COHORTS, body={"name": "Blue"}, answers=NOT_THERE),
    "getCohortMembers": Rule(COHORTS, answers=NOT_THERE),
    "addCohortMembers": Rule(COHORTS, body={"users": [LEARNER]}, answers=NOT_THERE),
    "addCohortMember": Rule(COHORTS, answers=NOT_THERE),
    "removeCohortMember": Rule(COHORTS, answers=NOT_THERE),
    "uploadCohortMembers": Rule(
        {"global staff", "service of the organisation", "service of enrolments"},
        body={},
        answers=NO_FORM,
    ),
    "getGrades": Rule({"global staff"}, query=("course_id",)),
    "getCourseGrades": Rule({"global staff"}),
    "getGradingPolicy": Rule(TEAM),
    "getGradebook": Rule(TEAM),
    "bulkUpdateGradebook": Rule(TEAM, body=[], answers=frozenset({202})),
    "getGradingInfo": Rule(TEAM),
    "getSubsectionGrade": Rule(TEAM, query=("user_id",), answers=NOT_THERE),
    "getSectionGradesBreakdown": Rule({"global staff"}),
    "getSubmissionHistory": Rule({"global staff"}),
    "exportGrades": Rule(TEAM),
    "importGrades": Rule(TEAM, body={}, answers=NO_FORM),
    "exportIntervention": Rule(TEAM),
    "getGradeImports": Rule(TEAM),
    "getGradeImportsOfGradebook": Rule(TEAM),
    "showCourses": Rule(KNOWN, to_nobody=TO_SIGN_IN),
    "showGradebook": Rule(TEAM, to_nobody=TO_SIGN_IN),
    "showCell": Rule(TEAM, answers=NOT_THERE, to_nobody=TO_SIGN_IN),
    "changeCell": Rule(TEAM, body={}, answers=NOT_THERE, to_nobody=TO_SIGN_IN),
    "getStyle": Rule(ANYBODY),
    "getScript": Rule(ANYBODY),
    "getIcon": Rule(ANYBODY),
    # Whom a session belongs to is not told by the header.
    "refreshToken": Rule(ANYBODY, answers=frozenset({401})),
    "getCsrfToken": Rule(ANYBODY),
    "getLoginPage": Rule(ANYBODY),
    "logIn": Rule(ANYBODY, answers=frozenset({415})),
    "logOutByLink": Rule(ANYBODY),
    "logOut": Rule(ANYBODY),
    "getAccount": Rule(KNOWN),
    "getMfeConfig": Rule(ANYBODY),
    "getLiveness": Rule(ANYBODY),
    "getReadiness": Rule(ANYBODY),
    "getMetrics": Rule(ANYBODY),
    "getOpenApi": Rule(ANYBODY),
    "getDocs": Rule(ANYBODY),
}


@pytest.fixture(scope="module")
def uuid(site: Site) -> str:
    for path, name in (
        (f"courses/v1/courses/{COURSE}", "publishCourse"),
        (f"users/v1/users/{LEARNER}", "registerUser"),
    ):
        site.client.put(
            f"{site.url}/api/{path}/",
            json=RULES[name].body,
            headers=site.as_("g", staff=True).headers,
        ).raise_for_status()
    return str(site.service.create(ITEM)["uuid"])


def test_every_route_has_a_rule() -> None:
    assert set(RULES) == {operation.operation_id for operation in OPERATIONS}


def ask(site: Site, operation: Operation, rule: Rule, uuid: str) -> int:
    path = operation.template.replace("{submission_uuid}", uuid)
    for name, value in IN_PATH.items():
        path = path.replace(name, value)
    query = {name: ITEM.get(name, "1") for name in rule.query}
    media_type = {"Content-Type": operation.body_media_type} if rule.body is not None else {}
    return site.client.request(
        operation.method,
        site.url + path,
        params=query,
        json=rule.body,
        headers=site.headers | {"X-Min-Log-Position": str(site.head())} | media_type,
    ).status_code


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.operation_id)
def test_the_route_is_for(site: Site, uuid: str, operation: Operation, caller: str) -> None:
    rule = RULES[operation.operation_id]
    before = site.head()
    assert ask(CALLERS[caller](site), operation, rule, uuid) in rule.expected(caller)
    if caller not in rule.allowed:
        assert site.head() == before


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
