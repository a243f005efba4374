"""Topics that carry commands: a grader's scores, an LMS's users, enrolments and roles."""

from consumers.inbound.models import schemas

__all__ = ["schemas"]
