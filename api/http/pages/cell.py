"""One cell of the gradebook: what counts, how it came to that, who changed it and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from starlette.responses import Response

from api.http import csrf
from api.http.calls import Call
from api.http.grades.access import Opened, is_frozen, open_gradebook
from api.http.grades.content import CourseContent, content_of
from api.http.grades.filters import NOWHERE
from api.http.grades.learners import viewers
from api.http.grades.parameters import Parameters, path_text, whole_number
from api.http.grades.problem_scores import problem_scores
from api.http.grades.subsections import reasons_of
from api.http.pages import filters
from api.http.pages.refusals import not_found
from api.http.pages.rendering import html, path
from api.http.reading import ask
from domain.grades.application import GRADE_IMPORT, GRADEBOOK, PROCTORING
from domain.grades.learner_grades import REMOVED
from domain.grades.scores import (
    Override,
    ProblemScore,
    SubsectionGrade,
    Totals,
    subsection_grade,
    subsection_totals,
)
from domain.grades.structure import Subsection, Viewer, visible
from projections.gradebook import queries
from projections.gradebook.rows import LearnerGradesRow, OverrideChange
from projections.gradebook.tables import StoredOverride

MOST_CHANGES: Final = 200
LONGEST_REASON: Final = 300
FEATURES: Final = {
    GRADEBOOK: "Gradebook",
    PROCTORING: "Proctoring",
    GRADE_IMPORT: "File of grades",
}
FROZEN: Final = (
    "The course ended more than 30 days ago and its grades are frozen: nothing can be changed."
)
UNAVAILABLE: Final = (
    "This learner cannot see this assignment yet or at all, so there is nothing to change."
)


class Change(NamedTuple):
    """One change of the override, as it is shown."""

    history_id: int
    at: datetime
    who: str | None
    reason: str | None
    feature: str
    what: str
    before: tuple[float | None, float | None] | None
    after: tuple[float | None, float | None] | None


class Typed(NamedTuple):
    """What somebody typed into the form."""

    points: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """All that is known of one cell.

    Attributes:
        label: ``HW 02``; None for a subsection without a number.
        computed: what the learner's scores make; None if the learner cannot see it.
        changes: of the override, newest first.
    """

    opened: Opened
    content: CourseContent
    subsection: Subsection
    label: str | None
    learner: LearnerGradesRow
    viewer: Viewer
    computed: Totals | None
    override: StoredOverride | None
    scores: Mapping[str, ProblemScore]
    changes: Sequence[OverrideChange]

    @property
    def grade(self) -> SubsectionGrade | None:
        """What counts."""
        if self.computed is None:
            return None
        override = None if self.override is None else Override(*self.override[:4])
        return subsection_grade(self.computed, None, override, self.computed)

    @property
    def last_change(self) -> int:
        """Number of the last change that is shown; 0 when there is none."""
        return self.changes[0].history_id if self.changes else 0

    def blocked(self, now: datetime) -> str | None:
        """Why nothing can be changed; None if it can."""
        if is_frozen(self.opened.course, now):
            return FROZEN
        return UNAVAILABLE if self.computed is None else None


async def open_cell(call: Call) -> Cell:
    """The cell in the path.

    Raises:
        ApiError: the course may not be seen.
        Problem: 404: no such learner or assignment.
    """
    opened = await open_gradebook(call)
    content = await content_of(call, opened.course)
    course_id = content.course_id
    subsection = content.structure.by_key.get(path_text(call, "usage_key"))
    if subsection is None:
        raise not_found("There is no such assignment in this course.")
    user_id = whole_number(path_text(call, "user_id")) or 0
    learner = (await ask(call, queries.learners_by_ids(course_id, [user_id]))).value.get(user_id)
    if learner is None:
        raise not_found("Nobody with this number is in this course.")
    viewer = (await viewers(call, content, [learner]))[user_id]
    ordinal = content.ordinals.get(subsection.usage_key, NOWHERE)
    found = await ask(call, queries.cell(course_id, user_id, ordinal))
    scores = await problem_scores(call, course_id, user_id, subsection)
    record, now = found.value.record, call.now()
    computed = None if record is None else Totals(*record[:4])
    if record is None and visible(subsection.gates, viewer, now):
        computed = subsection_totals(subsection, scores, viewer, now)[0]
    history = queries.override_history(course_id, user_id, subsection.usage_key, MOST_CHANGES)
    labels = {column.subsection.usage_key: column.label for column in content.columns}
    return Cell(
        opened,
        content,
        subsection,
        labels.get(subsection.usage_key),
        learner,
        viewer,
        computed,
        found.value.override,
        scores,
        (await ask(call, history)).value,
    )


async def show_cell(call: Call) -> Response:
    """The page of a cell."""
    saved = whole_number(Parameters(call).text("saved"))
    return await render(call, await open_cell(call), saved=saved)


def address(call: Call, cell: Cell) -> str:
    """Where the page of a cell is."""
    return path(
        call,
        cell.content.course_id,
        "learners",
        str(cell.learner.user_id),
        cell.subsection.usage_key,
    )


async def render(
    call: Call,
    cell: Cell,
    *,
    status: int = 200,
    typed: Typed | None = None,
    errors: Mapping[str, str] | None = None,
    saved: int | None = None,
) -> Response:
    """The page of a cell.

    Args:
        call: the request.
        cell: what it is about.
        status: of the answer.
        typed: to be kept in the form.
        errors: what is wrong with it, by field; "" for all of it.
        saved: number of the change that was just made.
    """
    place = filters.place_of(Parameters(call))
    reasons = await reasons_of(call, cell.changes)
    return html(
        call,
        "cell.html",
        status=status,
        cell=cell,
        course=cell.opened.course,
        changes=[_change(*pair) for pair in zip(cell.changes, reasons, strict=True)],
        problems=[
            (problem, cell.scores.get(problem.usage_key)) for problem in cell.subsection.problems
        ],
        blocked=cell.blocked(call.now()),
        typed=typed or Typed(),
        errors={"": "", "points": "", "reason": "", **(errors or {})},
        saved=saved if any(change.history_id == saved for change in cell.changes) else None,
        csrf_field=csrf.FIELD,
        csrf_token=await csrf.token(call, call.caller.username),
        longest_reason=LONGEST_REASON,
        here=address(call, cell) + place,
        back=f"{path(call, cell.content.course_id)}{place}#learner-{cell.learner.user_id}",
    )


def _change(change: OverrideChange, reason: str | None) -> Change:
    removed = change.history_type == REMOVED
    before = change.before
    return Change(
        change.history_id,
        change.changed_at,
        change.changed_by,
        reason,
        FEATURES.get(change.system, change.system),
        "removed" if removed else "changed" if before else "set",
        None if before is None else (before[2], before[3]),
        None if removed else (change.earned_graded, change.possible_graded),
    )
