"""Users over HTTP: registering them, and who one is."""

from typing import Any, Final

from starlette.responses import Response

from api.http.calls import Call
from api.http.idempotency import Written, respond
from api.http.learner_access import WRITE_USERS, may_write_everywhere, refuse_unless_writer
from api.http.learner_schemas import GivenUser, User
from api.http.problems import Locations
from api.http.reading import ask, result
from api.http.routing import Answers, Operation
from api.http.submissions import IF_NONE_MATCH, MIN_POSITION, ON_BEHALF_OF
from domain.application import rebuild
from domain.errors import ForbiddenError, KeyDestroyedError
from domain.learners import user as users
from domain.learners.errors import UserNotFoundError
from domain.learners.registering import UserState, user_state
from projections.gradebook.queries import user_by_username

TAG: Final = "users"
PATH: Final = "/api/users/v1/users/{username}/"


async def register_user(call: Call) -> Response:
    """Register a user, or change what is given of one."""
    await refuse_unless_writer(call, WRITE_USERS)
    raw = await call.raw_body()
    done = await call.backend.learners.register_user(
        call.path_text("username"), **call.members(raw), provenance=call.provenance()
    )
    document = await _document(call, done.value)
    status = 201 if done.value.created else 200
    return await respond(call, done, lambda _: Written(status, document))


async def get_user(call: Call) -> Response:
    """A user, to himself and to those who may change him."""
    call.query()
    username = call.path_text("username")
    if username != call.caller.username and not await may_write_everywhere(call, WRITE_USERS):
        raise ForbiddenError("others are shown to global staff and services only")
    found = await ask(call, user_by_username(username))
    if found.value is None:
        raise UserNotFoundError(f"there is no user called {username}")
    # The whole of a user is in the log; what is asked for is as of the read model's position.
    stream = await call.backend.events.read_recorded_stream(
        users.user_stream(found.value.user_id), until=found.position
    )
    user = rebuild(recorded.event for recorded in stream)
    assert isinstance(user, users.User)
    return result(call, await _document(call, user_state(user)), found.position)


async def _document(call: Call, user: UserState) -> dict[str, Any]:
    vault = call.backend.vault
    await vault.load([text for text in (user.email, user.full_name) if text])

    def opened(sealed: str | None, context: str) -> str | None:
        try:
            return vault.open(sealed, context) if sealed else None
        except KeyDestroyedError:
            return None

    return {
        "user_id": user.user_id,
        "username": user.username,
        "email": opened(user.email, users.email_context(user.user_id)),
        "full_name": opened(user.full_name, users.full_name_context(user.user_id)),
        "is_active": user.is_active,
        "is_staff": user.is_staff,
        "anonymous_ids": user.anonymous_ids,
        "external_user_keys": [
            {"course_id": course_id, "external_user_key": key, "status": status}
            for course_id, (key, status) in sorted(user.programs.items())
        ],
        "roles": [role._asdict() for role in user.roles],
        "registered_at": user.registered_at,
    }


_IN_PATH: Final = Locations(others={"username": ("path",)})
_PATHS: Final = {"username": "1 to 150 printable characters without a slash."}
_OF_READS: Final = ("X-Log-Position", "ETag")
_OF_WRITES: Final = ("X-Log-Position",)

OPERATIONS: Final = (
    Operation(
        method="PUT",
        path=PATH,
        handler=register_user,
        operation_id="registerUser",
        tag=TAG,
        summary="Register a user, or change what is given of one.",
        description=(
            "What is left out stays; the same again writes nothing. A user name and its number"
            " stay together for ever; user names that differ in case only are the same."
        ),
        parameters=(ON_BEHALF_OF,),
        path_descriptions=_PATHS,
        body=GivenUser,
        answers={
            201: Answers("The user is new.", User, headers=_OF_WRITES),
            200: Answers("The user was known.", User, headers=_OF_WRITES),
        },
        problems=(400, 401, 403, 409, 413, 415, 503, 504),
        locations=_IN_PATH,
    ),
    Operation(
        method="GET",
        path=PATH,
        handler=get_user,
        operation_id="getUser",
        tag=TAG,
        summary="A user, to themselves, to global staff and to services.",
        parameters=(MIN_POSITION, IF_NONE_MATCH),
        path_descriptions=_PATHS,
        answers={
            200: Answers("The user.", User, headers=_OF_READS),
            304: Answers("The answer at hand is the same.", headers=_OF_READS),
        },
        problems=(400, 401, 403, 404, 503),
    ),
)
