"""Folds what grades were calculated and overridden."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import orjson
from psycopg import Connection

from domain.events import Event, Recorded
from domain.grades.grade_import import GradesImported
from domain.grades.learner_grades import (
    REMOVED,
    CoursePassedFirstTime,
    GradesCalculated,
    LearnerGradesCleared,
    LearnerGradesEvent,
    SubsectionOverrideApplied,
    SubsectionOverrideRemoved,
)
from projections.bulk import columns, copy_rows, fetch
from projections.gradebook import marks
from projections.gradebook.courses import Changes, Ordinals
from projections.gradebook.tables import (
    Components,
    percents,
    text_of,
)
from projections.read_model import Row

EVENTS: Final[tuple[type[Event], ...]] = (
    GradesCalculated,
    CoursePassedFirstTime,
    SubsectionOverrideApplied,
    SubsectionOverrideRemoved,
    LearnerGradesCleared,
)
IMPORTS: Final[tuple[type[Event], ...]] = (GradesImported,)

# Taken out and put back: the new row needs the old one anyway, and goes in by one stream.
_TAKE: Final = """
DELETE FROM grades g USING unnest(%b::text[], %b::bigint[]) AS t (course_id, user_id)
WHERE g.course_id = t.course_id AND g.user_id = t.user_id
RETURNING g.course_id, g.user_id, g.version, g.records, g.overrides, g.percent, g.letter, g.passed,
    g.passed_at, g.policy_hash, g.course_version, g.course_edited_at, g.calculated_at
"""
_COPY: Final = """
COPY grades (course_id, user_id, version, records, overrides, percent, letter, passed, passed_at,
    policy_hash, course_version, course_edited_at, calculated_at)
FROM STDIN (FORMAT binary)
"""
_TYPES: Final = (
    *("text", "int8", "int4", "text", "text", "float8", "text", "bool", "timestamptz"),
    *("text", "text", "timestamptz", "timestamptz"),
)
# As one document: an array for each column takes four times as long to write.
_TELL_LEARNERS: Final = """
UPDATE learners l SET percent = t.p, letter = t.l, percents = t.ps::float8[]
FROM json_to_recordset(%b::text::json) AS t (c text, u bigint, p float8, l text, ps text)
WHERE l.course_id = t.c AND l.user_id = t.u
RETURNING l.course_id, l.user_id
"""
_ADD_LEARNERS: Final = """
WITH learner AS MATERIALIZED (
    SELECT t.*, u.username, u.email, u.full_name, coalesce(u.shown_position, 0) AS shown_position
    FROM json_to_recordset(%b::text::json) AS t (c text, u bigint, p float8, l text, ps text)
    LEFT JOIN users u ON u.user_id = t.u
), added AS (
    INSERT INTO learners (course_id, user_id, percent, letter, percents, username, email,
        full_name, search)
    SELECT c, u, p, l, ps::float8[], username, email, full_name,
        lower(concat_ws(E'\\n', username, email))
    FROM learner
)
SELECT c, max(shown_position) FROM learner GROUP BY c
"""
_COPY_HISTORY: Final = """
COPY override_history (history_id, course_id, user_id, usage_key, override_id, grade_id,
    created_at, changed_at, history_type, values, before, reason, system, changed_by,
    changed_by_id, position)
FROM STDIN (FORMAT binary)
"""
_HISTORY_TYPES: Final = (
    *("int8", "text", "int8", "text", "int8", "int8", "timestamptz", "timestamptz", "text"),
    *("float8[]", "float8[]", "text", "text", "text", "int8", "int8"),
)
_COPY_IMPORTS: Final = """
COPY grade_imports (operation_id, course_id, file_name, imported_by, imported_at, total_rows,
    processed_rows, saved_rows, columns, rows, error_message)
FROM STDIN (FORMAT binary)
"""
_IMPORT_TYPES: Final = (
    *("int8", "text", "text", "text", "timestamptz", "int4", "int4", "int4", "text", "text"),
    "text",
)
_COMPONENTS: Final = ("earned_all", "possible_all", "earned_graded", "possible_graded")


class _Grades:
    """The grades of one learner while a batch is folded."""

    __slots__ = ("overrides", "records", "row")

    def __init__(self, row: Sequence[Any]) -> None:
        self.row = list(row)
        # Lists, as they are written back: a batch changes few of them.
        self.records: list[Components | None] = orjson.loads(row[3] or "[]")
        overrides = orjson.loads(row[4] or "{}")
        self.overrides: dict[int, Components] = {int(n): one for n, one in overrides.items()}

    @classmethod
    def new(cls, course_id: str, user_id: int) -> "_Grades":
        return cls((course_id, user_id, 0, None, None, None, None, False, *[None] * 5))

    def calculated(self, event: GradesCalculated, ordinals: Ordinals) -> None:
        records = self.records
        for found in event.subsections:
            ordinal = ordinals.of(found["usage_key"])
            while len(records) <= ordinal:
                records.append(None)
            records[ordinal] = (
                found["earned_all"],
                found["possible_all"],
                found["earned_graded"],
                found["possible_graded"],
                found["first_attempted"],
            )
        row = self.row
        row[5], row[6], row[7] = event.percent, event.letter, event.passed
        row[9], row[10], row[11] = event.policy_hash, event.course_version, event.course_edited_at
        row[12] = event.timestamp

    def overridden(self, event: SubsectionOverrideApplied, ordinals: Ordinals) -> Components:
        ordinal = ordinals.of(event.usage_key)
        before = self.overrides.get(ordinal)
        created_at = event.timestamp.isoformat() if before is None else before[6]
        made = self.overrides[ordinal] = (
            event.earned_all,
            event.possible_all,
            event.earned_graded,
            event.possible_graded,
            event.override_id,
            event.grade_id,
            created_at,
        )
        return made

    def cleared(self) -> None:
        self.records, self.overrides = [], {}
        self.row[5:8] = [None, None, False]

    def as_row(self) -> Row:
        self.row[3], self.row[4] = (
            text_of(self.records),
            text_of({str(ordinal): found for ordinal, found in self.overrides.items()}),
        )
        return tuple(self.row)

    def as_shown(self) -> dict[str, Any]:
        """What filters look at; the percentages as PostgreSQL reads an array."""
        course_id, user_id, *_, percent, letter = self.row[:7]
        found = percents(self.records, self.overrides)
        text = ",".join(["NULL" if p is None else repr(p) for p in found])
        return {"c": course_id, "u": user_id, "p": percent, "l": letter, "ps": f"{{{text}}}"}


def first_positions(events: Sequence[Recorded]) -> dict[tuple[str, int], int]:
    """By course and user, the position of the first of these events."""
    found: dict[tuple[str, int], int] = {}
    for recorded in events:
        event = recorded.event
        assert isinstance(event, LearnerGradesEvent)
        found.setdefault((event.course_id, event.user_id), recorded.position)
    return found


def fold(
    db: Connection[Row],
    events: Sequence[Recorded],
    ordinals: Mapping[str, Ordinals],
    changes: Changes,
    noted: marks.Marks,
) -> None:
    """Keep the grades of learners and how overrides came about."""
    keys = {(r.event.course_id, r.event.user_id) for r in events}  # type: ignore[attr-defined]
    found = fetch(db, _TAKE, *columns(list(keys)))
    grades = {(row[0], row[1]): _Grades(row) for row in found}
    history: list[Row] = []
    # Whoever overrode may have looked at a course, a policy or scores that are over by now.
    overridden: list[marks.Mark] = []
    for recorded in events:
        event = recorded.event
        assert isinstance(event, LearnerGradesEvent)
        key = (event.course_id, event.user_id)
        learner = grades.get(key)
        if learner is None:
            learner = grades[key] = _Grades.new(*key)
        learner.row[2] = event.originator_version
        if isinstance(event, GradesCalculated):
            learner.calculated(event, ordinals[event.course_id])
        elif isinstance(event, SubsectionOverrideApplied):
            made = learner.overridden(event, ordinals[event.course_id])
            history.append(_change(recorded, event, made[6], made[:4]))
            overridden.append((recorded.position, *key, event.usage_key, marks.OVERRIDE))
        elif isinstance(event, SubsectionOverrideRemoved):
            gone = learner.overrides.pop(ordinals[event.course_id].of(event.usage_key), None)
            created_at = event.timestamp.isoformat() if gone is None else gone[6]
            history.append(_change(recorded, event, created_at, _components(event.previous)))
            overridden.append((recorded.position, *key, event.usage_key, marks.OVERRIDE))
        elif isinstance(event, CoursePassedFirstTime):
            learner.row[8] = event.timestamp
        else:
            learner.cleared()
        changes.touch(event.course_id, recorded.position)
    copy_rows(db, _COPY, _TYPES, [learner.as_row() for learner in grades.values()])
    shown = {key: learner.as_shown() for key, learner in grades.items()}
    told = set(fetch(db, _TELL_LEARNERS, text_of(list(shown.values()))))
    if new := [values for key, values in shown.items() if key not in told]:
        for course_id, position in fetch(db, _ADD_LEARNERS, text_of(new)):
            changes.show(course_id, position)
    copy_rows(db, _COPY_HISTORY, _HISTORY_TYPES, history)
    noted.add(overridden)


def _change(
    recorded: Recorded,
    event: SubsectionOverrideApplied | SubsectionOverrideRemoved,
    created_at: str,
    values: Sequence[float | None],
) -> Row:
    return (
        event.history_id,
        event.course_id,
        event.user_id,
        event.usage_key,
        event.override_id,
        event.grade_id,
        datetime.fromisoformat(created_at),
        event.timestamp,
        event.history_type if isinstance(event, SubsectionOverrideApplied) else REMOVED,
        list(values),
        None if event.previous is None else _components(event.previous),
        event.reason if isinstance(event, SubsectionOverrideApplied) else None,
        event.system,
        event.changed_by,
        event.changed_by_id,
        recorded.position,
    )


def _components(values: dict[str, float | None]) -> list[float | None]:
    return [values[name] for name in _COMPONENTS]


def fold_imports(db: Connection[Row], events: Sequence[Recorded], changes: Changes) -> None:
    """Keep which files of grades were uploaded."""
    rows = []
    for recorded in events:
        event = recorded.event
        assert isinstance(event, GradesImported)
        changes.touch(event.course_id, recorded.position)
        rows.append(
            (
                event.operation_id,
                event.course_id,
                event.file_name,
                event.imported_by,
                event.timestamp,
                event.total_rows,
                event.processed_rows,
                event.saved_rows,
                text_of(event.columns),
                text_of(event.rows),
                event.error_message,
            )
        )
    copy_rows(db, _COPY_IMPORTS, _IMPORT_TYPES, rows)
