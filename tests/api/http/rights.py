"""Who may do what, operation by operation: the callers there are, and the rule of each operation.

Sources: section 2.3 of the grades interface, the conventions of our own interfaces, docs/http.md.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jwt

from api.http.routing import Operation
from tests.api.http.site import SECRET, Site, an_item

LEARNER = "ann"
ITEM = an_item(student_id=LEARNER, course_id="course-v1:Right+C+R")
COURSE = ITEM["course_id"]
OTHER_COURSE = "course-v1:Wrong+C+R"
CELL = "block-v1:Right+C+R+type@sequential+block@week"
ROOT, STAFF, CLOSED = "rights-root", "rights-staff", "rights-closed"
"""Whose tokens say nothing: what they are is recorded."""

# --- callers ----------------------------------------------------------------------------------

Callers = Callable[[Site], Site]

CALLERS: dict[str, Callers] = {
    "nobody": lambda site: site.nobody,
    "reading service": lambda site: site.as_("s", scopes=["submissions:read"]),
    "writing service": lambda site: site.as_("s", scopes=["submissions:write"]),
    "service of users": lambda site: site.as_("s", scopes=["users:write"]),
    "service of enrolments": lambda site: site.as_("s", scopes=["enrollments:write"]),
    "service of courses": lambda site: site.as_("s", scopes=["courses:write"]),
    "service of webhooks": lambda site: site.as_("s", scopes=["events:write"]),
    "service that reads events": lambda site: site.as_("s", scopes=["events:read"]),
    "service of the organisation": lambda site: filtered(site, "content_org:Right"),
    "service of another organisation": lambda site: filtered(site, "content_org:Wrong"),
    "service restricted to itself": lambda site: filtered(site, "user:me"),
    "service with an unknown filter": lambda site: filtered(site, "tenant:7"),
    "service of the learner": lambda site: filtered(
        site, "content_org:Right", f"user:{LEARNER}", scopes=["grades:read"]
    ),
    "global staff": lambda site: site.as_("g", staff=True),
    "recorded global staff": lambda site: site.as_(ROOT),
    "course staff": lambda site: site.as_("t", course_roles={"staff": [COURSE]}),
    "recorded course staff": lambda site: site.as_(STAFF),
    "course staff whose account is closed": lambda site: site.as_(CLOSED),
    "limited staff": lambda site: site.as_("t", course_roles={"limited_staff": [COURSE]}),
    "course instructor": lambda site: site.as_("t", course_roles={"instructor": [COURSE]}),
    "course beta tester": lambda site: site.as_("t", course_roles={"beta_testers": [COURSE]}),
    "staff of another course": lambda site: site.as_("t", course_roles={"staff": [OTHER_COURSE]}),
    "the learner": lambda site: site.as_(LEARNER),
    "the learner by another id": lambda site: site.as_("ann2", anonymous_ids=[LEARNER]),
    "another learner": lambda site: site.as_("bob", user_id=7),
}


def filtered(
    site: Site, *filters: str, scopes: Sequence[str] = ("submissions:read", "submissions:write")
) -> Site:
    """A service of global staff whose token is restricted."""
    claims = jwt.decode(site.service.token("s", staff=True), options={"verify_signature": False})
    claims |= {"scopes": list(scopes), "filters": list(filters)}
    token = jwt.encode(claims, SECRET)
    return Site(site.dsn, site.url, site.config, site.client, {"Authorization": f"JWT {token}"})


ANYBODY = set(CALLERS)
KNOWN = ANYBODY - {"nobody"}
LEARNERS = {"the learner", "the learner by another id"}

READERS = {
    "reading service",
    "service of the organisation",
    "global staff",
    "recorded global staff",
    "course staff",
    "recorded course staff",
    "course instructor",
}
"""Of submissions."""
WRITERS = READERS - {"reading service"} | {"writing service"}
HIDDEN_FROM = {
    "service of users",
    "service of enrolments",
    "service of courses",
    "service of webhooks",
    "service that reads events",
    "service restricted to itself",
    "service with an unknown filter",
    "service of the learner",
    "course staff whose account is closed",
    "limited staff",
    "course beta tester",
    "another learner",
    "writing service",
}
"""Who may read nothing anywhere, so that a submission looks to them as if it did not exist."""

GLOBAL_STAFF = {"global staff", "recorded global staff"}
"""Everywhere: whose token has filters is staff of what they leave, if at all."""
PUBLISHERS = GLOBAL_STAFF | {"service of courses", "service of the organisation"}
TEAM = GLOBAL_STAFF | {
    "service of the organisation",
    "course staff",
    "recorded course staff",
    "limited staff",
    "course instructor",
}
"""``course_author`` and ``staff_access``: they differ in limited staff of organisations only."""
COHORTS = TEAM | {"service of enrolments", "service of courses"}
ROLES = PUBLISHERS | {"service of users", "course instructor"}

EVENTS = GLOBAL_STAFF | {"service that reads events"}
WEBHOOKS = GLOBAL_STAFF | {"service of webhooks"}

# --- rules ------------------------------------------------------------------------------------

Known = Mapping[str, str]
"""Values of the parameters of paths and queries, by name."""


def filled(text: str, known: Known) -> str:
    for name, value in known.items():
        text = text.replace(f"{{{name}}}", value)
    return text


@dataclass(frozen=True)
class Rule:
    """Who may use an operation about the item and the course of this module.

    Attributes:
        allowed: the callers who may.
        answers: what they get.
        refusals: what others get if it is not 403, or not 401 for nobody.
        query: names of the parameters that are given.
        body: JSON that is sent.
        form: a form that is sent.
        file: field and text of a file that is sent.
    """

    allowed: set[str]
    answers: frozenset[int] = frozenset({200, 201, 204})
    refusals: Mapping[str, int] = field(default_factory=dict)
    query: tuple[str, ...] = ()
    body: Any = None
    form: Mapping[str, str] | None = None
    file: tuple[str, str] | None = None

    def expected(self, caller: str) -> frozenset[int]:
        if caller in self.allowed:
            return self.answers
        return frozenset({self.refusals.get(caller, 401 if caller == "nobody" else 403)})

    def request(self, operation: Operation, known: Known) -> dict[str, Any]:
        """What is sent, besides headers of the caller."""
        sent: dict[str, Any] = {
            "method": operation.method,
            "url": filled(operation.template, known),
            "params": {name: known.get(name, "1") for name in self.query},
            "headers": {},
        }
        if self.body is not None:
            sent["content"] = filled(json.dumps(self.body), known)
            sent["headers"]["Content-Type"] = operation.body_media_type
        if self.form is not None:
            sent["data"] = self.form
        if self.file is not None:
            name, text = self.file
            sent["files"] = {name: ("a.csv", filled(text, known), "text/csv")}
        return sent


def answered(*statuses: int) -> frozenset[int]:
    return frozenset(statuses)


ITEM_NAMES = ("student_id", "course_id", "item_id", "item_type")
BY_UUID = Rule(READERS | LEARNERS, refusals=dict.fromkeys(HIDDEN_FROM, 404))
PUBLISHED = {
    "display_name": "Right",
    "grading_policy": {
        "graders": [{"type": "Homework", "min_count": 1, "drop_count": 0, "weight": 1}],
        "grade_cutoffs": {"Pass": 0.5},
    },
    "outline": [
        {
            "id": "one",
            "children": [
                {
                    "id": "week",
                    "graded": True,
                    "format": "Homework",
                    "children": [
                        {
                            "id": "unit",
                            "children": [{"id": "sums", "type": "problem", "max_score": 4}],
                        }
                    ],
                }
            ],
        }
    ],
}
TO_SIGN_IN = {"nobody": 302}
CLOSED_OUT = {"course staff whose account is closed": 401}
"""Where the grades interface takes no closed accounts, if they come as Bearer."""

RULES = {
    # Submissions.
    "createSubmission": Rule(WRITERS, body={"student_item": ITEM, "answer": 1}),
    "setScore": Rule(WRITERS, body={"points_earned": 1, "points_possible": 2}),
    "resetScore": Rule(WRITERS, body={n: ITEM[n] for n in ITEM_NAMES[:3]}),
    # Line by line: whoever may write anywhere.
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
    # Courses.
    "getCourses": Rule(KNOWN),
    "getCourse": Rule(KNOWN - {"service of another organisation"}),
    "publishCourse": Rule(PUBLISHERS, body=PUBLISHED),
    # Which course it is stands in the archive. This is none: whoever may send one is told so.
    "importCourse": Rule(PUBLISHERS | {"service of another organisation"}, answered(400), body={}),
    # Grading goes on by itself: 404 until it has begun.
    "getRecalculation": Rule(TEAM | {"service of courses"}, answered(200, 404)),
    # People.
    "registerUser": Rule(GLOBAL_STAFF | {"service of users"}, body={"full_name": "Ann"}),
    "getUser": Rule(GLOBAL_STAFF | {"service of users", "the learner"}),
    "getAccount": Rule(KNOWN),
    "grantRole": Rule(ROLES),
    "revokeRole": Rule(ROLES),
    "enroll": Rule(
        GLOBAL_STAFF | {"service of enrolments"},
        body={"user": LEARNER, "course_details": {"course_id": COURSE}},
    ),
    # Nor are others told whether there is one.
    "getEnrollment": Rule(
        TEAM | {"service of enrolments", "the learner"}, refusals=dict.fromkeys(KNOWN, 404)
    ),
    # What the caller may not know of is left out.
    "getEnrollments": Rule(KNOWN),
    "getEnrollmentCourse": Rule(KNOWN),
    "getRoles": Rule(KNOWN),
    # Cohorts.
    "getCohortSettings": Rule(COHORTS),
    "setCohortSettings": Rule(COHORTS, body={"is_cohorted": True}),
    "getCohorts": Rule(COHORTS),
    "listCohorts": Rule(COHORTS),
    "createCohort": Rule(COHORTS, body={"name": "Red", "assignment_type": "manual"}),
    "getCohort": Rule(COHORTS),
    "changeCohort": Rule(COHORTS, body={"name": "Blue"}),
    "getCohortMembers": Rule(COHORTS),
    "addCohortMembers": Rule(COHORTS, body={"users": [LEARNER]}),
    "addCohortMember": Rule(COHORTS),
    # Who comes second is told that nobody is there.
    "removeCohortMember": Rule(COHORTS, answered(204, 400)),
    "uploadCohortMembers": Rule(
        GLOBAL_STAFF | {"service of enrolments"},
        file=("uploaded-file", f"cohort,username\nBlue,{LEARNER}\n"),
    ),
    # Grades. The list is for global staff, one grade for its learner, too; both share their code.
    "getGrades": Rule(GLOBAL_STAFF, query=("course_id",)),
    "getCourseGrades": Rule(
        GLOBAL_STAFF | {"the learner", "service of the learner"}, query=("username",)
    ),
    "getGradingPolicy": Rule(TEAM),
    "getGradebook": Rule(TEAM),
    "bulkUpdateGradebook": Rule(
        TEAM,
        answered(202),
        body=[{"user_id": "{user_id}", "usage_id": CELL, "grade": {"earned_graded_override": 1}}],
    ),
    "getGradingInfo": Rule(TEAM),
    "getSubsectionGrade": Rule(TEAM, query=("user_id",)),
    "getSectionGradesBreakdown": Rule(GLOBAL_STAFF, refusals=CLOSED_OUT),
    "getSubmissionHistory": Rule(GLOBAL_STAFF, refusals=CLOSED_OUT),
    "exportGrades": Rule(TEAM),
    "importGrades": Rule(
        TEAM, file=("csv", f"user_id,course_id,new_override-week\n{{user_id}},{COURSE},2\n")
    ),
    "exportIntervention": Rule(TEAM),
    "getGradeImports": Rule(TEAM),
    "getGradeImportsOfGradebook": Rule(TEAM),
    # Events.
    "getEvents": Rule(EVENTS),
    "streamEvents": Rule(EVENTS),
    "getEventTypes": Rule(EVENTS),
    # Webhooks. There is none of this id, which only those are told who may know.
    "createWebhook": Rule(WEBHOOKS, body={"url": "https://1.1.1.1/"}),
    "getWebhooks": Rule(WEBHOOKS),
    "getWebhook": Rule(WEBHOOKS, answered(404)),
    "changeWebhook": Rule(WEBHOOKS, answered(404), body={"state": "paused"}),
    "deleteWebhook": Rule(WEBHOOKS, answered(404)),
    "rotateWebhookSecret": Rule(WEBHOOKS, answered(404)),
    "testWebhook": Rule(WEBHOOKS, answered(404)),
    "getWebhookDeliveries": Rule(WEBHOOKS, answered(404)),
    # Pages: the list leaves out what the reader may not see.
    "showCourses": Rule(KNOWN, refusals=TO_SIGN_IN),
    "showGradebook": Rule(TEAM, refusals=TO_SIGN_IN),
    "showCell": Rule(TEAM, refusals=TO_SIGN_IN),
    # Saved, or changed by somebody else since the page was loaded.
    "changeCell": Rule(TEAM, answered(303, 409), form={"points": "1", "reason": "Late."}),
    "getStyle": Rule(ANYBODY),
    "getScript": Rule(ANYBODY),
    "getIcon": Rule(ANYBODY),
    # Sessions. Whom one belongs to is not told by the header.
    "refreshToken": Rule(ANYBODY, answered(401)),
    "getCsrfToken": Rule(ANYBODY),
    "getLoginPage": Rule(ANYBODY),
    "logIn": Rule(ANYBODY, answered(415)),
    "logOutByLink": Rule(ANYBODY),
    "logOut": Rule(ANYBODY),
    "getMfeConfig": Rule(ANYBODY),
    # Operations.
    "getLiveness": Rule(ANYBODY),
    "getReadiness": Rule(ANYBODY),
    "getMetrics": Rule(ANYBODY),
    "getOpenApi": Rule(ANYBODY),
    "getAsyncApi": Rule(ANYBODY),
    "getDocs": Rule(ANYBODY),
}
