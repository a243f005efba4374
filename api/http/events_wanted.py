"""Who wants an event, looked up instead of asked: many may listen, each for something else."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from api.event_pages import Selection

_Inside: TypeAlias = "dict[tuple[str | None, str | None], set[Selection]]"
"""Selections by the course and the student that they ask for; None for any."""


class Wanted:
    """Selections, found by what an event holds. None wants an event that it does not find."""

    def __init__(self) -> None:
        self._by_type: dict[str | None, _Inside] = {}

    def add(self, selection: Selection) -> None:
        """Let a selection be found. Adding it again changes nothing."""
        for type_ in selection.types or (None,):
            inside = self._by_type.setdefault(type_, {})
            inside.setdefault((selection.course_id, selection.student_id), set()).add(selection)

    def remove(self, selection: Selection) -> None:
        """Let a selection not be found any more."""
        key = (selection.course_id, selection.student_id)
        for type_ in selection.types or (None,):
            inside = self._by_type[type_]
            inside[key].discard(selection)
            if not inside[key]:
                del inside[key]
            if not inside:
                del self._by_type[type_]

    def by(self, type_: str, fields: Callable[[], Mapping[str, Any]]) -> Iterator[Selection]:
        """All that want an event, each once. Its fields are asked for only if they matter."""
        # A selection stands below its types or below None, never below both.
        for inside in (self._by_type.get(type_), self._by_type.get(None)):
            if inside:
                yield from _by_fields(inside, fields)


def _by_fields(inside: _Inside, fields: Callable[[], Mapping[str, Any]]) -> Iterator[Selection]:
    yield from inside.get((None, None), ())
    if inside.keys() <= {(None, None)}:
        return
    found = fields()
    course_id, student_id = found.get("course_id"), found.get("student_id")
    keys = {(course_id, student_id), (course_id, None), (None, student_id)} - {(None, None)}
    for key in keys:
        yield from inside.get(key, ())
