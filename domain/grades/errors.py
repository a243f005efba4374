"""The refusals of the grades context; texts that clients match are those of its peer.

Source: Open edX LMS, ``lms.djangoapps.grades.rest_api``.
"""

from domain.errors import DomainError, ForbiddenError, InvalidCommandError, NotFoundError


class GradesError(DomainError):
    """Any refusal of this context."""


class SubsectionNotFoundError(GradesError, NotFoundError):
    """The usage key names no subsection of the course."""

    def __init__(self, usage_key: str) -> None:
        self.usage_key = usage_key
        super().__init__(f"usage_key {usage_key} does not exist in this course.")


class InvalidPointsError(GradesError, InvalidCommandError):
    """Points that nobody can calculate with."""

    def __init__(self, points: float) -> None:
        super().__init__(f"{points} is no number of points.")


class GradesFrozenError(GradesError, ForbiddenError):
    """The course ended too long ago for its grades to change."""

    def __init__(self) -> None:
        super().__init__("Grades are frozen for this course.")
