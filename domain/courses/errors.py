"""The refusals of this context."""

from domain.errors import InvalidFieldsError, NotFoundError


class CourseRequestError(InvalidFieldsError):
    """What was to be published is no course, or not one of this key."""


class CourseNotFoundError(NotFoundError):
    """Nothing was ever published under this key."""
