"""The gradebook of a course as a table: learners, one row each, and what they have where."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from starlette.responses import Response

from api.http.calls import Call
from api.http.grades.access import is_frozen, open_gradebook
from api.http.grades.content import CourseContent, content_of
from api.http.grades.paging import read_page
from api.http.grades.parameters import Parameters
from api.http.pages import filters
from api.http.pages.rendering import html, path
from api.http.reading import ask
from domain.grades.scores import Override, SubsectionGrade, Totals, subsection_grade
from projections.gradebook import queries
from projections.gradebook.rows import CohortRow, LearnerGradesRow
from projections.gradebook.tables import read_overrides, read_records


class Shown(NamedTuple):
    """One cell."""

    grade: SubsectionGrade
    overridden: bool
    address: str


class Line(NamedTuple):
    """One learner."""

    learner: LearnerGradesRow
    cells: Sequence[Shown]


async def show_gradebook(call: Call) -> Response:
    """A page of learners with the form that filters them."""
    opened = await open_gradebook(call)
    query = Parameters(call)
    content = await content_of(call, opened.course)
    cohorts = (await ask(call, queries.cohorts_of(content.course_id))).value
    form = filters.read_form(query, content, cohorts)
    page = replace(read_page(query), size=form.page_size)
    rows: list[LearnerGradesRow] = []
    more, counts = False, (0, 0)
    if not form.errors:
        bounds = page.bounds
        found, *counted = await asyncio.gather(
            ask(
                call,
                queries.learners_page(
                    content.course_id,
                    form.where,
                    after=bounds.after,
                    before=bounds.before,
                    limit=bounds.limit,
                ),
            ),
            # Of how many is said without those whom nobody asked for: the staff of the course.
            *(
                ask(call, queries.learner_counts(content.course_id, where))
                for where in (form.where, form.everybody)
            ),
        )
        rows, more = page.cut(found.value)
        counts = (counted[0].value.filtered, counted[1].value.filtered)
    here = path(call, content.course_id)
    return html(
        call,
        "gradebook.html",
        status=400 if form.errors else 200,
        course=opened.course,
        frozen=is_frozen(opened.course, call.now()),
        columns=content.columns,
        lines=_lines(call, content, rows, filters.place_of(query)),
        passing=_passing(content),
        form=form,
        choices=_choices(content, cohorts, opened.course.modes),
        counts=counts,
        links=page.links(call, [row.enrollment_id for row in rows], more=more),
        here=here,
    )


def _lines(
    call: Call, content: CourseContent, rows: Sequence[LearnerGradesRow], place: str
) -> list[Line]:
    prefix = path(call, content.course_id, "learners")
    columns = [
        (content.ordinals.get(column.subsection.usage_key, -1), column.subsection)
        for column in content.columns
    ]
    suffixes = [
        path(call, subsection.usage_key).removeprefix(path(call)) + place
        for _, subsection in columns
    ]
    lines = []
    for row in rows:
        records, overrides = read_records(row.records), read_overrides(row.overrides)
        cells = []
        for (ordinal, subsection), suffix in zip(columns, suffixes, strict=True):
            record = records[ordinal] if 0 <= ordinal < len(records) else None
            override = overrides.get(ordinal)
            grade = subsection_grade(
                None if record is None else Totals(*record[:4]),
                None if record is None or record.first_attempted is None else call.now(),
                None if override is None else Override(*override[:4]),
                Totals(0.0, subsection.possible_all, 0.0, subsection.possible_graded),
            )
            address = f"{prefix}{row.user_id}/{suffix}"
            cells.append(Shown(grade, override is not None, address))
        lines.append(Line(row, cells))
    return lines


def _passing(content: CourseContent) -> float:
    """The share that passes; bars below it look otherwise."""
    return min((value for value in content.cutoffs.values() if value > 0), default=0.0)


def _choices(
    content: CourseContent, cohorts: Sequence[CohortRow], modes: Sequence[dict[str, str]]
) -> dict[str, list[tuple[str, str]]]:
    """What can be chosen in the form: values and texts."""
    return {
        "cohort_id": [(str(cohort.cohort_id), cohort.name) for cohort in cohorts],
        "enrollment_mode": [(mode["slug"], mode.get("name") or mode["slug"]) for mode in modes],
        "assignment": [
            (
                column.subsection.usage_key,
                " · ".join(filter(None, (column.label, column.subsection.display_name))),
            )
            for column in content.columns
        ],
        "page_size": [(str(size), str(size)) for size in filters.PAGE_SIZES],
    }
