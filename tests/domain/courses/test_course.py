"""What publishing a course writes: what changed, and nothing else."""

from datetime import UTC, datetime
from typing import Any

from domain.application import rebuild
from domain.courses.course import (
    Course,
    Details,
    Flags,
    Outline,
    Policy,
    course_stream,
)
from domain.courses.history import course_past
from domain.events import Event, fields_of
from tests import facts
from tests.facts import COURSE, NOON

DETAILS = Details("Demo", NOON, None, self_paced=False)


def given(*events: Event) -> Course:
    course = rebuild(events) if events else Course.empty(course_stream(COURSE), NOON)
    assert isinstance(course, Course)
    return course


def then(course: Course) -> list[dict[str, Any]]:
    return [told(event) for event in course.collect_events()]


def told(event: Any) -> dict[str, Any]:
    names = [name for name in fields_of(type(event)) if name != "timestamp"]
    return {"type": type(event).TOPIC} | {name: getattr(event, name) for name in names}


def test_a_course_is_registered_when_it_is_published_first() -> None:
    course = given()
    assert course.describe(COURSE, "Demo", DETAILS, at=NOON) == "registered"
    assert then(course) == [told(facts.course_registered())]


def test_the_first_event_of_a_stream_can_be_any() -> None:
    for event in (
        facts.course_flags_changed(),
        facts.course_modes_changed(),
        facts.course_outline_published(),
        facts.grading_policy_changed(),
        facts.course_details_changed(),
    ):
        course = given(event)
        assert (course.id, course.version) == (course_stream(COURSE), 1)


def test_other_details_are_one_event() -> None:
    course = given(facts.course_registered())
    assert course.describe(COURSE, "Demo", DETAILS, at=NOON) is None
    later = DETAILS._replace(end=datetime(2026, 9, 1, tzinfo=UTC))
    assert course.describe(COURSE, "Demo", later, at=NOON) == "details"
    assert then(course) == [told(facts.course_details_changed(end=later.end))]


def test_flags_are_told_all_and_changed_one_by_one() -> None:
    course = given(facts.course_registered())
    assert course.set_flags(COURSE, {"writable_gradebook": True}, at=NOON) is None
    assert course.set_flags(COURSE, {"bulk_management": True}, at=NOON) == "flags"
    assert course.set_flags(COURSE, {"freeze_after_end": True}, at=NOON) == "flags"
    assert then(course) == [
        told(facts.course_flags_changed()),
        told(facts.course_flags_changed(freeze_after_end=True)),
    ]
    assert course.flags == Flags(bulk_management=True, freeze_after_end=True)


def test_modes_change_only_when_they_are_others() -> None:
    course = given(facts.course_registered())
    modes = facts.course_modes_changed().modes
    assert course.set_modes(COURSE, [], at=NOON) is None
    assert course.set_modes(COURSE, modes, at=NOON) == "modes"
    assert course.set_modes(COURSE, list(modes), at=NOON) is None
    assert then(course) == [told(facts.course_modes_changed())]


def test_outline_and_policy_change_with_their_digests() -> None:
    course = given(
        facts.course_registered(),
        facts.course_outline_published(originator_version=2),
        facts.grading_policy_changed(originator_version=3),
    )
    policy = facts.grading_policy_changed()
    same = Policy(policy.graders, policy.cutoffs, "policy 1")
    assert course.publish_outline(COURSE, Outline("version 1", []), at=NOON) is None
    assert course.change_policy(COURSE, same, at=NOON) is None
    assert course.publish_outline(COURSE, Outline("version 2", []), at=NOON) == "outline"
    other = same._replace(policy_hash="policy 2")
    assert course.change_policy(COURSE, other, at=NOON) == "grading_policy"
    assert then(course) == [
        told(facts.course_outline_published(version="version 2", blocks=[])),
        told(facts.grading_policy_changed(policy_hash="policy 2")),
    ]


def test_the_past_of_a_course_is_a_fold_of_its_events() -> None:
    events = [
        facts.course_registered(),
        facts.course_outline_published(),
        facts.grading_policy_changed(),
        facts.course_modes_changed(),
        facts.course_flags_changed(),
        facts.course_details_changed(display_name="Drawing"),
        facts.course_outline_published(version="version 2", timestamp=facts.at(5)),
    ]
    assert course_past([]).details is None
    first = course_past(events[:1])
    assert (first.course_id, first.org, first.details) == (COURSE, "Demo", DETAILS)
    assert (first.flags, first.graders, first.version) == (Flags(), None, None)
    whole = course_past(events)
    assert whole.details == DETAILS._replace(display_name="Drawing")
    assert whole.flags == Flags(bulk_management=True)
    assert whole.modes == facts.course_modes_changed().modes
    assert (whole.version, whole.edited_at) == ("version 2", facts.at(5))
    assert (whole.policy_hash, whole.cutoffs) == ("policy 1", {"Pass": 0.5})
    assert [b["type"] for b in whole.blocks][:3] == ["course", "chapter", "sequential"]
