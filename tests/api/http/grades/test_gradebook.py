"""The gradebook: who is on it, what stands in a row, and who may see it."""

import base64
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.api.http.grades.classroom import Caller, Classroom, an_override, problem
from tests.api.http.site import serving

UNKNOWN = "course-v1:Nowhere+None+2026"


@pytest.fixture
def people(physics: Classroom) -> Classroom:
    """Four learners; dan is in the masters track."""
    physics.learner("ann", email="ann@example.org", full_name="Ann A.")
    physics.learner("ben", email="ben@school.example", full_name="Ben B.")
    physics.learner("cid", "verified")
    keys = {physics.course_id: "STU-0042"}
    physics.learner(
        "dan", "masters", email="dan@example.org", full_name="Dan D.", external_user_keys=keys
    )
    physics.score("ann", "p1", 5, 5)
    physics.score("ann", "q1", 9, 10)
    physics.score("ben", "p3", 5, 10)
    return physics


def test_a_whole_row(people: Classroom) -> None:
    response = people.teacher.gradebook()
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    page = response.json()
    assert list(page) == [
        *("next", "previous", "results", "total_users_count", "filtered_users_count")
    ]
    ann = page["results"][0]
    entries = ann.pop("section_breakdown")
    assert ann == {
        "user_id": ann["user_id"],
        "username": people.name("ann"),
        "full_name": "",
        "email": "",
        "percent": 0.71,
        "profile_name": "Ann A.",
        "course_id": people.course_id,
        "passed": True,
        "letter_grade": "B",
        "progress_page_url": f"{people.site.url}/courses/{people.course_id}/progress"
        f"/{ann['user_id']}/",
    }
    assert entries[0] == {
        "are_grades_published": True,
        "attempted": True,
        "auto_grade": False,
        "category": "Homework",
        "chapter_name": "One",
        "comment": "",
        "detail": "",
        "displayed_value": "0.83",
        "grade_description": "(5.00/6.00)",
        "is_ag": False,
        "is_average": False,
        "is_manually_graded": False,
        "label": "HW 01",
        "module_id": people.cell("hw1"),
        "percent": 0.8333,
        "score_earned": 5.0,
        "score_possible": 6.0,
        "section_block_id": people.cell("hw1"),
        "subsection_name": "hw1",
    }
    assert [(e["label"], e["attempted"], e["score_possible"]) for e in entries] == [
        ("HW 01", True, 6.0),
        ("HW 02", False, 0.0),
        ("Ex 01", True, 10.0),
    ]


def test_what_only_the_masters_track_shows(people: Classroom) -> None:
    rows = people.teacher.gradebook().json()["results"]
    assert [row["email"] for row in rows] == ["", "", "", "dan@example.org"]
    assert [row["full_name"] for row in rows] == ["", "", "", "Dan D."]
    assert [row.get("external_user_key") for row in rows] == [None, None, None, "STU-0042"]
    assert "external_user_key" not in rows[0]
    assert rows[2]["profile_name"] is None


def test_one_learner_is_an_object_and_filters_do_not_matter(people: Classroom) -> None:
    found = people.teacher.gradebook(
        username=people.name("dan"), user_contains="nobody", cohort_id="x"
    )
    assert found.status_code == 200
    dan = found.json()
    assert dan["username"] == people.name("dan")
    assert dan["full_name"] == "Dan D."
    assert dan["email"] == ""
    assert len(dan["section_breakdown"]) == 3


def test_who_has_left_is_found_by_name_only(people: Classroom) -> None:
    people.leave("ann")
    assert people.teacher.names() == ["ben", "cid", "dan"]
    assert people.teacher.gradebook(username=people.name("ann")).json()["percent"] == 0.71


def test_learners_who_are_not_there(people: Classroom) -> None:
    people.register("zoe")
    assert problem(people.teacher.gradebook(username="nobody")) == (
        404,
        "user_does_not_exist",
        "The user matching the requested username does not exist.",
    )
    assert problem(people.teacher.gradebook(username=people.name("zoe"))) == (
        404,
        "user_not_enrolled",
        "The user matching the requested username is not enrolled in this course",
    )


def test_an_empty_name_is_no_name(people: Classroom) -> None:
    assert people.teacher.names(username="") == ["ann", "ben", "cid", "dan"]


def test_subsections_for_staff_only_are_left_out_and_hidden_ones_are_not(room: Classroom) -> None:
    room.publish(
        room.blocks(
            hw1={"visible_to_staff_only": True},
            hw2={"hide_from_toc": True},
            exam={"start": "2999-01-01T00:00:00Z"},
        )
    )
    room.learner("ann")
    (ann,) = room.teacher.gradebook().json()["results"]
    assert [e["subsection_name"] for e in ann["section_breakdown"]] == ["hw2", "exam"]
    assert [e["label"] for e in ann["section_breakdown"]] == ["HW 01", "Ex 01"]


def test_a_format_that_the_policy_does_not_know_has_no_label(room: Classroom) -> None:
    room.publish(room.blocks(hw1={"format": "Essay"}))
    room.learner("ann")
    (ann,) = room.teacher.gradebook().json()["results"]
    found = [(e["category"], e["label"]) for e in ann["section_breakdown"]]
    assert found == [("Essay", None), ("Homework", "HW 01"), ("Exam", "Ex 01")]


def test_a_new_layout_is_shown_at_once(people: Classroom) -> None:
    before = people.teacher.gradebook()
    people.publish(people.blocks(hw1={"display_name": "First homework"}))
    after = people.teacher.gradebook()
    assert after.headers["ETag"] != before.headers["ETag"]
    (name, *_) = [e["subsection_name"] for e in after.json()["results"][0]["section_breakdown"]]
    assert name == "First homework"


# --- filters ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"user_contains": "ANN"}, ["ann"]),
        ({"user_contains": "example.ORG"}, ["ann", "dan"]),
        ({"user_contains": "stu-00"}, ["dan"]),
        ({"user_contains": ""}, ["ann", "ben", "cid", "dan"]),
        ({"user_contains": "%"}, []),
        ({"username_contains": "N-"}, ["ann", "ben", "dan"]),
        ({"username_contains": "example"}, []),
        ({"enrollment_mode": "verified"}, ["cid"]),
        ({"enrollment_mode": "VERIFIED"}, []),
        ({"enrollment_mode": ""}, ["ann", "ben", "cid", "dan"]),
        ({"course_grade_min": "50"}, ["ann"]),
        ({"course_grade_max": "70"}, ["ben", "cid", "dan"]),
        ({"course_grade_min": "0", "course_grade_max": "70"}, ["ben", "cid", "dan"]),
        ({"course_grade_min": "1", "course_grade_max": "70"}, ["ben"]),
        ({"course_grade_min": "71", "course_grade_max": "71"}, ["ann"]),
        ({"user_contains": "a", "enrollment_mode": "masters"}, ["dan"]),
        ({"unheard_of": "1"}, ["ann", "ben", "cid", "dan"]),
    ],
)
def test_filters(people: Classroom, query: dict[str, str], names: list[str]) -> None:
    assert people.teacher.names(**query) == names
    page = people.teacher.gradebook(**query).json()
    assert page["total_users_count"] == 4
    assert page["filtered_users_count"] == len(names)


@pytest.mark.parametrize(
    ("subsection", "query", "names"),
    [
        ("hw1", {"assignment_grade_min": "0"}, ["ann"]),
        ("hw1", {"assignment_grade_min": "83.3", "assignment_grade_max": "83.4"}, ["ann"]),
        ("hw1", {"assignment_grade_min": "83.34"}, []),
        ("hw2", {"assignment_grade_max": "50"}, ["ben"]),
        ("hw2", {"assignment_grade_max": "49.9"}, []),
        ("hw2", {}, ["ann", "ben", "cid", "dan"]),
        ("hw2", {"assignment_grade_min": "", "assignment_grade_max": ""}, None),
        ("elsewhere", {"assignment_grade_min": "0"}, []),
    ],
)
def test_the_grade_of_one_assignment(
    people: Classroom, subsection: str, query: dict[str, str], names: list[str] | None
) -> None:
    found = people.teacher.names(assignment=people.cell(subsection), **query)
    assert found == (["ann", "ben", "cid", "dan"] if names is None else names)


def test_bounds_without_an_assignment_mean_nothing(people: Classroom) -> None:
    assert len(people.teacher.names(assignment_grade_min="99")) == 4
    assert len(people.teacher.names(assignment_grade_min="x")) == 4
    assert len(people.teacher.names(assignment="nonsense")) == 4


def test_an_override_alone_counts_where_there_is_one(people: Classroom) -> None:
    ann = people.teacher.gradebook(username=people.name("ann")).json()["user_id"]
    cell = people.cell("hw1")
    people.teacher.bulk(an_override(ann, cell, earned_graded_override=3))
    assert people.teacher.names(assignment=cell, assignment_grade_max="50") == ["ann"]
    people.teacher.bulk(an_override(ann, cell, earned_graded_override=None))
    assert people.teacher.names(assignment=cell, assignment_grade_min="0") == []


def test_cohorts(people: Classroom) -> None:
    some, none = people.cohort("some", "ann", "dan"), people.cohort("none")
    assert people.teacher.names(cohort_id=some) == ["ann", "dan"]
    page = people.teacher.gradebook(cohort_id=none)
    assert (page.status_code, page.json()["results"]) == (200, [])
    gone = (404, None, "CourseUserGroup matching query does not exist.")
    assert problem(people.teacher.gradebook(cohort_id=99999)) == gone
    assert problem(people.teacher.gradebook(cohort_id="some")) == gone
    assert people.teacher.names(cohort_id="") == ["ann", "ben", "cid", "dan"]


def test_roles_on_this_very_course_exclude(people: Classroom) -> None:
    people.role("ann", "staff")
    people.role("ben", "beta_testers")
    people.role("cid", "staff", org=people.org)
    ask = people.teacher.names
    assert ask(excluded_course_roles="all") == ["cid", "dan"]
    assert ask(excluded_course_roles="staff") == ["ben", "cid", "dan"]
    assert ask(excluded_course_roles=["staff", "beta_testers"]) == ["cid", "dan"]
    assert ask(excluded_course_roles=["staff", "all"]) == ["cid", "dan"]
    assert ask(excluded_course_roles=["staff", ""]) == ["ann", "ben", "cid", "dan"]
    assert ask(excluded_course_roles=["", "staff"]) == ["ben", "cid", "dan"]
    assert ask(excluded_course_roles="magician") == ["ann", "ben", "cid", "dan"]
    page = people.teacher.gradebook(excluded_course_roles="all").json()
    assert (page["total_users_count"], page["filtered_users_count"]) == (4, 2)


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("course_grade_min", {"course_grade_min": "x"}),
        ("course_grade_max", {"course_grade_max": "nan"}),
        ("assignment", {"assignment": "nonsense", "assignment_grade_min": "1"}),
    ],
)
def test_values_that_cannot_be_understood(
    people: Classroom, name: str, query: dict[str, str]
) -> None:
    response = people.teacher.gradebook(**query)
    assert problem(response)[0] == 400
    assert list(response.json()["field_errors"]) == [name]
    assert response.json()["field_errors"][name]["developer_message"]


def test_a_bound_that_is_no_number(people: Classroom) -> None:
    response = people.teacher.gradebook(assignment=people.cell("hw1"), assignment_grade_max="many")
    assert list(response.json()["field_errors"]) == ["assignment_grade_max"]


def test_null_characters_are_refused(people: Classroom) -> None:
    response = people.teacher.get(f"/gradebook/{people.course_id}/?user_contains=a%00b")
    assert problem(response) == (400, None, "Null characters are not allowed.")


# --- pages ------------------------------------------------------------------------------------


def cursor_of(address: str) -> str:
    (cursor,) = parse_qs(urlsplit(address).query)["cursor"]
    return base64.b64decode(cursor).decode()


def follow(room: Classroom, address: str) -> Any:
    """What a client gets that follows an address as it is."""
    found = room.site.client.get(address, headers=room.teacher.site.headers)
    assert found.status_code == 200, found.text
    return found.json()


def names_of(page: Any) -> list[str]:
    return [row["username"].rpartition("-")[0] for row in page["results"]]


def test_forward_and_back_again(people: Classroom) -> None:
    first = people.teacher.gradebook(page_size=2, excluded_course_roles="all").json()
    assert names_of(first) == ["ann", "ben"]
    assert first["previous"] is None
    second = follow(people, first["next"])
    assert names_of(second) == ["cid", "dan"]
    assert second["next"] is None
    assert second["total_users_count"] == 4
    back = follow(people, second["previous"])
    assert names_of(back) == ["ann", "ben"]
    assert back["previous"] is None
    assert names_of(follow(people, back["next"])) == ["cid", "dan"]


def test_addresses_are_absolute_sorted_and_keep_what_was_asked(people: Classroom) -> None:
    response = people.teacher.get(
        f"/gradebook/{people.course_id}/"
        "?user_contains=&page_size=1&excluded_course_roles=b&excluded_course_roles=a&x=%C3%BC"
    )
    address = response.json()["next"]
    start = f"{people.site.url}/api/grades/v1/gradebook/{people.course_id}/?cursor=cD0"
    assert address.startswith(start)
    assert address.endswith(
        "&excluded_course_roles=b&excluded_course_roles=a&page_size=1&user_contains=&x=%C3%BC"
    )
    assert "%3D" in address or "=" not in address.split("cursor=")[1].split("&")[0]


def test_a_middle_page_leads_both_ways(people: Classroom) -> None:
    first = people.teacher.gradebook(page_size=1).json()
    second = follow(people, first["next"])
    after_first, before_second = cursor_of(first["next"]), cursor_of(second["previous"])
    assert after_first.startswith("p=")
    assert before_second.startswith("r=1&p=")
    third = follow(people, second["next"])
    assert names_of(third) == ["cid"]
    back = follow(people, third["previous"])
    assert names_of(back) == ["ben"]
    assert names_of(follow(people, back["previous"])) == ["ann"]
    assert names_of(follow(people, back["next"])) == ["cid"]


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_cursors_of_the_peer_are_understood(people: Classroom) -> None:
    assert people.teacher.names(cursor=encoded("o=1"), page_size=2) == ["ben", "cid"]
    assert people.teacher.names(cursor=encoded("r=1"), page_size=2) == ["cid", "dan"]
    assert people.teacher.names(cursor=encoded("o=1000&p=0"), page_size=2) == []
    assert people.teacher.names(cursor="", page_size=1) == ["ann"]


@pytest.mark.parametrize(
    "cursor", ["x", encoded("p=x"), encoded("o=x"), encoded("r=x"), encoded("o=-1"), "ü"]
)
def test_a_cursor_that_is_none(people: Classroom, cursor: str) -> None:
    found = problem(people.teacher.gradebook(cursor=cursor))
    if cursor == "x":
        assert found == (404, None, "Invalid cursor")
    assert found[0] == 404


@pytest.mark.parametrize("size", ["0", "-3", "many", "", "9" * 5000])
def test_a_size_that_is_none_is_fifty(people: Classroom, size: str) -> None:
    assert len(people.teacher.names(page_size=size)) == 4


def test_a_page_has_a_largest_size(people: Classroom) -> None:
    assert len(people.teacher.names(page_size=str(10**30))) == 4


def test_an_empty_course(physics: Classroom) -> None:
    assert physics.teacher.gradebook().json() == {
        "next": None,
        "previous": None,
        "results": [],
        "total_users_count": 0,
        "filtered_users_count": 0,
    }


# --- rights and the order of checks -----------------------------------------------------------


def test_who_may_see_it(physics: Classroom) -> None:
    for name in ("ann", "prof", "helper", "dean", "tester", "gone"):
        physics.register(name)
    physics.role("prof", "instructor")
    physics.role("helper", "limited_staff")
    physics.role("dean", "staff", org=physics.org)
    physics.role("tester", "beta_testers")
    physics.role("gone", "staff")
    physics.register("gone", is_active=False)
    seen = {
        name: physics.caller(name).gradebook().status_code
        for name in ("ann", "prof", "helper", "dean", "tester", "gone")
    }
    assert seen == {
        "ann": 403,
        "prof": 200,
        "helper": 200,
        "dean": 200,
        "tester": 403,
        "gone": 403,
    }
    physics.register("boss", is_staff=True)
    assert physics.caller("boss").gradebook().status_code == 200
    assert problem(physics.caller("ann").gradebook()) == (
        403,
        "user_permissions",
        "The requesting user does not have course author permissions.",
    )


def test_roles_elsewhere_give_nothing_here(physics: Classroom, room: Classroom) -> None:
    other = Classroom(physics.school, physics.site)
    other.publish()
    physics.register("prof")
    physics.role("prof", "staff", course_id=other.course_id)
    physics.role("prof", "staff", org="SomebodyElse")
    assert physics.caller("prof").gradebook().status_code == 403
    claims = {"course_roles": {"staff": [other.course_id]}}
    assert physics.caller("prof", **claims).gradebook().status_code == 403


def test_which_refusal_wins(room: Classroom) -> None:
    room.publish(flags={"writable_gradebook": False})
    ann, path = room.caller("ann"), f"/gradebook/{room.course_id}/"
    assert problem(room.nobody.get("/gradebook/a+b+c/"))[0] == 401
    assert problem(ann.get("/gradebook/a+b+c/")) == (
        404,
        "invalid_course_key",
        "The provided course key cannot be parsed.",
    )
    assert problem(ann.get(f"/gradebook/{UNKNOWN}/")) == (
        404,
        "course_does_not_exist",
        f"Requested grade for unknown course {UNKNOWN}",
    )
    assert problem(ann.get(path)) == (
        403,
        "feature_not_enabled",
        "The writable gradebook feature is not enabled for this course.",
    )
    assert problem(room.root.get(path))[1] == "feature_not_enabled"
    room.publish(flags={"writable_gradebook": True})
    assert problem(ann.get(path))[1] == "user_permissions"
    assert room.root.get(path).status_code == 200


@pytest.mark.parametrize(
    ("method", "rest"), [("GET", ""), ("GET", "/grading-info"), ("POST", "/bulk-update")]
)
def test_courses_of_the_older_form(physics: Classroom, method: str, rest: str) -> None:
    for slash in ("", "/"):
        found = physics.root.send(method, f"/gradebook/Old/Course/Run{rest}{slash}")
        assert problem(found) == (
            404,
            "course_does_not_exist",
            "Requested grade for unknown course Old/Course/Run",
        )


def test_nobody_is_told_so_without_a_challenge(physics: Classroom) -> None:
    response = physics.nobody.gradebook()
    assert problem(response) == (401, None, "Incorrect authentication credentials.")
    assert "www-authenticate" not in response.headers
    bad = physics.nobody.send(
        "GET", f"/gradebook/{physics.course_id}/", headers={"Authorization": "JWT x"}
    )
    assert problem(bad)[0] == 401


def test_other_methods(physics: Classroom) -> None:
    path = f"/gradebook/{physics.course_id}/"
    refused = physics.teacher.send("PUT", path)
    assert problem(refused) == (405, None, 'Method "PUT" not allowed.')
    assert refused.headers["allow"] == "GET, HEAD, OPTIONS"
    assert physics.teacher.gradebook().status_code == 200
    head = physics.teacher.send("HEAD", path)
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) > 2


# --- tags and positions -----------------------------------------------------------------------


def test_a_tag_stands_until_something_of_the_course_changes(people: Classroom) -> None:
    path = f"/gradebook/{people.course_id}/"
    first = people.teacher.get(path)
    tag = {"If-None-Match": first.headers["ETag"]}
    same = people.teacher.send("GET", path, headers=tag)
    assert (same.status_code, same.content) == (304, b"")
    assert people.teacher.send("GET", path + "?page_size=2", headers=tag).status_code == 200
    other = Classroom(people.school, people.site)
    other.publish()
    assert people.teacher.send("GET", path, headers=tag).status_code == 304
    people.score("cid", "p3", 10, 10)
    read = {**tag, "X-Min-Log-Position": str(people.site.head())}
    changed = people.teacher.send("GET", path, headers=read)
    assert changed.status_code == 200
    assert changed.json()["results"][2]["percent"] == 0.2
    assert int(changed.headers["X-Log-Position"]) >= int(read["X-Min-Log-Position"])


def test_a_new_name_changes_the_tag(people: Classroom) -> None:
    before = people.teacher.gradebook()
    people.register("ann", full_name="Ann Other")
    after = people.teacher.gradebook()
    assert after.headers["ETag"] != before.headers["ETag"]
    assert after.json()["results"][0]["profile_name"] == "Ann Other"


def test_a_position_that_is_none(people: Classroom) -> None:
    response = people.teacher.send(
        "GET", f"/gradebook/{people.course_id}/", headers={"X-Min-Log-Position": "x"}
    )
    assert problem(response)[0] == 400


def test_what_cannot_be_seen_in_time_is_not_available(people: Classroom) -> None:
    teacher = people.teacher
    far = {"X-Min-Log-Position": str(people.site.head() + 1000)}
    with serving(teacher.site.dsn, teacher.site.config, wait=0.5) as site:
        hurried = replace(site, headers=teacher.site.headers)
        response = Caller(people, hurried).send(
            "GET", f"/gradebook/{people.course_id}/", headers=far
        )
    assert problem(response)[0] == 503
    assert response.headers["Retry-After"] == "1"
