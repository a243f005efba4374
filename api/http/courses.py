"""Courses over HTTP: publishing them, and reading what was published."""

from typing import Final

from api.http import course_reads, course_schemas, course_writes
from api.http.routing import Answers, Operation
from api.http.submissions import (
    IDEMPOTENCY_KEY,
    IF_NONE_MATCH,
    MIN_POSITION,
    ON_BEHALF_OF,
    PAGES,
    PAST,
)

PREFIX: Final = "/api/courses/v1"
TAG: Final = "courses"

_PATHS: Final = {"course_id": "Key of a course; escaped, or as it is."}
_OF_READS: Final = ("X-Log-Position", "ETag")
_SAME: Final = Answers("The answer at hand is the same.", headers=_OF_READS)

OPERATIONS: Final = (
    # Before the paths of single courses: no course has the key "import".
    Operation(
        method="POST",
        path=PREFIX + "/courses/import/",
        handler=course_writes.import_course,
        operation_id="importCourse",
        tag=TAG,
        summary="Publish a course from an export of Open edX (OLX, tar.gz).",
        description=(
            "At most 64 MiB. The file may also be called `file`. The same archive again changes"
            " nothing. Flags and modes stay as they are."
        ),
        parameters=(IDEMPOTENCY_KEY, ON_BEHALF_OF),
        body=course_schemas.GivenArchive,
        body_media_type="multipart/form-data",
        answers={
            201: Answers(
                "The course is new.",
                course_schemas.ImportedCourse,
                headers=("X-Log-Position", "Idempotent-Replayed"),
            ),
            200: Answers(
                "The course was known; what changed is named.",
                course_schemas.ImportedCourse,
                headers=("X-Log-Position", "Idempotent-Replayed"),
            ),
        },
        problems=(400, 401, 403, 409, 413, 415, 422, 503, 504),
    ),
    Operation(
        method="GET",
        path=PREFIX + "/courses/",
        handler=course_reads.get_courses,
        operation_id="getCourses",
        tag=TAG,
        summary="The courses, in the order of their keys.",
        parameters=(*PAGES, MIN_POSITION, IF_NONE_MATCH),
        answers={
            200: Answers("A page.", course_schemas.CoursePage, headers=_OF_READS),
            304: _SAME,
        },
        problems=(400, 401, 403, 503),
    ),
    Operation(
        method="PUT",
        path=PREFIX + "/courses/{course_id:course}/",
        handler=course_writes.publish_course,
        operation_id="publishCourse",
        tag=TAG,
        summary="Publish a version of a course, the whole of it.",
        description=(
            "At most 20 MiB and 50000 blocks. What changed is written, in one append; the same"
            " content again writes nothing. Everything that is wrong is told at once."
        ),
        parameters=(ON_BEHALF_OF,),
        path_descriptions=_PATHS,
        body=course_schemas.GivenCourse,
        answers={
            201: Answers(
                "The course is new.", course_schemas.PublishedCourse, headers=("X-Log-Position",)
            ),
            200: Answers(
                "The course was known; what changed is named.",
                course_schemas.PublishedCourse,
                headers=("X-Log-Position",),
            ),
        },
        problems=(400, 401, 403, 409, 413, 415, 503, 504),
    ),
    Operation(
        method="GET",
        path=PREFIX + "/courses/{course_id:course}/",
        handler=course_reads.get_course,
        operation_id="getCourse",
        tag=TAG,
        summary="A course with its outline, now or as of a moment.",
        parameters=(*PAST, MIN_POSITION, IF_NONE_MATCH),
        path_descriptions=_PATHS,
        answers={200: Answers("The course.", course_schemas.Course, headers=_OF_READS), 304: _SAME},
        problems=(400, 401, 403, 404, 503),
    ),
)
