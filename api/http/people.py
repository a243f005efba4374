"""Who people are and what they may do, by what is recorded of them."""

from dataclasses import replace

from api.http.auth import MAX_NAME_LENGTH, Caller
from api.http.calls import Call
from domain.errors import UnavailableError
from projections.gradebook.queries import caller_rights, user_by_username, users_page
from projections.gradebook.rows import UserRow


async def find(call: Call, username: str, *, latest: bool = False) -> UserRow | None:
    """A user by name; ``latest``: as of the head of the log."""
    if not 0 < len(username) <= MAX_NAME_LENGTH or "\0" in username:
        return None
    found = await call.backend.reads.ask(user_by_username(username), latest=latest)
    return found.value


async def some(call: Call, limit: int) -> list[UserRow]:
    """The first users by name, those who may do everything before the others."""
    found = await call.backend.reads.ask(users_page(None, limit), latest=True)
    return sorted(found.value, key=lambda one: (not one.is_staff, one.username))


async def with_recorded_rights(call: Call) -> Caller:
    """The caller with the roles and ids that are recorded of him beside those of the token.

    What restricts the token restricts these, too. A service brings its rights with it, and
    nobody has to wait for a read model that is not there: then the token alone counts.
    """
    told = call.caller
    if told.is_service or told.only_own:
        return told
    try:
        found = await caller(call, told.username, at_least=0)
    except UnavailableError:
        return told
    if found is None:
        return told
    roles = {
        role: told.course_roles.get(role, frozenset()) | found.course_roles.get(role, frozenset())
        for role in {*told.course_roles, *found.course_roles}
    }
    return replace(
        told,
        is_global_staff=found.is_global_staff,
        course_roles=roles,
        anonymous_ids=told.anonymous_ids | found.anonymous_ids,
    )


async def caller(call: Call, username: str, *, at_least: int | None = None) -> Caller | None:
    """A user as who calls; None when he is not known or may not come in any more.

    As of the position that the request must have seen, or ``at_least`` another one.
    """
    reads = call.backend.reads
    at_least = call.min_position if at_least is None else at_least
    person = (await reads.ask(user_by_username(username), at_least=at_least)).value
    rights = (await reads.ask(caller_rights(username), at_least=at_least)).value
    if person is None or rights is None or not rights.is_active:
        return None
    courses: dict[str, set[str]] = {}
    for _org, course_id, role in rights.roles:
        if course_id is not None:
            courses.setdefault(role, set()).add(course_id)
    return Caller(
        username=rights.username,
        user_id=str(rights.user_id),
        is_global_staff=rights.is_staff,
        course_roles={role: frozenset(ids) for role, ids in courses.items()},
        anonymous_ids=frozenset(person.anonymous_ids),
    )


async def role_names(call: Call, username: str) -> list[str]:
    """The names of the roles that somebody has anywhere; what they allow is not told by this."""
    rights = (await call.backend.reads.ask(caller_rights(username))).value
    return [] if rights is None else sorted({role for _org, _course, role in rights.roles})
