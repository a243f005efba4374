"""The refusals of this context."""

from collections.abc import Mapping

from domain.errors import ConflictError, Fault, InvalidFieldsError, NotFoundError


class InvalidLearnerError(InvalidFieldsError):
    """Some values can never be those of a user, an enrolment, a role or a cohort."""

    def __init__(self, field_errors: Mapping[str, str]) -> None:
        super().__init__([Fault((name,), text, "invalid") for name, text in field_errors.items()])


class UserNotFoundError(NotFoundError):
    """Nobody of this name or number is registered."""


class CohortNotFoundError(NotFoundError):
    """The course has no such cohort."""


class CohortNameTakenError(ConflictError):
    """The course has another cohort of this name."""


class UserTakenError(ConflictError):
    """A username, a number or an anonymous id stands for somebody else."""
