"""The gradebook: courses, the people in them, their scores, and what these are worth.

One read model, because a page of a gradebook, its filters and the right to see it must be
of one moment: ``model`` has the tables and the fold, ``queries`` what can be asked.
"""

from projections.gradebook.model import Gradebook

__all__ = ["Gradebook"]
