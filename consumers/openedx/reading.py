"""Messages of the event bus that change who learns and teaches here: to requests."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Final, NamedTuple

from fastavro.types import Schema

from consumers.inbound.requests import (
    CarryOut,
    Commands,
    Decoder,
    Once,
    RejectedError,
    Request,
    checked_id,
)
from consumers.kafka.client import Message
from consumers.openedx.encoding import AVRO, Framed, FrameError, decode, open_frame
from consumers.openedx.registry import Registry, RegistryError
from consumers.openedx.signals import (
    ENROLLED,
    ENROLLMENT_CHANGED,
    ROLE_ADDED,
    ROLE_REMOVED,
    UNENROLLED,
    value_of,
)
from domain.application import Done
from domain.errors import UnavailableError
from domain.events import Provenance
from domain.learners import fields
from domain.learners.errors import UserNotFoundError

VIA: Final = "openedx"

ASK_AGAIN: Final = 1.0
"""Seconds until the registry is asked again for a schema that it did not tell."""


class _Told(NamedTuple):
    """What a message says, and when that happened, if it says so."""

    record: Mapping[str, Any]
    at: datetime | None


Perform = Callable[[Commands, _Told, Once, Provenance], Awaitable[Done[Any]]]


def decoder(registry: Registry, taken: Collection[str]) -> Decoder:
    """Reads the messages of a topic that is said to carry these types.

    All others are passed over, those too that another topic carries: who may write to one
    need not be allowed what the other is for. What a message says is read when it is carried
    out: its schema may have to be fetched.
    """
    schemas = _Schemas(registry)

    def read(message: Message) -> Request | None:
        type_ = _header(message, "ce_type")
        if type_ is None or type_ not in taken:
            return None
        # Senders differ in which of these they write, and the frame tells more than they do.
        content_type = _header(message, "content-type") or _header(message, "ce_datacontenttype")
        if content_type not in {None, AVRO.decode()}:
            raise RejectedError("undecodable", f"the header content-type is not {AVRO.decode()}")
        try:
            framed = open_frame(message.value)
        except FrameError as error:
            raise RejectedError("undecodable", str(error)) from None
        return Request(
            id=checked_id(_header(message, "ce_id"), "id"),
            source=checked_id(_header(message, "ce_source"), "source"),
            type=type_,
            about=repr(message.key),
            content=framed.body,
            carry_out=_carrying(type_, framed, schemas, _moment(_header(message, "ce_time"))),
            via=VIA,
        )

    return read


class _Schemas:
    """The schemas of those who write; one question to the registry, whoever waits for it.

    For the tasks of one event loop.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._asked: dict[int, asyncio.Task[Schema]] = {}

    async def find(self, id_: int) -> Schema:
        """The schema with a number.

        Raises:
            RegistryError: there is none, or it cannot be had at the moment.
        """
        known = self._registry.knows(id_)
        if known is not None:
            return known
        asked = self._asked.get(id_)
        if asked is None:
            asked = asyncio.create_task(asyncio.to_thread(self._registry.schema, id_))
            self._asked[id_] = asked
            asked.add_done_callback(partial(self._answered, id_))
        return await asyncio.shield(asked)

    def _answered(self, id_: int, asked: asyncio.Task[Schema]) -> None:
        failed = not asked.cancelled() and asked.exception() is not None
        # A registry that is away would be asked by a thousand messages, each of its own.
        asyncio.get_running_loop().call_later(
            ASK_AGAIN if failed else 0.0, self._asked.pop, id_, None
        )


def _header(message: Message, name: str) -> str | None:
    """A header; others may hold whatever those who trace messages write into them."""
    found = [raw for known, raw in message.headers if known == name]
    if not found:
        return None
    if len(found) > 1:
        raise RejectedError("undecodable", f"the header {name} is there twice")
    try:
        return (found[0] or b"").decode()
    except UnicodeDecodeError:
        raise RejectedError("undecodable", f"the header {name} is not UTF-8") from None


def _moment(text: str | None) -> datetime | None:
    try:
        return None if text is None else fields.moment(text)
    except fields.BadValueError:
        return None


def _carrying(type_: str, framed: Framed, schemas: _Schemas, at: datetime | None) -> CarryOut:
    async def carry_out(commands: Commands, once: Once, provenance: Provenance) -> Done[Any]:
        try:
            schema = await schemas.find(framed.schema_id)
            record = decode(framed.body, schema, value_of(type_).schema)
        except RegistryError as error:
            if error.passing:
                raise UnavailableError(str(error)) from error
            raise RejectedError("undecodable", str(error)) from None
        except FrameError as error:
            raise RejectedError("undecodable", str(error)) from None
        return await _PERFORM[type_](commands, _Told(record, at), once, provenance)

    return carry_out


async def _enrollment(
    commands: Commands,
    told: _Told,
    once: Once,
    provenance: Provenance,
    *,
    ends: bool = False,
) -> Done[Any]:
    given = told.record["enrollment"]
    wanted: dict[str, Any] = {
        "username": _name(given["user"]),
        "user_id": given["user"]["id"],
        "course_id": given["course"]["course_key"],
        "mode": given["mode"] or None,
        "is_active": given["is_active"] and not ends,
        "enrolled_at": given["creation_date"] or None,
        "unenrolled_at": told.at,
    }
    fields.enrollment(wanted)  # nobody is registered for what is refused
    await _make_known(commands, given["user"], once, provenance)
    return await commands.learners.set_enrollment(
        **wanted, provenance=provenance, idempotency=once()
    )


async def _role_added(
    commands: Commands, told: _Told, once: Once, provenance: Provenance
) -> Done[Any]:
    wanted = await _role(commands, told, once, provenance)
    return await commands.learners.grant_role(**wanted, provenance=provenance, idempotency=once())


async def _role_removed(
    commands: Commands, told: _Told, once: Once, provenance: Provenance
) -> Done[Any]:
    wanted = await _role(commands, told, once, provenance)
    return await commands.learners.revoke_role(**wanted, provenance=provenance, idempotency=once())


async def _role(
    commands: Commands, told: _Told, once: Once, provenance: Provenance
) -> dict[str, Any]:
    """What is asked for a role: in a course, or in an organisation where no course is named.

    Whose it is, is registered then.
    """
    given = told.record["course_access_role_data"]
    course, org = given["course_key"] or None, given["org_key"] or None
    if course is not None:
        org = None
    elif org is None:
        raise RejectedError("invalid", "the role is of no course and no organisation")
    username = _name(given["user"])
    fields.role(given["role"], course, org)  # nobody is registered for what is refused
    await _make_known(commands, given["user"], once, provenance)
    return {"username": username, "role": given["role"], "course_id": course, "org": org}


def _name(user: Mapping[str, Any]) -> str:
    username = str(user["pii"]["username"])
    if not username:
        raise RejectedError("invalid", "the user has no name: the sender leaves out who it is")
    return username


async def _make_known(
    commands: Commands, user: Mapping[str, Any], once: Once, provenance: Provenance
) -> None:
    """Register a user, if nobody is called so yet."""
    pii = user["pii"]
    username = _name(user)
    try:
        await commands.learners.find_user(username, user["id"])
    except UserNotFoundError:
        await commands.learners.register_user(
            username,
            user_id=user["id"],
            email=_usable(fields.email, pii["email"]),
            full_name=_usable(fields.full_name, pii["name"]),
            is_active=user["is_active"],
            provenance=provenance,
            idempotency=once("user"),
        )


def _usable(rule: Callable[[str], str], text: str) -> str | None:
    """A text, unless it is refused here: an enrolment must not fail for an odd name."""
    try:
        return rule(text) or None
    except fields.BadValueError:
        return None


_PERFORM: Final[Mapping[str, Perform]] = {
    ENROLLED: _enrollment,
    ENROLLMENT_CHANGED: _enrollment,
    UNENROLLED: partial(_enrollment, ends=True),
    ROLE_ADDED: _role_added,
    ROLE_REMOVED: _role_removed,
}
