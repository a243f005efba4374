"""The result dicts of the submissions interface: their keys and the order of them.

In process a result holds datetimes and the answer as Python value; over HTTP the same dict
is written as JSON, so nothing here knows where it goes. What is sealed is opened by
``Opened``, and given to these functions as plain text.

Source: edx-submissions, the serializers of its results.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from api.backend import Opener
from domain.application import Work  # noqa: F401
from domain.errors import KeyDestroyedError
from domain.submissions.application import answer_context, reason_context
from domain.submissions.student_item import ScoreSet, SubmissionCreated
from projections.submissions import Annotation, Score, Submission, TopSubmission

Result = dict[str, Any]
