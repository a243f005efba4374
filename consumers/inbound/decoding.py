"""Messages of our own family of types: from CloudEvents with JSON to requests."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from consumers.inbound import models
from consumers.inbound.envelope import Envelope, open_envelope
from consumers.inbound.performing import (
    change_enrollment,
    change_user,
    grant_role,
    reject_attempt,
    report_score,
    revoke_role,
    save_problem_state,
    verify_attempt,
)
from consumers.inbound.requests import CarryOut, Decoder, RejectedError, Request
from consumers.kafka.client import Message

M = TypeVar("M", bound=BaseModel)

MOST_FAULTS: Final = 5
"""How many faults of a message are told."""

_PERFORM: Final[Mapping[type[models.Closed], Callable[[Any, Envelope], CarryOut]]] = {
    models.ScoreReported: report_score,
    models.ProblemStateSaved: save_problem_state,
    models.ExamAttemptRejected: reject_attempt,
    models.ExamAttemptVerified: verify_attempt,
    models.UserChanged: change_user,
    models.EnrollmentChanged: change_enrollment,
    models.CourseRoleGranted: grant_role,
    models.CourseRoleRevoked: revoke_role,
}


def decoder(taken: tuple[type[models.Closed], ...], *, via: str) -> Decoder:
    """Reads the messages of a topic that takes these types and no others.

    Who may write to one topic need not be allowed what another topic is for.
    """
    by_type = {models.type_of(model): model for model in taken}

    def decode(message: Message) -> Request:
        envelope = open_envelope(message)
        model = by_type.get(envelope.type)
        if model is None:
            raise RejectedError(
                "unknown type", f"{envelope.type} is not taken here; {', '.join(by_type)} are"
            )
        content = envelope.content()
        value = checked(model, content)
        return Request(
            id=envelope.id,
            source=envelope.source,
            type=envelope.type,
            about=_about(value),
            content=content,
            carry_out=_PERFORM[model](value, envelope),
            via=via,
            trace=envelope.trace,
            on_behalf_of=getattr(value, "scored_by", None),
        )

    return decode


def checked(model: type[M], content: bytes) -> M:
    """What a message says, as its type.

    Raises:
        RejectedError: it says something else.
    """
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        # Not the values: they may be personal, and the payload is kept anyway.
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        told = [
            f"{'.'.join(map(str, fault['loc'])) or 'data'}: {fault['msg']}"
            for fault in faults[:MOST_FAULTS]
        ]
        if len(faults) > MOST_FAULTS:
            told.append(f"and {len(faults) - MOST_FAULTS} more")
        raise RejectedError("invalid", "; ".join(told)) from None


def _about(value: models.Closed) -> str:
    match value:
        case models.ScoreReported(submission_uuid=None, student_item=item):
            assert item is not None
            return item.student_id
        case models.ScoreReported(submission_uuid=submission_uuid):
            return str(submission_uuid)
        case models.Somebody():
            return value.about
        case _:
            return str(value.username)  # type: ignore[attr-defined]  # all others have one
