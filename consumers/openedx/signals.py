"""The events of the event bus that gradelog writes and reads, and their Avro schemas.

The schemas stand in files beside this module, as the library ``openedx-events`` makes them;
that library needs Django, so it is used in tests alone.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final, NamedTuple

from fastavro import parse_schema
from fastavro.types import Schema

GRADE_SUMMARY: Final = "org.openedx.learning.course.persistent_grade_summary.changed.v1"
PASSING_STATUS: Final = "org.openedx.learning.course.passing.status.updated.v1"
EXTERNAL_SCORE: Final = "org.openedx.learning.external_grader.score.submitted.v1"
ORA_SUBMISSION: Final = "org.openedx.learning.ora.submission.created.v1"

KEY_FIELDS: Final[Mapping[str, str]] = {
    GRADE_SUMMARY: "grade.course.course_key",
    PASSING_STATUS: "course_passing_status.course.course_key",
    EXTERNAL_SCORE: "score.course_id",
    ORA_SUBMISSION: "submission.location",
}
"""What is written, and by which field its messages are kept in order."""

ENROLLED: Final = "org.openedx.learning.course.enrollment.created.v1"
ENROLLMENT_CHANGED: Final = "org.openedx.learning.course.enrollment.changed.v1"
UNENROLLED: Final = "org.openedx.learning.course.unenrollment.completed.v1"
ROLE_ADDED: Final = "org.openedx.learning.user.course_access_role.added.v1"
ROLE_REMOVED: Final = "org.openedx.learning.user.course_access_role.removed.v1"

READ: Final = (ENROLLED, ENROLLMENT_CHANGED, UNENROLLED, ROLE_ADDED, ROLE_REMOVED)
"""What is read."""

LIBRARY: Final = "10.5.0"
"""The release of ``openedx-events`` whose schemas these are; goes into a header."""


class Signal(NamedTuple):
    """One event for the bus: its type and what it says, by the schema of the type."""

    type: str
    record: Mapping[str, Any]

    @property
    def key(self) -> Any:
        """What the messages of this type are kept in order by."""
        found: Any = self.record
        for name in KEY_FIELDS[self.type].split("."):
            found = found[name]
        return found


class Definition(NamedTuple):
    """An Avro schema: as text for the registry, ready to be used, and the name of its record."""

    text: str
    schema: Schema
    name: str


@cache
def value_of(type_: str) -> Definition:
    """The schema of the values of a type."""
    return definition(_written(type_))


@cache
def key_of(type_: str) -> Definition:
    """The schema of the keys of a type: that of the field that they hold."""
    found = _written(type_)
    for name in KEY_FIELDS[type_].split("."):
        record = found if "fields" in found else found["type"]
        (found,) = (field for field in record["fields"] if field["name"] == name)
    return definition(found)


def definition(schema: Mapping[str, Any]) -> Definition:
    """A schema in the text that others give it: not every registry sees more than the text."""
    text = json.dumps(schema, sort_keys=True)
    parsed: Any = parse_schema(json.loads(text))
    name = parsed["name"] if isinstance(parsed, dict) and "name" in parsed else schema["type"]
    return Definition(text, parsed, str(name))


def _written(type_: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        files(__package__).joinpath("schemas", f"{type_}.json").read_bytes()
    )
    return found
