"""What a course may say about itself and how it is graded."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from domain.courses.details import check_details, check_flags, check_modes
from domain.courses.fields import Faults
from domain.courses.policy import check_policy, policy_hash

HOMEWORK = {"type": "Homework", "min_count": 4, "drop_count": 1, "weight": 0.4}


def kinds(faults: Faults) -> list[tuple[Any, ...]]:
    return [(*fault.loc, fault.kind) for fault in faults.found]


def policy_faults(graders: Any, cutoffs: Any) -> list[tuple[Any, ...]]:
    faults = Faults()
    check_policy(faults, {"graders": graders, "cutoffs": cutoffs})
    return [(*place[1:],) for place in kinds(faults)]


def test_times_are_utc_whatever_their_offset() -> None:
    faults = Faults()
    east = datetime(2026, 3, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    details = check_details(faults, "A course", "2026-03-01T00:00", east, True)
    assert details.start == details.end == datetime(2026, 3, 1, tzinfo=UTC)
    assert details.start is not None
    assert details.start.tzinfo is UTC
    assert not faults.found


def test_all_that_is_wrong_is_noted() -> None:
    faults = Faults()
    check_details(faults, " ", "soon", 4, "no")
    check_flags(faults, {"bulk_management": 1, "fast": True})
    check_modes(faults, [{"slug": "audit"}, {"slug": "audit", "price": 4}, {}])
    assert kinds(faults) == [
        ("display_name", "blank"),
        ("start", "datetime"),
        ("end", "datetime"),
        ("self_paced", "bool_type"),
        ("flags", "fast", "unknown"),
        ("flags", "bulk_management", "bool_type"),
        ("modes", 1, "price", "unknown"),
        ("modes", 1, "slug", "duplicate"),
        ("modes", 2, "slug", "string_type"),
    ]


def test_a_mode_is_called_by_its_slug_and_ends_in_utc() -> None:
    faults = Faults()
    assert check_modes(faults, [{"slug": "audit", "expired_at": "2026-03-01"}]) == [
        {"slug": "audit", "name": "audit", "expired_at": "2026-03-01T00:00:00.000000Z"}
    ]
    assert not faults.found


def test_a_policy_keeps_the_keys_it_was_given() -> None:
    faults = Faults()
    given = [{**HOMEWORK, "min_count": 4.0, "short_label": "", "id": 0, "note": "x", "gone": None}]
    policy = check_policy(faults, {"graders": given, "cutoffs": {"Pass": 1}})
    assert policy.graders == [{**HOMEWORK, "min_count": 4, "short_label": "", "id": 0, "note": "x"}]
    assert policy.cutoffs == {"Pass": 1.0}
    assert not faults.found


def test_the_hash_is_that_of_the_peer() -> None:
    # printf '{"GRADER":[{"type":"A","weight":0.5}],"GRADE_CUTOFFS":{"Pass":0.5}}' |
    # openssl sha1 -binary | base64
    assert policy_hash([{"weight": 0.5, "type": "A"}], {"Pass": 0.5}) == (
        "J47f0w8SaF/32AUtuBtvUTGBp8E="
    )


@pytest.mark.parametrize(
    ("grader", "place"),
    [
        ({"min_count": -1}, (0, "min_count", "range")),
        ({"min_count": 1.5}, (0, "min_count", "int_type")),
        ({"min_count": 10**6}, (0, "min_count", "range")),
        ({"drop_count": "1"}, (0, "drop_count", "float_type")),
        ({"weight": float("nan")}, (0, "weight", "range")),
        ({"weight": True}, (0, "weight", "float_type")),
        ({"type": ""}, (0, "type", "blank")),
        ({"type": None}, (0, "type", "required")),
        ({"short_label": 5}, (0, "short_label", "string_type")),
        ({"hide_average": "no"}, (0, "hide_average", "bool_type")),
        ({"extra": [1]}, (0, "extra", "float_type")),
    ],
)
def test_bad_graders_are_refused(grader: dict[str, Any], place: tuple[Any, ...]) -> None:
    assert policy_faults([{**HOMEWORK, **grader}], {}) == [("graders", *place)]


def test_types_are_unique_and_cutoffs_are_fractions() -> None:
    assert policy_faults([HOMEWORK, HOMEWORK], {"A": 1.1, "": 0.5, "B": None}) == [
        ("graders", 1, "type", "duplicate"),
        ("cutoffs", "A", "range"),
        ("cutoffs", "", "blank"),
        ("cutoffs", "B", "float_type"),
    ]
    assert policy_faults("none", None) == [("graders", "list_type"), ("cutoffs", "object_type")]


def test_a_policy_needs_both_its_parts() -> None:
    faults = Faults()
    check_policy(faults, {"grader": []})
    assert kinds(faults) == [
        ("grading_policy", "grader", "unknown"),
        ("grading_policy", "graders", "required"),
        ("grading_policy", "cutoffs", "required"),
    ]
