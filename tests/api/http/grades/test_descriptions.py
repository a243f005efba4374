"""Full answers of the grades interface fit their descriptions."""

from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.http.grades.routes import OPERATIONS
from api.http.openapi import describe
from tests.api.http.described import cases_of
from tests.api.http.grades.classroom import Classroom, an_override

DOCUMENT = describe(OPERATIONS, version="1")
described = cases_of(DOCUMENT)


def check(template: str, response: httpx.Response) -> None:
    path = f"/api/grades/v1{template}"
    method = response.request.method.lower()
    described = DOCUMENT["paths"][path][method]["responses"][str(response.status_code)]
    whole = described["content"]["application/json"]["schema"] | {
        "components": DOCUMENT["components"]
    }
    Draft202012Validator(whole).validate(response.json())
    promised = {name.lower() for name in described["headers"]}
    assert promised <= set(response.headers)


@pytest.fixture
def full(physics: Classroom) -> Classroom:
    """A course in which there is something to see everywhere."""
    keys = {physics.course_id: "STU-1"}
    ann = physics.ann = physics.learner(  # type: ignore[attr-defined]
        "ann", "masters", email="a@example.org", full_name="Ann", external_user_keys=keys
    )
    physics.learner("ben")
    physics.score("ann", "p1", 5, 5)
    physics.teacher.gradebook()
    for comment in ("why", None):
        item = an_override(ann, physics.cell("hw1"), earned_graded_override=6, comment=comment)
        check("/gradebook/{course_id}/bulk-update", physics.teacher.bulk(item))
    return physics


def test_answers(full: Classroom) -> None:
    root, course, ann = full.root, full.course_id, full.name("ann")
    one: dict[str, Any] = {"username": ann}
    check("/courses/", root.get(f"/courses/?course_id={course}"))
    check("/courses/{course_id}/", root.get(f"/courses/{course}/", page_size=1))
    check("/courses/{course_id}/", root.get(f"/courses/{course}/", **one))
    check("/policy/courses/{course_id}/", root.get(f"/policy/courses/{course}/"))
    check("/gradebook/{course_id}/", root.gradebook(page_size=1))
    check("/gradebook/{course_id}/", root.gradebook(**one))
    check("/gradebook/{course_id}/grading-info", root.get(f"/gradebook/{course}/grading-info"))
    cell = f"/subsection/{full.cell('hw1')}/"
    user_id = full.ann  # type: ignore[attr-defined]
    check("/subsection/{subsection_id}/", root.get(cell, user_id=user_id))
    check("/section_grades_breakdown/", root.get("/section_grades_breakdown/", course_id=course))
    check(
        "/submission_history/{course_id}/",
        root.get(f"/submission_history/{course}/", page_size=1),
    )


def test_refusals(full: Classroom) -> None:
    root, ann = full.root, full.caller("ann")
    check("/gradebook/{course_id}/", ann.gradebook())
    check("/gradebook/{course_id}/", full.nobody.gradebook())
    check("/gradebook/{course_id}/", root.gradebook(course_grade_min="x"))
    check("/gradebook/{course_id}/", root.gradebook(cursor="x"))
    check("/gradebook/{course_id}/bulk-update", full.teacher.bulk(an_override(0, "x")))
    check("/gradebook/{course_id}/bulk-update", full.teacher.bulk(content=b"x"))


@schemathesis.pytest.from_fixture("described").parametrize()
@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_whatever_is_asked_about_a_real_course(
    full: Classroom, case: schemathesis.Case[Any]
) -> None:
    real = {"course_id": full.course_id, "subsection_id": full.cell("hw1")}
    case.path_parameters.update({n: real[n] for n in case.path_parameters if n in real})
    case.headers["Authorization"] = full.root.site.headers["Authorization"]
    case.headers.pop("X-Min-Log-Position", None)  # would wait for a position far away
    response = case.call(base_url=full.site.url)
    checks = [not_a_server_error, content_type_conformance, response_schema_conformance]
    case.validate_response(
        response, checks=[*checks, status_code_conformance, response_headers_conformance]
    )
