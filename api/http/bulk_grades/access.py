"""Who may handle files of grades: the team of the course. The peer asks nobody."""

from api.http.calls import Call
from api.http.grades import errors
from api.http.grades.access import Opened, standing
from api.http.grades.parameters import course_in_path, course_key
from api.http.grades.permissions import is_course_author


async def open_course(call: Call) -> Opened:
    """The course in the path.

    Raises:
        ApiError: in this order: no key, no course, no rights.
    """
    key = course_key(course_in_path(call))
    if key is None:
        raise errors.invalid_course_key()
    found = await standing(call, str(key))
    if found.course is None:
        raise errors.course_does_not_exist(str(key))
    if not is_course_author(call.caller, found.rights, key):
        raise errors.not_an_author()
    return Opened(key, found.course, found.rights, found.position)
