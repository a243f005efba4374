"""Messages of the event bus that change who learns and teaches here: to requests."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

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
    READ,
    ROLE_ADDED,
    ROLE_REMOVED,
    UNENROLLED,
    value_of,
)
from domain.application import Done
from domain.errors import UnavailableError
from domain.events import Provenance
from domain.learners.errors import UserNotFoundError

VIA: Final = "openedx"

Perform = Callable[[Commands, Mapping[str, Any], Once, Provenance], Awaitable[Done[Any]]]


def decoder(registry: Registry) -> Decoder:
    """Reads the messages of topics of the event bus; other types than ours are passed over.

    What a message says is read when it is carried out: its schema may have to be fetched.
    """

    def read(message: Message) -> Request | None:
        headers = _headers(message)
        type_ = headers.get("ce_type", "")
        if type_ not in READ:
            return None
        if headers.get("content-type", "") != AVRO.decode():
            raise RejectedError("undecodable", f"the header content-type is not {AVRO.decode()}")
        try:
            framed = open_frame(message.value)
        except FrameError as error:
            raise RejectedError("undecodable", str(error)) from None
        return Request(
            id=checked_id(headers.get("ce_id"), "id"),
            source=checked_id(headers.get("ce_source"), "source"),
            type=type_,
            about=repr(message.key),
            content=framed.body,
            carry_out=_carrying(type_, framed, registry),
            via=VIA,
        )

    return read


def _headers(message: Message) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, raw in message.headers:
        if name in found:
            raise RejectedError("undecodable", f"the header {name} is there twice")
        try:
            found[name] = (raw or b"").decode()
        except UnicodeDecodeError:
            raise RejectedError("undecodable", f"the header {name} is not UTF-8") from None
    return found


def _carrying(type_: str, framed: Framed, registry: Registry) -> CarryOut:
    async def carry_out(commands: Commands, once: Once, provenance: Provenance) -> Done[Any]:
        schema = registry.knows(framed.schema_id)
        try:
            if schema is None:
                schema = await asyncio.to_thread(registry.schema, framed.schema_id)
            record = decode(framed.body, schema, value_of(type_).schema)
        except RegistryError as error:
            if error.passing:
                raise UnavailableError(str(error)) from error
            raise RejectedError("undecodable", str(error)) from None
        except FrameError as error:
            raise RejectedError("undecodable", str(error)) from None
        return await _PERFORM[type_](commands, record, once, provenance)

    return carry_out


async def _enrollment(
    commands: Commands, record: Mapping[str, Any], once: Once, provenance: Provenance
) -> Done[Any]:
    given = record["enrollment"]
    username = await _known(commands, given["user"], once, provenance)
    return await commands.learners.set_enrollment(
        username,
        given["course"]["course_key"],
        given["mode"] or None,
        given["is_active"],
        user_id=given["user"]["id"],
        enrolled_at=given["creation_date"] or None,
        provenance=provenance,
        idempotency=once(),
    )


async def _unenrollment(
    commands: Commands, record: Mapping[str, Any], once: Once, provenance: Provenance
) -> Done[Any]:
    given = record["enrollment"]
    username = await _known(commands, given["user"], once, provenance)
    return await commands.learners.set_enrollment(
        username,
        given["course"]["course_key"],
        is_active=False,
        user_id=given["user"]["id"],
        provenance=provenance,
        idempotency=once(),
    )


async def _role_added(
    commands: Commands, record: Mapping[str, Any], once: Once, provenance: Provenance
) -> Done[Any]:
    given = record["course_access_role_data"]
    username = await _known(commands, given["user"], once, provenance)
    return await commands.learners.grant_role(
        username, given["role"], **_where(given), provenance=provenance, idempotency=once()
    )


async def _role_removed(
    commands: Commands, record: Mapping[str, Any], once: Once, provenance: Provenance
) -> Done[Any]:
    given = record["course_access_role_data"]
    username = await _known(commands, given["user"], once, provenance)
    return await commands.learners.revoke_role(
        username, given["role"], **_where(given), provenance=provenance, idempotency=once()
    )


def _where(given: Mapping[str, Any]) -> dict[str, str]:
    """In a course; in an organisation where no course is named."""
    if given["course_key"]:
        return {"course_id": given["course_key"]}
    if given["org_key"]:
        return {"org": given["org_key"]}
    raise RejectedError("invalid", "the role is of no course and no organisation")


async def _known(
    commands: Commands, user: Mapping[str, Any], once: Once, provenance: Provenance
) -> str:
    """The name of a user, who is registered if nobody is called so yet."""
    pii = user["pii"]
    username = str(pii["username"])
    if not username:
        raise RejectedError("invalid", "the user has no name: the sender leaves out who it is")
    try:
        await commands.learners.find_user(username, user["id"])
    except UserNotFoundError:
        await commands.learners.register_user(
            username,
            user_id=user["id"],
            email=pii["email"] or None,
            full_name=pii["name"] or None,
            is_active=user["is_active"],
            provenance=provenance,
            idempotency=once("user"),
        )
    return username


_PERFORM: Final[Mapping[str, Perform]] = {
    ENROLLED: _enrollment,
    ENROLLMENT_CHANGED: _enrollment,
    UNENROLLED: _unenrollment,
    ROLE_ADDED: _role_added,
    ROLE_REMOVED: _role_removed,
}
