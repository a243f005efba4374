"""Selections are found by what an event holds: the same that would be by asking each of them."""

from collections.abc import Mapping
from itertools import combinations, product
from typing import Any

from api.event_pages import Selection
from api.http.events_wanted import Wanted

TYPES = ("a.Scored", "a.Reset", "b.Closed")
NAMES = (None, "one", "two")
SELECTIONS = [
    Selection(frozenset(types), course, student)
    for count in range(3)
    for types in combinations(TYPES, count)
    for course, student in product(NAMES, NAMES)
]
EVENTS = [
    (type_, {name: value for name, value in fields.items() if value is not None})
    for type_ in (*TYPES, "b.Other")
    for course, student in product((*NAMES, "three"), (*NAMES, "three"))
    for fields in ({"course_id": course, "student_id": student},)
]


def found(wanted: Wanted, type_: str, fields: Mapping[str, Any]) -> list[Selection]:
    return list(wanted.by(type_, lambda: fields))


def test_each_that_wants_an_event_is_found_once() -> None:
    wanted = Wanted()
    there: list[Selection] = []

    def check() -> None:
        for type_, fields in EVENTS:
            expected = [one for one in there if one.finds(type_, lambda f=fields: f)]  # type: ignore[misc]
            got = found(wanted, type_, fields)
            assert len(got) == len(expected)
            assert set(got) == set(expected)

    for selection in SELECTIONS:
        wanted.add(selection)
        wanted.add(selection)
        there.append(selection)
    check()
    while there:
        wanted.remove(there.pop(len(there) // 2))
        if len(there) % 9 == 0:
            check()


def test_an_event_is_not_opened_for_those_who_do_not_look_inside() -> None:
    wanted = Wanted()
    every = Selection()
    wanted.add(every)
    wanted.add(Selection(frozenset({"a.Scored"}), "one"))

    def opened() -> Mapping[str, Any]:
        raise AssertionError("nobody asked for its fields")

    assert list(wanted.by("b.Closed", opened)) == [every]
