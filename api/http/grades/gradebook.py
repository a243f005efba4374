"""The gradebook of a course: learners, one row each, and what they have in each subsection.

A page is a megabyte, so nothing of it is looked at twice. Its tag stands for the last change
of the course and for what was asked; the position of that change is read before the rows, so
rows may be newer than their tag but never older: who holds a tag that still stands has all
that there is. The counts are as old as the course or as new as the rows: a learner who comes
in between may be in one and not yet in the other.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import orjson
from starlette.responses import Response

from api.http.calls import Call, raw_path
from api.http.grades import errors
from api.http.grades.access import Opened, is_frozen, open_gradebook, standing
from api.http.grades.content import CourseContent, content_of
from api.http.grades.filters import read_filter
from api.http.grades.learners import MASTERS, learner_called
from api.http.grades.paging import base, read_page
from api.http.grades.parameters import Parameters, course_in_path, course_key
from api.http.grades.permissions import is_course_author, is_global_staff
from api.http.reading import ask, result
from api.http.responses import tag_of, tagged, unchanged
from api.rendering import Result
from projections.gradebook import queries
from projections.gradebook.rows import LearnerGradesRow

RENDERING: Final = 1
"""Goes into tags: to be raised when a page of the same rows is written otherwise."""


async def get_gradebook(call: Call) -> Response:
    """A page of the gradebook, or one learner's row of it."""
    opened = await open_gradebook(call)
    tag = _tag(call, opened)
    if found := unchanged(tag, opened.position, call.raw.get(b"if-none-match")):
        return found
    query = Parameters(call)
    if username := query.text("username"):
        return await _one_learner(call, opened, tag, username)
    return await _page(call, opened, tag, query)


def _tag(call: Call, opened: Opened) -> str:
    course = opened.course
    parts = (
        RENDERING,
        course.changed_position,
        course.people_position,
        course.layout_position,
        base(call),
        raw_path(call.scope),
        call.scope["query_string"].decode("latin-1"),
    )
    return tag_of(repr(parts).encode())


async def _one_learner(call: Call, opened: Opened, tag: str, username: str) -> Response:
    content = await content_of(call, opened.course)
    learner = await learner_called(call, opened.course.course_id, username)
    parts: list[bytes] = []
    # The address is for lists only, also of those whose list shows it.
    _append(parts, learner.value, content, base(call), with_email=False)
    return tagged(b"".join(parts), tag, learner.position)


async def _page(call: Call, opened: Opened, tag: str, query: Parameters) -> Response:
    page = read_page(query)
    content = await content_of(call, opened.course)
    where = await read_filter(call, query, content)
    course_id, bounds = content.course_id, page.bounds
    wanted = queries.learners_page(
        course_id, where, after=bounds.after, before=bounds.before, limit=bounds.limit
    )
    if where == queries.EVERYBODY:
        answer, total = await ask(call, wanted), opened.course.active_enrollments
        filtered, position = total, answer.position
    else:
        counting = ask(call, queries.learner_counts(course_id, where))
        answer, counts = await asyncio.gather(ask(call, wanted), counting)
        (total, filtered), position = counts.value, min(answer.position, counts.position)
    rows, more = page.cut(answer.value)
    links = page.links(call, [row.enrollment_id for row in rows], more=more)
    parts = [orjson.dumps(links)[:-1], b',"results":[']
    _append_all(parts, rows, content, base(call))
    parts.append(b'],"total_users_count":%d,"filtered_users_count":%d}' % (total, filtered))
    return tagged(b"".join(parts), tag, position)


def _append_all(
    parts: list[bytes],
    rows: Sequence[LearnerGradesRow],
    content: CourseContent,
    here: str,
) -> None:
    for number, row in enumerate(rows):
        if number:
            parts.append(b",")
        _append(parts, row, content, here, with_email=row.mode == MASTERS)


def _append(
    parts: list[bytes],
    row: LearnerGradesRow,
    content: CourseContent,
    here: str,
    *,
    with_email: bool,
) -> None:
    """Append the row of one learner."""
    before: dict[str, Any] = {
        "user_id": row.user_id,
        "username": row.username,
        "full_name": row.full_name or "" if row.mode == MASTERS else "",
        "email": row.email or "" if with_email else "",
    }
    if row.external_user_key:
        before["external_user_key"] = row.external_user_key
    before["percent"] = row.percent or 0.0
    after = {
        "profile_name": row.full_name,
        "course_id": row.course_id,
        # A stored grade is passed by any letter, also by one whose cut-off is 0.
        "passed": bool(row.letter),
        "letter_grade": row.letter or None,
        "progress_page_url": f"{here}/courses/{row.course_id}/progress/{row.user_id}/",
    }
    parts.append(orjson.dumps(before)[:-1])
    parts.append(b',"section_breakdown":[')
    content.breakdown.write(parts, row.records, row.overrides)
    parts.append(b"]," + orjson.dumps(after)[1:])


# --- what the columns are ---------------------------------------------------------------------


async def get_grading_info(call: Call) -> Response:
    """Assignment types, cut-offs and subsections of a course, and what may be done with grades."""
    text = course_in_path(call)
    key = course_key(text)
    found = await standing(call, text if key is None else str(key))
    if key is None:
        seen = is_global_staff(call.caller, found.rights)
        raise errors.invalid_course_key() if seen else errors.not_an_author()
    if not is_course_author(call.caller, found.rights, key):
        raise errors.not_an_author()
    query = Parameters(call)
    graded_only = query.boolean("graded_only")
    query.boolean("all")  # asks the peer to look deeper, and changes nothing that is shown
    course = found.course
    if course is None:
        raise errors.course_does_not_exist(str(key))
    content = await content_of(call, course)
    document = {
        "grade_cutoffs": content.cutoffs,
        "assignment_types": _assignment_types(content),
        "subsections": _subsections(content, graded_only=graded_only),
        "grades_frozen": is_frozen(course, call.now()),
        "can_see_bulk_management": course.bulk_management
        or any(mode.get("slug") == MASTERS for mode in course.modes),
    }
    return result(call, document, found.position)


def _assignment_types(content: CourseContent) -> Result:
    return {
        grader.type: {
            "type": grader.type,
            "short_label": grader.short_label,
            "min_count": grader.min_count,
            "drop_count": grader.drop_count,
            "weight": grader.weight,
        }
        for grader in content.policy.graders
    }


def _subsections(content: CourseContent, *, graded_only: bool) -> list[Result]:
    listed = content.structure.grading_info_subsections(content.policy, graded_only=graded_only)
    return [
        {
            "assignment_type": subsection.format,
            "graded": subsection.graded,
            "short_label": label,
            "module_id": subsection.usage_key,
            "display_name": subsection.display_name,
        }
        for subsection, label, _ in listed
    ]
