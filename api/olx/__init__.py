"""Courses as Open edX exports them: an archive in, blocks and a grading policy out.

Whoever made the archive may be anybody. It is read within limits and into memory, nothing of
it is ever written to a path that it names, and what is refused is refused before anything is
published. Broken parts of an honest archive are kept without content and reported.
"""

from api.olx.course import ImportedCourse, read_course
from api.olx.errors import CourseImportError

__all__ = ["CourseImportError", "ImportedCourse", "read_course"]
