"""The description is true: of every route, of every answer, and nothing else."""

import json
import re
from collections.abc import Iterator
from typing import Any

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

from api.http.app import OPERATIONS, create_app
from api.http.openapi import describe
from api.http.problems import TITLES
from api.http.routing import Routes
from tests.api.http.described import cases_of
from tests.api.http.site import Site, an_item

DOCUMENT = describe(OPERATIONS, version="1")
described = cases_of(DOCUMENT)


@schemathesis.serializer("application/x-ndjson")
def as_line(_: schemathesis.SerializationContext, value: Any) -> bytes:
    return json.dumps(value).encode()


def test_every_route_is_described_and_every_description_is_a_route(site: Site) -> None:
    app = create_app(lambda: pytest.fail("not opened"), site.config)
    (every,) = app.routes
    assert isinstance(every, Routes)
    routed = {
        (method, route.template)
        for route in every.routes
        for method in route.operations
        if method != "HEAD"
    }
    served = site.nobody.get("/openapi.json").json()
    described = {
        (method.upper(), path) for path, methods in served["paths"].items() for method in methods
    }
    assert described == routed
    assert served["openapi"].startswith("3.1")


def test_ids_of_operations_are_unique_and_stable() -> None:
    ids = [operation.operation_id for operation in OPERATIONS]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("[a-z][A-Za-z]+", name) for name in ids)


def test_every_schema_is_one_and_every_reference_leads_somewhere() -> None:
    for name, described in DOCUMENT["components"]["schemas"].items():
        Draft202012Validator.check_schema(described)
        assert re.fullmatch("[A-Za-z]+", name)
    references = re.findall(r"'\$ref': '#/components/(\w+)/([\w-]+)'", str(DOCUMENT))
    assert references
    for kind, name in references:
        assert name in DOCUMENT["components"][kind]


def test_every_default_fits_the_schema_that_it_stands_in() -> None:
    found = list(with_default(DOCUMENT))
    assert found
    for described in found:
        whole = described | {"components": DOCUMENT["components"]}
        assert Draft202012Validator(whole).is_valid(described["default"]), described


def with_default(described: Any) -> Iterator[dict[str, Any]]:
    """The schemas in a part of the document that name a default."""
    if isinstance(described, dict) and "default" in described:
        yield described
    if isinstance(described, dict | list):
        for part in described.values() if isinstance(described, dict) else described:
            yield from with_default(part)


def test_every_parameter_in_a_path_is_described() -> None:
    for path, methods in DOCUMENT["paths"].items():
        for operation in methods.values():
            named = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
            assert named == set(re.findall(r"\{(\w+)\}", path))


def described_headers(operation_id: str, status: str) -> set[str]:
    (operation,) = (o for o in OPERATIONS if o.operation_id == operation_id)
    described = DOCUMENT["paths"][operation.template][operation.method.lower()]["responses"]
    return set(described[status]["headers"])


@pytest.mark.parametrize(
    ("operation_id", "status", "headers"),
    [
        ("getScore", "200", {"X-Log-Position", "ETag"}),
        ("getScore", "304", {"X-Log-Position", "ETag"}),
        ("createSubmission", "201", {"X-Log-Position", "Idempotent-Replayed", "Location"}),
        ("setScore", "201", {"X-Log-Position", "Idempotent-Replayed", "Location"}),
        ("resetScore", "204", {"X-Log-Position", "Idempotent-Replayed"}),
        ("getStudentIdsBySubmissionUuid", "200", {"X-Log-Position"}),
        ("carryOutCommands", "200", set()),
        ("getLiveness", "200", set()),
        ("getOpenApi", "200", {"ETag"}),
    ],
)
def test_only_headers_that_are_sent_are_promised(
    operation_id: str, status: str, headers: set[str]
) -> None:
    assert described_headers(operation_id, status) == headers | {"X-Request-ID"}


def test_every_operation_may_fail_and_have_too_long_an_address() -> None:
    for methods in DOCUMENT["paths"].values():
        for operation in methods.values():
            assert {"414", "500"} <= set(operation["responses"])


def test_every_kind_of_problem_has_a_title() -> None:
    assert "InternalError" in TITLES
    assert all(not title.endswith(".") for title in TITLES.values())


@pytest.mark.parametrize("operation_id", ["getHistory", "getTopSubmissions"])
def test_full_answers_fit_their_description(site: Site, operation_id: str) -> None:
    lms, item = site.service, an_item()
    uuid = lms.create(item, {"text": "x"})["uuid"]
    lms.score(uuid, 1, 1, annotation_creator="c", annotation_type="t", annotation_reason="r")
    operation = next(o for o in OPERATIONS if o.operation_id == operation_id)
    query = {name: item.get(name, "3") for name in operation.required_names}
    answer = lms.get(operation.template.removeprefix("/api/submissions/v1"), **query).json()
    assert answer
    check(operation.template, answer)


def check(path: str, answer: Any) -> None:
    described = DOCUMENT["paths"][path]["get"]["responses"]["200"]
    whole = described["content"]["application/json"]["schema"] | {
        "components": DOCUMENT["components"]
    }
    Draft202012Validator(whole).validate(answer)


@schemathesis.pytest.from_fixture("described").parametrize()
@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_whatever_is_sent_the_answer_is_as_described(
    site: Site, case: schemathesis.Case[Any]
) -> None:
    case.headers["Authorization"] = site.service.headers["Authorization"]
    position = str(case.headers.get("X-Min-Log-Position", ""))
    if len(position) > 3 or (position.isdecimal() and int(position) > site.head()):
        del case.headers["X-Min-Log-Position"]  # would wait for a position far away
    response = case.call(base_url=site.url)
    case.validate_response(
        response,
        checks=[
            not_a_server_error,
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
            response_headers_conformance,
        ],
    )
