"""What is published of a course of the dataset: its outline and its grading policy.

Each assessment is a graded subsection with one problem, and an assignment type of its own:
no two assessments of a course need weigh the same.
"""

import math
from typing import Any, Final

from domain.application import Done
from domain.courses.application import Courses, Published
from domain.events import Provenance
from infra.imports.oulad import POINTS_POSSIBLE, Assessment, Course

CUTOFFS: Final = {"Pass": 0.4, "Distinction": 0.85}
"""The Open University passes from 40 percent on, with distinction from 85."""


async def publish(courses: Courses, course: Course, provenance: Provenance) -> Done[Published]:
    """Publish a course; again if anything of it has changed."""
    return await courses.publish(
        course.course_id,
        display_name=_name(course),
        start=course.start,
        end=course.midnight(course.days),
        blocks=blocks(course),
        grading_policy=policy(course),
        provenance=provenance,
    )


def blocks(course: Course) -> list[dict[str, Any]]:
    """The outline: one chapter with all assessments in the order of their file."""
    root, chapter = course.key("course", "course"), course.key("chapter", "assessments")
    found = [
        _block(root, "course", None, _name(course)),
        _block(chapter, "chapter", root, "Assessments"),
    ]
    for assessment in course.assessments:
        name, type_ = assessment.id, assignment_type(assessment)
        subsection, unit = course.key("sequential", name), course.key("vertical", name)
        graded: dict[str, Any] = {"graded": True, "format": type_}
        if assessment.day is not None:
            graded["due"] = course.midnight(assessment.day)
        found += [
            _block(subsection, "sequential", chapter, type_) | graded,
            _block(unit, "vertical", subsection, type_),
            _block(assessment.item_id, "problem", unit, type_)
            | {"max_score": float(POINTS_POSSIBLE)},
        ]
    return found


def policy(course: Course) -> dict[str, Any]:
    """The grading policy: the weights of a course, which add up to 100 or more, as shares of 1."""
    total = math.fsum(assessment.weight for assessment in course.assessments)
    graders = [
        {
            "type": assignment_type(assessment),
            "min_count": 1,
            "drop_count": 0,
            "weight": assessment.weight / total if total else 0.0,
        }
        for assessment in course.assessments
    ]
    return {"graders": graders, "cutoffs": CUTOFFS}


def assignment_type(assessment: Assessment) -> str:
    """The assignment type that an assessment has to itself, which is also what it is called."""
    return f"{assessment.kind} {assessment.id}"


def _name(course: Course) -> str:
    return f"{course.module} {course.presentation}"


def _block(key: str, kind: str, parent: str | None, name: str) -> dict[str, Any]:
    return {"usage_key": key, "type": kind, "parent": parent, "display_name": name}
