"""Course grades and grading policies."""

import jwt
import pytest

from tests.api.http.grades.classroom import Classroom, problem
from tests.api.http.site import SECRET

UNKNOWN = "course-v1:Nowhere+None+2026"


@pytest.fixture
def graded(physics: Classroom) -> Classroom:
    """Ann has passed, Ben has tried, Cid has not."""
    for name in ("ann", "ben", "cid"):
        physics.learner(name)
    physics.score("ann", "q1", 9, 10)
    physics.score("ann", "p3", 10, 10)
    physics.score("ben", "p3", 1, 10)
    return physics


def test_everybodys_grades(graded: Classroom) -> None:
    response = graded.root.get(f"/courses/{graded.course_id}/")
    assert response.status_code == 200
    assert list(response.json()) == ["next", "previous", "results"]
    assert response.json() == {
        "next": None,
        "previous": None,
        "results": [
            {
                "username": graded.name("ann"),
                "email": "",
                "course_id": graded.course_id,
                "passed": True,
                "percent": 0.74,
                "letter_grade": "B",
            },
            {
                "username": graded.name("ben"),
                "email": "",
                "course_id": graded.course_id,
                "passed": False,
                "percent": 0.02,
                "letter_grade": None,
            },
            {
                "username": graded.name("cid"),
                "email": "",
                "course_id": graded.course_id,
                "passed": False,
                "percent": 0.0,
                "letter_grade": None,
            },
        ],
    }
    assert list(response.json()["results"][0]) == [
        *("username", "email", "course_id", "passed", "percent", "letter_grade")
    ]


@pytest.mark.parametrize("form", ["/courses/{}/", "/courses/{}", "/courses/?course_id={}"])
@pytest.mark.parametrize("escape", [True, False])
def test_all_forms_of_the_address_are_one(graded: Classroom, form: str, *, escape: bool) -> None:
    course_id = graded.course_id
    if escape:
        course_id = course_id.replace("+", "%2B").replace(":", "%3A")
    found = graded.root.get(form.format(course_id))
    assert len(found.json()["results"]) == 3


def test_the_query_counts_only_without_a_course_in_the_path(graded: Classroom) -> None:
    path = f"/courses/{graded.course_id}/"
    assert len(graded.root.get(path, course_id=UNKNOWN).json()["results"]) == 3


def test_a_learners_own_grade_is_an_array_of_one(graded: Classroom) -> None:
    found = graded.caller("ann").get(f"/courses/{graded.course_id}/", username=graded.name("ann"))
    assert found.status_code == 200
    assert [item["percent"] for item in found.json()] == [0.74]


@pytest.mark.parametrize("caller", ["ben", "prof"])
def test_the_grades_of_others_are_for_global_staff(graded: Classroom, caller: str) -> None:
    path = f"/courses/{graded.course_id}/"
    who = graded.teacher if caller == "prof" else graded.caller(caller)
    refused = (403, None, "You do not have permission to perform this action.")
    assert problem(who.get(path, username=graded.name("ann"))) == refused
    assert problem(who.get(path)) == refused
    assert problem(who.get(path, username="")) == refused


def test_rights_come_before_everything_else(graded: Classroom) -> None:
    ben = graded.caller("ben")
    assert ben.get("/courses/a+b+c/").status_code == 403
    assert ben.get(f"/courses/{UNKNOWN}/").status_code == 403
    assert problem(ben.get(f"/courses/{UNKNOWN}/", username=graded.name("ben")))[0] == 404


def test_the_own_name_in_another_case_is_allowed_and_unknown(graded: Classroom) -> None:
    found = graded.caller("ann").get(
        f"/courses/{graded.course_id}/", username=graded.name("ann").upper()
    )
    assert problem(found) == (
        404,
        "user_does_not_exist",
        "The user matching the requested username does not exist.",
    )


@pytest.mark.parametrize("path", ["/courses/a+b+c/", "/courses/", "/courses/?course_id=nonsense"])
def test_a_key_that_is_none(graded: Classroom, path: str) -> None:
    assert problem(graded.root.get(path)) == (
        404,
        "invalid_course_key",
        "The provided course key cannot be parsed.",
    )


def test_a_course_that_nobody_published(graded: Classroom) -> None:
    assert problem(graded.root.get(f"/courses/{UNKNOWN}/")) == (
        404,
        "course_does_not_exist",
        f"Requested grade for unknown course {UNKNOWN}",
    )


def test_a_path_without_a_course_is_nowhere(graded: Classroom) -> None:
    assert problem(graded.root.get("/courses/nonsense/")) == (404, None, "Not found.")


def test_who_never_was_in_the_course(graded: Classroom) -> None:
    graded.register("zoe")
    path = f"/courses/{graded.course_id}/"
    assert problem(graded.root.get(path, username=graded.name("zoe"))) == (
        404,
        "user_not_enrolled",
        "The user matching the requested username is not enrolled in this course",
    )
    assert problem(graded.root.get(path, username="nobody"))[1] == "user_does_not_exist"


def test_who_has_left_is_found_by_name_only(graded: Classroom) -> None:
    graded.leave("ann")
    path = f"/courses/{graded.course_id}/"
    assert graded.root.get(path, username=graded.name("ann")).json()[0]["percent"] == 0.74
    assert len(graded.root.get(path).json()["results"]) == 2


def test_addresses_of_the_masters_track_are_in_lists_only(physics: Classroom) -> None:
    physics.learner("ann", "masters", email="ann@example.org")
    physics.learner("ben", "audit", email="ben@example.org")
    path = f"/courses/{physics.course_id}/"
    emails = [item["email"] for item in physics.root.get(path).json()["results"]]
    assert emails == ["ann@example.org", ""]
    assert physics.root.get(path, username=physics.name("ann")).json()[0]["email"] == ""


def test_a_course_without_learners(physics: Classroom) -> None:
    found = physics.root.get(f"/courses/{physics.course_id}/").json()
    assert found == {"next": None, "previous": None, "results": []}


def test_a_letter_at_zero_passes_whoever_has_a_stored_grade(room: Classroom) -> None:
    graders = [{"type": "Homework", "min_count": 1, "weight": 1.0}]
    room.publish(policy={"graders": graders, "cutoffs": {"A": 0.9, "F": 0}})
    room.learner("ann")
    room.learner("ben")
    room.score("ann", "p3", 0, 10)
    found = room.root.get(f"/courses/{room.course_id}/").json()["results"]
    assert [(item["letter_grade"], item["passed"]) for item in found] == [
        ("F", True),
        (None, False),
    ]


def test_a_restricted_application_needs_all_of_its_rights(graded: Classroom) -> None:
    path = f"/courses/{graded.course_id}/"
    own = {"username": graded.name("ann")}

    def status(filters: list[str], scopes: list[str], **more: str) -> int:
        token = graded.site.token(graded.name("ann"))
        claims = jwt.decode(token, SECRET, algorithms=["HS256"], options={"verify_aud": False})
        claims |= {"filters": filters, "scopes": scopes, "administrator": True}
        signed = jwt.encode(claims, SECRET, algorithm="HS256")
        read = {"X-Min-Log-Position": str(graded.site.head())}
        headers = {"Authorization": f"JWT {signed}", **read}
        return graded.nobody.send("GET", path, params={**own, **more}, headers=headers).status_code

    org = f"content_org:{graded.org}"
    assert status([org, "user:me"], ["grades:read"]) == 200
    assert status([org, "user:me"], []) == 403
    assert status(["content_org:Other", "user:me"], ["grades:read"]) == 403
    assert status([org], ["grades:read"]) == 403
    assert status(["user:me"], ["grades:read"]) == 403
    assert status([org, "user:me"], ["grades:read"], username=graded.name("ben")) == 403
    ann, ben = f"user:{graded.name('ann')}", f"user:{graded.name('ben')}"
    assert status([org, ann], ["grades:read"]) == 200
    assert status([org, ben], ["grades:read"]) == 403
    assert status([org, "user:me", ben], ["grades:read"]) == 403
    assert status([org, "other:thing"], ["grades:read"]) == 403
    assert status([org, ben], ["grades:read"], username=graded.name("ben")) == 200


def test_a_grade_as_it_was(graded: Classroom) -> None:
    path, own = f"/courses/{graded.course_id}/", {"username": graded.name("ann")}
    graded.root.get(path)
    then = graded.site.head()
    graded.score("ann", "p1", 5, 5)
    now = graded.root.get(path, **own)
    assert now.json()[0]["percent"] == 0.91
    past = graded.root.get(path, **own, as_of_position=then)
    assert [(i["percent"], i["letter_grade"], i["passed"]) for i in past.json()] == [
        (0.74, "B", True)
    ]
    assert past.headers["X-Log-Position"] == str(then)
    before = graded.root.get(path, **own, as_of="2020-01-01T00:00:00Z").json()
    assert [(i["percent"], i["letter_grade"]) for i in before] == [(0.0, None)]


def test_the_past_is_of_one_learner_and_of_one_moment(graded: Classroom) -> None:
    path, own = f"/courses/{graded.course_id}/", {"username": graded.name("ann")}
    assert list(graded.root.get(path, as_of_position=1).json()["field_errors"]) == [
        "as_of_position"
    ]
    assert problem(graded.root.get(path, **own, as_of="yesterday"))[0] == 400
    both = graded.root.get(path, **own, as_of="2020-01-01", as_of_position=1)
    assert problem(both)[0] == 400


# --- policy -----------------------------------------------------------------------------------


def test_the_policy_of_a_course(physics: Classroom) -> None:
    found = physics.teacher.get(f"/policy/courses/{physics.course_id}/")
    assert found.status_code == 200
    assert found.json() == [
        {"assignment_type": "Homework", "count": 2, "dropped": 0, "weight": 0.4},
        {"assignment_type": "Exam", "count": 1, "dropped": 0, "weight": 0.6},
    ]


def test_what_a_policy_does_not_say_is_null(room: Classroom) -> None:
    room.publish(policy={"graders": [{"type": "Lab", "weight": 1}], "cutoffs": {"Pass": 0.5}})
    found = room.root.get(f"/policy/courses/{room.course_id}/").json()
    assert found == [{"assignment_type": "Lab", "count": None, "dropped": None, "weight": 1}]


def test_a_course_without_a_policy_has_the_usual_one(room: Classroom) -> None:
    room.publish(policy=None)
    found = room.root.get(f"/policy/courses/{room.course_id}/").json()
    assert [grader["assignment_type"] for grader in found] == [
        *("Homework", "Lab", "Midterm Exam", "Final Exam")
    ]


def test_a_policy_that_the_caller_may_not_see_is_not_there(physics: Classroom) -> None:
    physics.learner("ann")
    gone = "The course does not exist."
    code = "user_or_course_does_not_exist"
    ann, prof, root = physics.caller("ann"), physics.teacher, physics.root
    own, other = f"/policy/courses/{physics.course_id}/", f"/policy/courses/{UNKNOWN}/"
    assert problem(ann.get(own)) == (403, code, gone)
    assert problem(prof.get(other)) == (403, code, gone)
    assert problem(root.get(other)) == (404, code, gone)
    assert problem(root.get("/policy/courses/a+b+c/")) == (
        400,
        "invalid_course_key",
        "The provided course key cannot be parsed.",
    )
    assert problem(ann.get("/policy/courses/a+b+c/"))[0] == 400


def test_limited_staff_see_the_policy(physics: Classroom) -> None:
    physics.register("tutor")
    tutor = physics.caller("tutor")
    path = f"/policy/courses/{physics.course_id}/"
    assert tutor.get(path).status_code == 403
    physics.role("tutor", "limited_staff")
    assert tutor.get(path).status_code == 200
