"""What a learner has scored at problems, for a subsection that nobody has calculated yet."""

import asyncio
from datetime import datetime

from api.http.calls import Call
from api.http.reading import ask
from domain.grades.scores import ProblemScore, weighted
from domain.grades.structure import Subsection
from projections.gradebook import queries


async def problem_scores(
    call: Call, course_id: str, user_id: int, subsection: Subsection
) -> dict[str, ProblemScore]:
    """The scores that count now, by usage key of the problem.

    What was submitted comes first, then what a system that runs problems has reported. Of
    several scores for one problem that of the better known identity counts, then the later.
    """
    submitted, states = await asyncio.gather(
        ask(call, queries.problem_scores_of(course_id, [user_id])),
        ask(call, queries.problem_states_of(course_id, [user_id])),
    )
    found: dict[str, ProblemScore] = {}
    best: dict[str, tuple[int, datetime]] = {}
    for row in submitted.value:
        other = best.get(row.item_id)
        if other is None or (row.kind, other[1]) < (other[0], row.attempted_at):
            best[row.item_id] = (row.kind, row.attempted_at)
            found[row.item_id] = ProblemScore(row.earned, row.possible, row.attempted_at)
    weights = {problem.usage_key: problem.weight for problem in subsection.problems}
    seen: set[str] = set()
    for state in states.value:  # the newest of each problem comes first
        if state.usage_key in seen:
            continue
        seen.add(state.usage_key)
        if state.usage_key not in found and state.max_grade is not None:
            earned, possible = weighted(
                state.grade or 0.0, state.max_grade, weights.get(state.usage_key)
            )
            at = None if state.grade is None else state.saved_at
            found[state.usage_key] = ProblemScore(earned, possible, at)
    return found
