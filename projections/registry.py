"""All read models of this version of the code, in the order in which they are folded."""

from collections.abc import Sequence
from typing import Final

from projections.gradebook import Gradebook
from projections.read_model import ReadModel
from projections.score_history import ScoreHistory
from projections.submissions import Submissions
from projections.team_submissions import TeamSubmissions

READ_MODELS: Final[Sequence[type[ReadModel]]] = (
    Submissions,
    ScoreHistory,
    TeamSubmissions,
    Gradebook,
)


def read_model(name: str) -> type[ReadModel] | None:
    """The read model of this name."""
    return next((model for model in READ_MODELS if model.name == name), None)
