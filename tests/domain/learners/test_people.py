"""The rules about one user, one enrolment and one cohort."""

from datetime import timedelta
from typing import Any

from domain.aggregate import EventSourced
from domain.application import rebuild
from domain.events import Event
from domain.learners.cohort import Cohort, Cohorting, CohortValues, cohorting_stream
from domain.learners.enrollment import Enrollment, enrollment_stream
from domain.learners.user import Role, User, UserChanges, user_stream
from tests import facts

NOW = facts.NOON
STAFF = Role("Demo", facts.COURSE, "staff")


def given(*events: Event) -> Any:
    return rebuild(events)


def then(aggregate: EventSourced) -> list[tuple[str, dict[str, Any]]]:
    """What happened: kinds without their context, and the fields that are not keys."""
    common = {"originator_id", "originator_version", "timestamp", "user_id"}
    return [
        (type(event).__name__, {n: v for n, v in vars(event).items() if n not in common})
        for event in aggregate.collect_events()
    ]


def test_the_streams_of_different_people_and_places_differ() -> None:
    assert len({user_stream(1), user_stream(11), enrollment_stream(1, "a"), user_stream(2)}) == 4
    assert enrollment_stream(1, "1a") != enrollment_stream(11, "a")


def test_a_user_registers_with_what_is_known() -> None:
    changes = UserChanges("sealed", None, ("b", "a"), ((facts.COURSE, "K1", "active"),), True)
    user = User.register(3, "cleo", changes, at=NOW)
    assert (user.id, user.user_id, user.is_active, user.is_staff) == (user_stream(3), 3, True, True)
    assert [kind for kind, _ in then(user)] == ["UserRegistered", "ProgramEnrollmentLinked"]
    assert user.anonymous_ids == ["a", "b"]


def test_what_is_so_already_is_no_event() -> None:
    user = given(
        facts.user_registered(email="sealed", anonymous_ids=["a"]),
        facts.program_enrollment_linked(originator_version=2),
    )
    linked = ((facts.COURSE, "key-1", "active"),)
    user.change(UserChanges("sealed", "", ("a",), linked, False, True), at=NOW)
    user.revoke(STAFF, at=NOW)
    assert then(user) == []


def test_each_change_of_a_user_is_an_event_of_its_own() -> None:
    user = given(facts.user_registered(email="old", full_name="name"))
    linked = ((facts.COURSE, "K", "inactive"),)
    user.change(UserChanges("", None, ("z",), linked, True, False), at=NOW)
    assert then(user) == [
        ("UserProfileChanged", {"email": None, "full_name": "name"}),
        ("AnonymousIdsChanged", {"anonymous_ids": ["z"]}),
        ("UserActivationChanged", {"is_active": False}),
        ("GlobalStaffChanged", {"is_staff": True}),
        (
            "ProgramEnrollmentLinked",
            {"course_id": facts.COURSE, "external_user_key": "K", "status": "inactive"},
        ),
    ]


def test_a_role_is_granted_once_and_revoked_once() -> None:
    user = given(facts.user_registered())
    for _ in range(2):
        user.grant(STAFF, at=NOW)
    user.grant(Role("Demo", None, "staff"), at=NOW)
    for _ in range(2):
        user.revoke(STAFF, at=NOW)
    assert [(kind, fields["course_id"]) for kind, fields in then(user)] == [
        ("CourseRoleGranted", facts.COURSE),
        ("CourseRoleGranted", None),
        ("CourseRoleRevoked", facts.COURSE),
    ]
    assert user.roles == {Role("Demo", None, "staff")}


def test_a_user_is_in_one_cohort_of_a_course() -> None:
    user = given(facts.user_registered(), facts.cohort_membership_changed(originator_version=2))
    assert user.move_to_cohort(facts.COURSE, 1, at=NOW) == 1
    assert user.move_to_cohort(facts.COURSE, 2, at=NOW) == 1
    assert user.move_to_cohort("another", 9, at=NOW) is None
    assert user.move_to_cohort(facts.COURSE, None, at=NOW) == 2
    assert [(f["cohort_id"], f["previous_cohort_id"]) for _, f in then(user)] == [
        (2, 1),
        (9, None),
        (None, 2),
    ]
    assert user.cohorts == {"another": 9}


def test_a_stream_may_begin_with_any_event_of_a_user() -> None:
    assert given(facts.course_role_granted()).roles == {STAFF}


def test_an_enrolment_is_left_and_taken_up_again_under_its_number() -> None:
    enrollment = given(facts.learner_enrolled(enrollment_id=7))
    later = NOW + timedelta(days=3)
    enrollment.change_mode("verified", at=NOW)
    enrollment.reenroll("verified", at=NOW)
    enrollment.unenroll(later, at=NOW)
    enrollment.unenroll(None, at=NOW)
    enrollment.change_mode("honor", at=NOW)
    enrollment.reenroll("masters", at=NOW)
    key = {"enrollment_id": 7, "course_id": facts.COURSE}
    assert then(enrollment) == [
        ("LearnerUnenrolled", key | {"unenrolled_at": later}),
        ("EnrollmentModeChanged", key | {"mode": "honor"}),
        ("LearnerReenrolled", key | {"mode": "masters"}),
    ]
    assert (enrollment.mode, enrollment.is_active) == ("masters", True)


def test_a_new_enrolment_begins_when_it_says() -> None:
    enrollment = Enrollment.empty(enrollment_stream(1, facts.COURSE), NOW)
    earlier = NOW - timedelta(days=9)
    enrollment.enroll(5, 1, facts.COURSE, "audit", enrolled_at=earlier, at=NOW)
    assert enrollment.enrolled_at == earlier
    assert given(*enrollment.collect_events()).enrollment_id == 5


def test_a_cohort_says_all_that_it_is_whenever_it_changes() -> None:
    cohort: Cohort = given(facts.cohort_created())
    cohort.change(CohortValues("Cohort 1"), at=NOW)
    cohort.change(CohortValues("Cohort 1", "random", 50, 2), at=NOW)
    ((kind, fields),) = then(cohort)
    assert kind == "CohortChanged"
    assert fields == {
        "cohort_id": 1,
        "course_id": facts.COURSE,
        "name": "Cohort 1",
        "assignment_type": "random",
        "user_partition_id": 50,
        "group_id": 2,
    }


def test_a_course_has_no_cohorts_until_it_says_so() -> None:
    cohorting = Cohorting.empty(cohorting_stream(facts.COURSE), NOW)
    cohorting.change(facts.COURSE, False, at=NOW)
    cohorting.change(facts.COURSE, True, at=NOW)
    cohorting.change(facts.COURSE, True, at=NOW)
    assert then(cohorting) == [
        ("CohortingChanged", {"course_id": facts.COURSE, "is_cohorted": True})
    ]
