"""The errors of the submissions interface, with the names, arguments and texts of its peer.

Source: edx-submissions, ``submissions.errors``. Texts are contract: clients match them.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Self

from domain.errors import ConflictError, DomainError, InvalidCommandError, NotFoundError


class FieldMessage(str):  # noqa: SLOT000 - str cannot have slots beside its text
    """The text of a field error, which also carries its code."""

    code: str

    def __new__(cls, text: str, code: str) -> Self:
        message = super().__new__(cls, text)
        message.code = code
        return message

    def __reduce__(self) -> tuple[type["FieldMessage"], tuple[str, str]]:
        return (FieldMessage, (str(self), self.code))


FieldErrors = Mapping[str, Sequence[str]]
"""Field name to its messages; errors of the whole record stand under ``non_field_errors``."""


class SubmissionError(DomainError):
    """Any error of this interface but a duplicate team submission."""


class SubmissionInternalError(SubmissionError):
    """Something failed inside; or bad points, with the field errors as only argument."""


class SubmissionNotFoundError(SubmissionError, NotFoundError):
    """No such submission, or it was deleted."""


class SubmissionRequestError(SubmissionError, InvalidCommandError):
    """The request was bad.

    Attributes:
        field_errors: field name to list of messages; ``{}`` when the message says it all.
    """

    def __init__(self, msg: str = "", field_errors: FieldErrors | None = None) -> None:
        self.msg = msg
        self.field_errors: dict[str, Any] = copy.deepcopy(dict(field_errors or {}))
        super().__init__(msg, self.field_errors)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(msg={_double_quoted(self.msg)},"
            f" field_errors={self.field_errors!r})"
        )


def _double_quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class ExternalGraderQueueEmptyError(SubmissionError):
    """A grader queue has no name or no work."""


class InvalidFileTypeError(SubmissionError):
    """Declared by the interface; nothing raises it."""


class FileProcessingError(SubmissionError):
    """Declared by the interface; nothing raises it."""


class DuplicateTeamSubmissionsError(ConflictError):
    """The team has an active submission for this item already."""


class TeamSubmissionNotFoundError(SubmissionNotFoundError):
    """No such team submission, or it was deleted."""


class TeamSubmissionInternalError(SubmissionInternalError):
    """Something failed inside while a team submission was handled."""


class TeamSubmissionRequestError(SubmissionRequestError):
    """The request about a team submission was bad."""
