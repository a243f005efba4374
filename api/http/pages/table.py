"""The gradebook of a course as a table: learners, one row each, and what they have where."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from starlette.responses import Response

from api.http.calls import Call
from api.http.grades.access import is_frozen, open_gradebook
from api.http.grades.content import CourseContent, content_of
from api.http.grades.paging import read_page
from api.http.grades.parameters import Parameters
from api.http.pages import filters
from api.http.pages.cells import Cells, lines
from api.http.pages.filters import FilterForm
from api.http.pages.rendering import html, path
from api.http.reading import ask
from projections.gradebook import queries
from projections.gradebook.rows import CohortRow, LearnerGradesRow


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
        wanted = queries.learners_page(
            content.course_id,
            form.where,
            after=bounds.after,
            before=bounds.before,
            limit=bounds.limit,
        )
        found, counts = await asyncio.gather(ask(call, wanted), _counts(call, content, form))
        rows, more = page.cut(found.value)
    place = filters.place_of(query)
    cells = Cells(call, content, place, in_points=form.in_points)
    here = path(call, content.course_id)
    return html(
        call,
        "gradebook.html",
        status=400 if form.errors else 200,
        course=opened.course,
        frozen=is_frozen(opened.course, call.now()),
        columns=content.columns,
        lines=lines(cells, rows),
        form=form,
        choices=_choices(content, cohorts, opened.course.modes),
        counts=counts,
        links=page.links(call, [row.enrollment_id for row in rows], more=more),
        here=here,
    )


async def _counts(call: Call, content: CourseContent, form: FilterForm) -> tuple[int, int]:
    """How many are found, and of how many: without the staff unless somebody asked for them."""
    found, everybody = await asyncio.gather(
        *(
            ask(call, queries.learner_counts(content.course_id, where))
            for where in (form.where, form.everybody)
        )
    )
    return found.value.filtered, everybody.value.filtered


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
