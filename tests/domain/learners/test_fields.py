"""Which values people may have."""

from typing import Any

import pytest

from domain.learners import fields
from domain.learners.errors import InvalidLearnerError
from domain.learners.user import Role
from tests.facts import COURSE


def faults(**values: Any) -> set[Any]:
    with pytest.raises(InvalidLearnerError) as refused:
        fields.user({"username": "anna", **values})
    return {fault.loc[0] for fault in refused.value.faults}


@pytest.mark.parametrize(
    "name", [None, "", " ", "a/b", "a\nb", "a\0b", "x" * 151, " anna", "anna ", 7, True, "\ud800"]
)
def test_no_such_username(name: Any) -> None:
    assert faults(username=name) == {"username"}


@pytest.mark.parametrize("name", ["anna", "a", "x" * 150, "anna.b@c+d-e_f", "Ängström", "李 明"])
def test_such_a_username(name: str) -> None:
    assert fields.user({"username": name}).username == name


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("user_id", 0),
        ("user_id", "7"),
        ("user_id", True),
        ("user_id", 2**53),
        ("user_id", 1.0),
        ("email", "nobody"),
        ("email", "a@b@c"),
        ("email", "a b@c"),
        ("email", "x" * 255 + "@c.org"),
        ("email", 7),
        ("full_name", "a\0b"),
        ("full_name", "\udcff"),
        ("full_name", "x" * 256),
        ("full_name", []),
        ("anonymous_ids", "abc"),
        ("anonymous_ids", [1]),
        ("anonymous_ids", [""]),
        ("anonymous_ids", ["x" * 256]),
        ("anonymous_ids", [str(n) for n in range(1001)]),
        ("external_user_keys", "K"),
        ("external_user_keys", {"not a course": "K"}),
        ("external_user_keys", {COURSE: None}),
        ("external_user_keys", {COURSE: 7}),
        ("external_user_keys", [COURSE]),
        ("external_user_keys", [{"course_id": COURSE}]),
        (
            "external_user_keys",
            [{"course_id": COURSE, "external_user_key": "K", "status": "gone"}],
        ),
        ("is_staff", "true"),
        ("is_staff", 1),
        ("is_active", 0),
    ],
)
def test_no_such_value_of_a_user(field: str, value: Any) -> None:
    assert faults(**{field: value}) == {field}


def test_all_bad_values_are_told_at_once() -> None:
    assert faults(user_id="x", email="x", is_staff="x") == {"user_id", "email", "is_staff"}


def test_names_may_have_any_space_and_empty_text_takes_away() -> None:
    found = fields.user({"username": "a", "full_name": "A\u00a0B", "email": ""})
    assert (found.full_name, found.email) == ("A\u00a0B", "")


def test_external_keys_come_by_course_or_as_a_list() -> None:
    listed = [
        {"course_id": COURSE, "external_user_key": "old"},
        {"course_id": COURSE, "external_user_key": "K", "status": "inactive"},
    ]
    assert fields.external_user_keys({COURSE: "K"}) == ((COURSE, "K", "active"),)
    assert fields.external_user_keys(listed) == ((COURSE, "K", "inactive"),)


def test_a_branch_is_no_part_of_a_course() -> None:
    assert fields.course_id(COURSE + "+branch@draft") == COURSE
    assert fields.course_id("Org/C/R") == "Org/C/R"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("course_id", None),
        ("course_id", "x"),
        ("course_id", 3),
        ("mode", ""),
        ("mode", "a b"),
        ("mode", 1),
        ("mode", "x" * 101),
        ("is_active", "yes"),
        ("enrolled_at", "yesterday"),
        ("enrolled_at", 5),
        ("enrolled_at", "0001-01-01T00:00:00+14:00"),
        ("username", None),
        ("username", ""),
    ],
)
def test_no_such_value_of_an_enrolment(field: str, value: Any) -> None:
    with pytest.raises(InvalidLearnerError) as refused:
        fields.enrollment({"username": "anna", "course_id": COURSE, field: value})
    assert {fault.loc[0] for fault in refused.value.faults} == {field}


def test_a_role_belongs_to_the_organisation_of_its_course() -> None:
    assert fields.role("beta", COURSE, None) == Role("Demo", COURSE, "beta_testers")
    assert fields.role("staff", None, "Demo") == Role("Demo", None, "staff")
    assert fields.role("support", None, None) == Role("", None, "support")
    for arguments in [("staff", COURSE, "Other"), ("king", COURSE, None), (None, "x", 7)]:
        with pytest.raises(InvalidLearnerError):
            fields.role(*arguments)
