"""Changing a cell by its form: override it with a reason, or let the calculated points count again.

Whoever sends a form has decided by what its page showed. If the cell was changed in between,
nothing is written and the page is shown anew, with what was typed.
"""

import math
from typing import Final

from starlette.responses import RedirectResponse, Response

from api.http.calls import Call
from api.http.grades.bulk_update import caller_id, course_version, wait_for
from api.http.grades.parameters import Parameters, whole_number
from api.http.pages import filters
from api.http.pages.cell import LONGEST_REASON, Cell, Typed, address, open_cell, render
from api.http.problems import problem_of
from domain.application import Done
from domain.errors import DomainError
from domain.grades.application import GRADEBOOK, OverrideRequest

NOT_SAVED: Final = "Nothing was saved."
CHANGED: Final = (
    "Somebody changed this grade since you opened the page. Nothing was saved:"
    " look at the history below and send it again if it still holds."
)


async def change_cell(call: Call) -> Response:
    """Override a cell or take its override away; then show it."""
    cell = await open_cell(call)
    form = await call.form_fields()
    removing = form.get("action") == "remove"
    typed = Typed(
        form.get("points", "").strip(), form.get("reason", "").replace("\r\n", "\n").strip()
    )
    if cell.blocked(call.now()) is not None:  # the page says why
        return await render(call, cell, status=403, typed=typed, errors={"": NOT_SAVED})
    errors = {} if removing else _errors(typed)
    if errors:
        return await render(call, cell, status=400, typed=typed, errors=errors)
    if whole_number(form.get("seen", "")) != cell.last_change:
        return await render(call, cell, status=409, typed=typed, errors={"": CHANGED})
    try:
        history_id, position = await (
            _remove(call, cell) if removing else _override(call, cell, typed)
        )
    except DomainError as error:
        problem = problem_of(error)
        if problem.status >= 500:
            raise
        return await render(
            call, cell, status=problem.status, typed=typed, errors={"": problem.detail}
        )
    await wait_for(call, position)
    place = filters.place_of(Parameters(call))
    where = f"{address(call, cell)}{place}{'&' if place else '?'}saved={history_id}"
    return RedirectResponse(where, 303, headers={"Cache-Control": "no-store"})


def _errors(typed: Typed) -> dict[str, str]:
    errors = {}
    points = _points(typed.points)
    if not typed.points:
        errors["points"] = "Enter the points that count."
    elif points is None:
        errors["points"] = "Enter a number such as 7 or 7.5."
    elif points < 0:
        errors["points"] = "Points are not negative."
    if not typed.reason:
        errors["reason"] = "Say why: learners and colleagues may ask."
    elif len(typed.reason) > LONGEST_REASON:
        errors["reason"] = f"At most {LONGEST_REASON} characters; these are {len(typed.reason)}."
    elif "\0" in typed.reason:
        errors["reason"] = "This has characters that are no text."
    return errors


def _points(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


async def _override(call: Call, cell: Cell, typed: Typed) -> tuple[int, int]:
    """Number and position of the change."""
    request = OverrideRequest(
        user_id=cell.learner.user_id,
        usage_key=cell.subsection.usage_key,
        requested={"earned_graded": _points(typed.points)},
        reason=typed.reason,
        viewer=cell.viewer,
    )
    (outcome,) = await call.backend.grades.override(
        course_version(cell.content),
        [request],
        system=GRADEBOOK,
        changed_by=call.caller.username,
        changed_by_id=caller_id(call, cell.opened),
        provenance=call.provenance(),
    )
    if not isinstance(outcome, Done):
        raise outcome
    return outcome.value.history_id, outcome.position or 0


async def _remove(call: Call, cell: Cell) -> tuple[int, int]:
    done = await call.backend.grades.remove_override(
        course_version(cell.content),
        cell.learner.user_id,
        cell.subsection.usage_key,
        cell.viewer,
        system=GRADEBOOK,
        changed_by=call.caller.username,
        changed_by_id=caller_id(call, cell.opened),
        provenance=call.provenance(),
    )
    return (0 if done.value is None else done.value.history_id), done.position or 0
