"""The shapes of events and their types, as they are described to callers."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, WithJsonSchema

from api.http.schemas import Closed, Moment


def _without_default(schema: dict[str, Any]) -> None:
    """None stands for its absence here, and is no value that it has."""
    schema.pop("default", None)


Known = Annotated[
    str | None,
    WithJsonSchema({"type": "string"}),
    Field(json_schema_extra=_without_default),
]
"""Left out when it is not known."""


class CloudEvent(Closed):
    """An event of the log, as CloudEvents 1.0 has it."""

    specversion: Literal["1.0"]
    id: UUID = Field(description="The same wherever the event is published.")
    source: str = Field(description="The log that it is from.")
    type: str
    time: Moment = Field(description="When the log took it.")
    subject: UUID = Field(description="The stream that it is of.")
    datacontenttype: Literal["application/json"]
    position: int = Field(description="In the one total order of the log.")
    streamversion: int = Field(description="In its stream.")
    actor: Known = None
    onbehalfof: Known = None
    requestid: Known = None
    traceparent: Known = None
    cause: Known = None
    via: Known = None
    data: dict[str, Any] = Field(description="As the catalogue of types describes it.")


class EventPage(Closed):
    """A part of the log."""

    next: str = Field(description="Address of what follows, whether there is something or not.")
    previous: None = Field(description="Pages go forward only.")
    position: int = Field(description="Up to where the log was looked through.")
    head: int = Field(description="Where the log ended then.")
    results: list[CloudEvent]


class EventType(Closed):
    """What is known about the events of one type."""

    type: str
    version: int
    description: str
    schema_: dict[str, Any] = Field(
        alias="schema", description="JSON Schema (2020-12) of the data of this version."
    )
