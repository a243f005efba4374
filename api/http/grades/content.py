"""A course as the grades interface shows it: parsed once for each published layout.

Outlines are large and change rarely, so what was made of one is kept as long as the course's
layout stays what it was. Subsections are only ever added to the ordinals, so grades that are
read a moment later than the layout are still found at their places.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast

from api.http.calls import Call
from api.http.grades.cells import Breakdown, Rows
from api.http.grades.errors import course_does_not_exist
from api.http.reading import ask
from domain.grades.policy import DEFAULT_CUTOFFS, DEFAULT_GRADERS, GradingPolicy, read_policy
from domain.grades.structure import CourseStructure, LabelledSubsection, read_structure
from projections.gradebook import queries
from projections.gradebook.rows import CourseHead, CourseRow

REMEMBERED: Final = 64
"""Courses of one server process."""


@dataclass(frozen=True, slots=True, eq=False)
class CourseContent:
    """What was made of a course's outline and policy.

    Attributes:
        graders: as published; the defaults where none were.
        ordinals: usage key of a subsection to the place of its grades in records.
        columns: the subsections of the gradebook with their labels, in course order.
        breakdown: writes what a learner has in each of them.
    """

    course_id: str
    display_name: str
    layout_position: int
    version: str | None
    edited_at: datetime | None
    structure: CourseStructure
    policy: GradingPolicy
    graders: Sequence[Mapping[str, Any]]
    cutoffs: Mapping[str, float]
    ordinals: Mapping[str, int]
    columns: Sequence[LabelledSubsection]
    breakdown: Breakdown


def read_content(row: CourseRow, rows: Rows | None = None) -> CourseContent:
    """Parse a course; ``rows``: where its breakdown keeps what it has made."""
    graders = DEFAULT_GRADERS if row.graders is None else row.graders
    cutoffs = DEFAULT_CUTOFFS if row.cutoffs is None else row.cutoffs
    structure, policy = read_structure(row.blocks), read_policy(graders, cutoffs)
    columns = structure.gradebook_labels(policy)
    ordinals = {usage_key: ordinal for ordinal, usage_key in enumerate(row.ordinals)}
    return CourseContent(
        course_id=row.course_id,
        display_name=row.display_name,
        layout_position=row.layout_position,
        version=row.version,
        edited_at=row.edited_at,
        structure=structure,
        policy=policy,
        graders=graders,
        cutoffs=cutoffs,
        ordinals=ordinals,
        columns=columns,
        breakdown=Breakdown(columns, ordinals, rows),
    )


class Contents:
    """The courses that were asked for last."""

    def __init__(self) -> None:
        self._rows = Rows()
        self._kept: OrderedDict[tuple[str, int], CourseContent] = OrderedDict()

    async def of(self, call: Call, course: CourseHead) -> CourseContent:
        """What was made of a course.

        Raises:
            ApiError: it is gone.
        """
        found = self._kept.get((course.course_id, course.layout_position))
        if found is not None:
            self._kept.move_to_end((course.course_id, course.layout_position))
            return found
        answer = await ask(call, queries.course_by_id(course.course_id))
        if answer.value is None:
            raise course_does_not_exist(course.course_id)
        content = read_content(answer.value, self._rows)
        self._kept[content.course_id, content.layout_position] = content
        while len(self._kept) > REMEMBERED:
            self._kept.popitem(last=False)
        return content


async def content_of(call: Call, course: CourseHead) -> CourseContent:
    """What was made of a course's outline and policy, kept by the application.

    Raises:
        ApiError: 404: the course is gone.
    """
    state = call.scope["app"].state
    contents = getattr(state, "course_contents", None)
    if contents is None:
        contents = state.course_contents = Contents()
    return await cast(Contents, contents).of(call, course)
