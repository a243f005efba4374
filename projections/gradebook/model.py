"""The read model of the gradebook: which events it folds, and in which order of their kinds.

Rows of one kind need those of the kinds before: a score says whose it is when the users of
the same batch are known, a grade where it stands when the outline is. Within a kind events
are folded in the order of the log.
"""

from collections.abc import Iterable
from typing import ClassVar, Final, LiteralString, Self

from psycopg import Connection

from domain.events import Event, Recorded
from domain.learners.user import CourseRoleGranted, CourseRoleRevoked
from projections.gradebook import courses, grades, marks, people, scores
from projections.gradebook.tables import TABLES
from projections.read_model import ReadModel, Row

_KINDS: Final = (
    scores.EVENTS,
    courses.EVENTS,
    people.COHORTS,
    people.USERS,
    people.LEARNERS,
    grades.EVENTS,
    grades.IMPORTS,
)
_WITH_ORDINALS: Final = (_KINDS.index(courses.EVENTS), _KINDS.index(grades.EVENTS))
_KIND_OF: Final = {event: n for n, kind in enumerate(_KINDS) for event in kind}


class Gradebook(ReadModel):
    """Courses, people, scores and grades."""

    name: ClassVar[str] = "gradebook"
    version: ClassVar[int] = 2
    folds: ClassVar[frozenset[type[Event]]] = frozenset(_KIND_OF)
    # Users have rows of their own, and stand in those of learners.
    shared: ClassVar[frozenset[type[Event]]] = frozenset(
        {*people.USERS, CourseRoleGranted, CourseRoleRevoked}
    )
    tables: ClassVar[LiteralString] = TABLES

    def __init__(self, *, marking: bool = True) -> None:
        """Make it; ``marking`` notes what has to be graded."""
        self._noting = marks.Marks if marking else marks.NoMarks

    @classmethod
    def copying(cls) -> Self:
        """One that notes nothing: grades are calculated where the log is."""
        return cls(marking=False)

    def fold(self, db: Connection[Row], events: Iterable[Recorded]) -> None:
        """Write what a batch of events changes."""
        kinds: list[list[Recorded]] = [[] for _ in _KINDS]
        with_ordinals: list[Recorded] = []
        for recorded in events:
            kind = _KIND_OF[type(recorded.event)]
            kinds[kind].append(recorded)
            if kind in _WITH_ORDINALS:
                with_ordinals.append(recorded)
        of_scores, of_courses, of_cohorts, of_users, of_learners, of_grades, of_imports = kinds
        changes, noted = courses.Changes(), self._noting(db)
        ordinals = courses.given_ordinals(db, with_ordinals) if with_ordinals else {}
        first_grades = grades.first_positions(of_grades)
        touched = scores.fold(db, of_scores, noted) if of_scores else []
        if of_courses:
            courses.fold(db, of_courses, changes, noted)
        if of_cohorts:
            people.fold_cohorts(db, of_cohorts, first_grades, changes, noted)
        if of_users:
            people.fold_users(db, of_users, changes, noted)
        if touched:
            noted.add_students(touched)
        if of_learners:
            people.fold_learners(db, of_learners, first_grades, changes, noted)
        if of_grades:
            grades.fold(db, of_grades, ordinals, changes, noted)
        if of_imports:
            grades.fold_imports(db, of_imports, changes)
        courses.write_ordinals(db, ordinals)
        changes.write(db)
