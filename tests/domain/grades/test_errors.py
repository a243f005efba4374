"""Refusals carry the texts that clients match."""

from domain.errors import ForbiddenError, InvalidCommandError, NotFoundError
from domain.grades.errors import (
    GradesFrozenError,
    InvalidPointsError,
    SubsectionNotFoundError,
)


def test_refusals_have_their_texts_and_families() -> None:
    missing = SubsectionNotFoundError("block-v1:O+C+R+type@sequential+block@hw2")
    assert str(missing) == (
        "usage_key block-v1:O+C+R+type@sequential+block@hw2 does not exist in this course."
    )
    assert isinstance(missing, NotFoundError)
    assert str(GradesFrozenError()) == "Grades are frozen for this course."
    assert isinstance(GradesFrozenError(), ForbiddenError)
    assert str(InvalidPointsError(float("nan"))) == "nan is no number of points."
    assert issubclass(InvalidPointsError, InvalidCommandError)
