"""One cell of the gradebook: what was calculated, what somebody decided instead, and how it came."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from starlette.responses import Response

from api.http.calls import Call
from api.http.grades import errors
from api.http.grades.access import Standing, standing
from api.http.grades.content import CourseContent, content_of
from api.http.grades.learners import viewers
from api.http.grades.parameters import LARGEST_NUMBER, Parameters, path_text, whole_number
from api.http.grades.permissions import is_course_author
from api.http.grades.problem_scores import problem_scores
from api.http.reading import ask, result
from api.rendering import Result
from domain.errors import KeyDestroyedError
from domain.grades.application import override_context
from domain.grades.learner_grades import REMOVED
from domain.grades.scores import Totals, subsection_totals
from domain.grades.structure import Viewer, visible
from domain.keys import BlockKey, CourseKey, InvalidKeyError, parse_block_key
from projections.gradebook import queries
from projections.gradebook.rows import OverrideChange, SubsectionCell
from projections.gradebook.tables import StoredOverride

NOT_AVAILABLE: Final = (
    "Cannot override subsection grade: subsection is not available for target learner."
)
_NOTHING: Final = Totals(0.0, 0.0, 0.0, 0.0)
_NOBODY: Final = Viewer({})
_EMPTY: Final = SubsectionCell(None, None)


async def get_subsection_grade(call: Call) -> Response:
    """The grade of one learner in one subsection, with the history of its override."""
    key = _usage_key(path_text(call, "subsection_id"))
    course_key, found = await _course_of(call, key)
    course_id = str(course_key)
    if not is_course_author(call.caller, found.rights, course_key):
        raise errors.not_an_author()
    query = Parameters(call)
    user_id = whole_number(query.text("user_id"))
    if user_id is None:
        raise errors.invalid_user_id()
    usage_key = str(BlockKey(course_key, key.block_type, key.block_id))
    content = None if found.course is None else await content_of(call, found.course)
    ordinal = None if content is None else content.ordinals.get(usage_key)
    cell, position = _EMPTY, found.position
    if ordinal is not None:
        answer = await ask(call, queries.cell(course_id, user_id, ordinal))
        cell, position = answer.value, answer.position
    original: Totals | None
    if cell.record is not None:
        original = Totals(*cell.record[:4])
    else:
        original = await _calculated(call, content, usage_key, user_id)
    document = {
        "success": original is not None,
        **({} if original is not None else {"error_message": NOT_AVAILABLE}),
        "subsection_id": usage_key,
        "user_id": user_id,
        "course_id": course_id,
        "original_grade": (original or _NOTHING)._asdict(),
        "override": _override(cell.override),
        "history": await _history(
            call, course_id, user_id, usage_key, cell.override, _limit(query)
        ),
    }
    return result(call, document, position)


def _usage_key(text: str) -> BlockKey:
    try:
        return parse_block_key(text)
    except InvalidKeyError:
        raise errors.invalid_usage_key() from None


async def _course_of(call: Call, key: BlockKey) -> tuple[CourseKey, Standing]:
    """The course that a block belongs to: courses of the old form have keys of blocks of the new."""
    course_key = key.course.without_branch
    found = await standing(call, str(course_key))
    if found.course is None:
        old_key = replace(course_key, deprecated=True)
        old = await standing(call, str(old_key))
        if old.course is not None:
            return old_key, old
    return course_key, found


def _limit(query: Parameters) -> int | None:
    """How many changes to show; None for all. What is no such number shows none."""
    text = query.get("history_record_limit")
    if text is None:
        return None
    try:
        return min(max(0, int(text)), LARGEST_NUMBER)
    except ValueError:
        return 0


async def _calculated(
    call: Call, content: CourseContent | None, usage_key: str, user_id: int
) -> Totals | None:
    """What the subsection comes to now, without recording it; None if the learner cannot see it.

    Raises:
        ApiError: 404: there is no such user.
    """
    users = await ask(call, queries.users_by_ids([user_id]))
    if user_id not in users.value:
        raise errors.ApiError(404, "User matching query does not exist.")
    subsection = None if content is None else content.structure.by_key.get(usage_key)
    if content is None or subsection is None:
        return None
    viewer = await _viewer(call, content, user_id)
    now = call.now()
    if not visible(subsection.gates, viewer, now):
        return None
    scores = await problem_scores(call, content.course_id, user_id, subsection)
    return subsection_totals(subsection, scores, viewer, now)[0]


async def _viewer(call: Call, content: CourseContent, user_id: int) -> Viewer:
    found = await ask(call, queries.learners_by_ids(content.course_id, [user_id]))
    row = found.value.get(user_id)
    return _NOBODY if row is None else (await viewers(call, content, [row]))[user_id]


# --- the override -----------------------------------------------------------------------------


def _override(found: StoredOverride | None) -> Result | None:
    if found is None:
        return None
    return {
        "earned_all_override": found.earned_all,
        "possible_all_override": found.possible_all,
        "earned_graded_override": found.earned_graded,
        "possible_graded_override": found.possible_graded,
    }


async def _history(
    call: Call,
    course_id: str,
    user_id: int,
    usage_key: str,
    override: StoredOverride | None,
    limit: int | None,
) -> list[Result]:
    """The last changes of the override there is, oldest first. One that is gone has none."""
    if override is None or limit == 0:
        return []
    query = queries.override_history(course_id, user_id, usage_key, limit)
    found = (await ask(call, query)).value
    changes = [change for change in found if change.override_id == override.override_id]
    changes.reverse()
    reasons = await reasons_of(call, changes)
    return [_change(change, reason) for change, reason in zip(changes, reasons, strict=True)]


def _change(change: OverrideChange, reason: str | None) -> Result:
    """One change, as clients read it, and as those of old releases do."""
    return {
        "created": _iso(change.created_at),
        "grade_id": change.grade_id,
        "history_id": change.history_id,
        "earned_all_override": change.earned_all,
        "earned_graded_override": change.earned_graded,
        "override_reason": reason,
        "system": change.system,
        "history_date": _iso(change.changed_at),
        "history_type": change.history_type,
        "history_user": change.changed_by,
        "history_user_id": change.changed_by_id,
        "id": change.override_id,
        "possible_all_override": change.possible_all,
        "possible_graded_override": change.possible_graded,
        "user": change.changed_by,
        "comments": reason,
        "feature": change.system,
        "action": "DELETE" if change.history_type == REMOVED else "CREATEORUPDATE",
    }


async def reasons_of(call: Call, changes: Sequence[OverrideChange]) -> list[str | None]:
    """Why overrides were changed, in the order of the changes; None where nobody said or knows."""
    vault = call.backend.vault
    await vault.load([change.reason for change in changes if change.reason])

    def read(change: OverrideChange) -> str | None:
        if not change.reason:
            return None
        try:
            return vault.open(change.reason, override_context(change.history_id))
        except KeyDestroyedError:
            return None

    return [read(change) for change in changes]


def _iso(moment: datetime) -> str:
    """A moment as the peer writes it: microseconds only where there are some."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
