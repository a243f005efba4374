"""Every saved state of the problems of a course, learner by learner.

Two sources make one history: what a system that runs problems has reported, and what was
handed in here, whose answer stands for the state where it is an object.
"""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import orjson
from starlette.responses import Response

from api.http.calls import Call
from api.http.grades import errors
from api.http.grades.access import refuse_closed_account, standing
from api.http.grades.content import CourseContent, content_of
from api.http.grades.paging import read_page
from api.http.grades.parameters import Parameters, course_at_start_of_path, course_key
from api.http.grades.permissions import is_global_staff
from api.http.grades.throttling import throttle_history
from api.http.reading import ask, result
from api.rendering import Result
from domain.errors import KeyDestroyedError
from domain.grades.application import problem_state_context
from domain.grades.structure import Problem
from domain.submissions.application import answer_context
from projections import submissions
from projections.gradebook import queries
from projections.gradebook.rows import ProblemStateRow
from projections.submissions import ScoredSubmission

PROBLEM: Final = "problem"


class Saved(NamedTuple):
    """One entry of a history, with what its order is made of."""

    at: datetime
    number: int
    state: Any
    grade: float | None
    max_grade: float | None


History = dict[tuple[int, str], list[Saved]]
"""By user id and usage key."""


async def get_submission_history(call: Call) -> Response:
    """A page of learners with the histories of their problems."""
    text = course_at_start_of_path(call)
    key = course_key(text)
    found = await standing(call, text if key is None else str(key))
    refuse_closed_account(call, found.rights)
    if not is_global_staff(call.caller, found.rights):
        raise errors.not_allowed()
    throttle_history(call)
    if key is None:
        raise errors.invalid_course_key(400)
    query = Parameters(call)
    page = read_page(query)
    if found.course is None:
        empty: Result = {"next": None, "previous": None, "results": []}
        return result(call, empty, found.position)
    content = await content_of(call, found.course)
    username, bounds = query.text("username"), page.bounds
    answer = await ask(
        call,
        queries.learners_of_courses_page(
            course_id=str(key),
            usernames=[username] if username else None,
            after=bounds.after,
            before=bounds.before,
            limit=bounds.limit,
        ),
    )
    rows, more = page.cut(answer.value)
    problems = _problems(content)
    history = await _history(call, content.course_id, [row.user_id for row in rows], problems)
    document = {
        **page.links(call, [row.enrollment_id for row in rows], more=more),
        "results": [
            {
                "course_id": row.course_id,
                "course_name": found.course.display_name,
                "user": row.username,
                "problems": _of_user(row.user_id, problems, history),
            }
            for row in rows
        ],
    }
    return result(call, document, answer.position)


def _problems(content: CourseContent) -> list[Problem]:
    """The problems whose history is shown: none of libraries, none in deeper places."""
    found = {
        problem.usage_key: problem
        for subsection in content.structure.subsections
        for problem in subsection.problems
        if problem.direct and problem.type == PROBLEM
    }
    return list(found.values())


def _of_user(user_id: int, problems: Iterable[Problem], history: History) -> list[Result]:
    return [
        {
            "location": problem.usage_key,
            "name": problem.display_name,
            "submission_history": [
                {"state": one.state, "grade": one.grade, "max_grade": one.max_grade}
                for one in saved
            ],
            "data": problem.data or "",
        }
        for problem in problems
        if (saved := history.get((user_id, problem.usage_key)))
    ]


async def _history(
    call: Call, course_id: str, user_ids: Sequence[int], problems: Iterable[Problem]
) -> History:
    """The histories of some users, the newest entry first."""
    usage_keys = [problem.usage_key for problem in problems]
    if not user_ids or not usage_keys:
        return {}
    states, student_ids = await asyncio.gather(
        ask(call, queries.problem_states_of(course_id, user_ids)),
        ask(call, queries.student_ids_of(user_ids)),
    )
    users = {
        student_id: user_id for user_id, ids in student_ids.value.items() for student_id in ids
    }
    handed_in: Sequence[ScoredSubmission] = ()
    if users:
        question = submissions.scored_submissions_of_students(course_id, list(users), usage_keys)
        handed_in = (await ask(call, question)).value
    await call.backend.vault.load(
        [
            *(row.state for row in states.value if row.state),
            *(row.answer for row in handed_in),
        ]
    )
    history: History = {}
    for state in states.value:
        history.setdefault((state.user_id, state.usage_key), []).append(_reported(call, state))
    for row in handed_in:
        place = (users[row.student_id], row.item_id)
        history.setdefault(place, []).append(_submitted(call, row))
    for saved in history.values():
        saved.sort(key=lambda one: (one.at, one.number), reverse=True)
    return history


def _reported(call: Call, row: ProblemStateRow) -> Saved:
    state = _opened(call, row.state, problem_state_context(row.state_id))
    return Saved(row.saved_at, row.state_id, state, row.grade, row.max_grade)


def _submitted(call: Call, row: ScoredSubmission) -> Saved:
    state = _opened(call, row.answer, answer_context(row.submission_uuid))
    if not row.points_possible:  # not scored, or the score is hidden
        return Saved(row.created_at, row.submission_id, state, None, None)
    earned = None if row.points_earned is None else float(row.points_earned)
    return Saved(row.created_at, row.submission_id, state, earned, float(row.points_possible))


def _opened(call: Call, sealed: str | None, context: str) -> Any:
    """A state as JSON; None when there is none, it is no object, or the learner was erased."""
    if not sealed:
        return None
    try:
        text = call.backend.vault.open(sealed, context)
    except KeyDestroyedError:
        return None
    # As text: what a learner wrote may hold what no reader here has to understand.
    return orjson.Fragment(text) if text.lstrip().startswith("{") else None
