"""The OpenAPI 3.1 document: made of the same table that the routes are made of."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from api.http.problems import MEDIA_TYPE
from api.http.routing import Answers, Operation
from api.http.schemas import Problem

Document = dict[str, Any]

TAGS: Final = {
    "submissions": "What learners handed in, what it was worth, and who says so.",
    "sessions": "Signing in and out, and what pages of other sites need to call here.",
    "accounts": "What such pages ask about people and settings.",
    "courses": "What a course consists of and how it is graded.",
    "roles": "Who is of the team of a course.",
    "users": "Who people are.",
    "enrollments": "Who is in which course, as Open edX asks and tells it.",
    "cohorts": "Groups of the learners of a course, as Open edX asks and tells it.",
    "grades": "Gradebooks, overrides and what led to grades, as clients of Open edX know them.",
    "events": "The log itself, for other systems: in pages, and as it grows.",
    "webhooks": "The log delivered to other systems, signed and in order.",
    "pages": "Gradebooks for people: pages that need a browser and nothing else.",
    "operations": "Health, figures, and this description.",
}
_DESCRIPTION: Final = """\
The record of who handed in what, what it was worth, who changed that and why.

Every path is answered with and without the slash at its end. Every answer to a write says
in `X-Log-Position` where its last event stands in the log, and every answer to a read up to
where the log had been applied; a read with `X-Min-Log-Position` waits for what was written.
`X-Request-ID` and `traceparent` are recorded with each event. Reads carry a strong `ETag`,
except those that are streamed as lines.
"""
_PROBLEMS: Final = {
    400: "The request is malformed or was refused.",
    401: "There is no token that can be trusted.",
    403: "The token does not allow this.",
    404: "There is no such thing.",
    409: "Others changed the same at the same time; send it again.",
    413: "The body is too large. Nothing was written.",
    414: "The address is too long.",
    415: "The body has another format than this takes.",
    422: "The idempotency key was used with another request.",
    500: "Something went wrong here; it was recorded under the id of the request.",
    503: "This cannot be answered now. Nothing was written; try again later.",
    504: "It is not known whether this was written: repeat it with the same idempotency key.",
}
_ALWAYS: Final = (414, 500)
"""Problems that every operation may have."""

_HEADERS: Final[Mapping[str, Document]] = {
    "X-Request-ID": {
        "description": "Of this request, as it was sent or made here: quote it when asking for help.",
        "required": True,
        "schema": {"type": "string"},
    },
    "X-Log-Position": {
        "description": "Of the last event written, or up to where the log had been applied.",
        "required": True,
        "schema": {"type": "integer", "minimum": 0},
    },
    "ETag": {
        "description": "Of this very body; an answer that is streamed as lines has none.",
        "schema": {"type": "string"},
    },
    "Location": {
        "description": "The path of what was made.",
        "required": True,
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "Idempotent-Replayed": {
        "description": "The answer was given before.",
        "schema": {"type": "string", "const": "true"},
    },
    "Link": {
        "description": "Of what follows, with rel=next; an answer as lines has none.",
        "schema": {"type": "string"},
    },
    "WWW-Authenticate": {"schema": {"type": "string"}},
    "Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}},
    "Accept-Post": {"description": "What this takes.", "schema": {"type": "string"}},
}
_CREDENTIALS: Final[list[Document]] = [{"bearer": []}, {"tokenCookies": []}, {"session": []}]
_OF_PROBLEMS: Final = {401: "WWW-Authenticate", 415: "Accept-Post", 503: "Retry-After"}


def describe(operations: Iterable[Operation], *, version: str) -> Document:
    """The document about these operations."""
    known = list(operations)
    schemas, components = _schemas(known)
    paths: dict[str, dict[str, Any]] = {}
    for operation in known:
        described = _operation(operation, schemas)
        paths.setdefault(operation.template, {})[operation.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "gradelog",
            "version": version,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": [
            {"name": name, "description": text}
            for name, text in TAGS.items()
            if any(operation.tag == name for operation in known)
        ],
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {
                str(status): _answer(_problem(status, text), schemas)
                for status, text in _PROBLEMS.items()
            },
            "headers": _HEADERS,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "Authorization: Bearer <token>, or JWT <token>.",
                },
                "tokenCookies": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "edx-jwt-cookie-header-payload",
                    "description": "With edx-jwt-cookie-signature and the header"
                    " USE-JWT-COOKIE: true. Writes carry X-CSRFToken besides.",
                },
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "gradelog_session",
                    "description": "Of somebody who signed in here. Writes carry X-CSRFToken"
                    " besides.",
                },
            },
        },
    }


def _operation(operation: Operation, schemas: Mapping[Any, Document]) -> Document:
    described: Document = {
        "operationId": operation.operation_id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": _parameters(operation),
        "responses": _responses(operation, schemas),
        "security": [] if operation.public else _CREDENTIALS,
    }
    if operation.description:
        described["description"] = operation.description
    if operation.body is not None:
        described["requestBody"] = {
            "required": True,
            "content": {operation.body_media_type: {"schema": schemas[operation.body]}},
        }
    return described


def _parameters(operation: Operation) -> list[Document]:
    in_path = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": operation.path_descriptions[name],
            "schema": {"type": "string", "minLength": 1, "maxLength": 255},
        }
        for name in operation.path_names
    ]
    return in_path + [
        {
            "name": parameter.name,
            "in": parameter.where,
            "required": parameter.required,
            "description": parameter.description,
            "schema": dict(parameter.schema),
        }
        for parameter in operation.parameters
    ]


def _responses(operation: Operation, schemas: Mapping[Any, Document]) -> Document:
    responses = {
        str(status): _answer(answers, schemas) for status, answers in operation.answers.items()
    }
    for status in (*operation.problems, *_ALWAYS):
        responses.setdefault(str(status), {"$ref": f"#/components/responses/{status}"})
    return dict(sorted(responses.items()))


def _problem(status: int, text: str) -> Answers:
    headers = (_OF_PROBLEMS[status],) if status in _OF_PROBLEMS else ()
    return Answers(text, Problem, (MEDIA_TYPE,), headers)


def _answer(answers: Answers, schemas: Mapping[Any, Document]) -> Document:
    described: Document = {
        "description": answers.description,
        "headers": {
            name: {"$ref": f"#/components/headers/{name}"}
            for name in ("X-Request-ID", *answers.headers)
        },
    }
    if answers.schema is not None:
        described["content"] = {
            media_type: {"schema": schemas[answers.schema]} for media_type in answers.media_types
        }
    return described


def _schemas(operations: Iterable[Operation]) -> tuple[dict[Any, Document], Document]:
    """The schema of each type that is spoken of, and those that they refer to."""
    inputs: dict[Any, JsonSchemaMode] = {}
    for operation in operations:
        if operation.body is not None:
            inputs[operation.body] = "validation"
        for answers in operation.answers.values():
            if answers.schema is not None:
                inputs[answers.schema] = "serialization"
    inputs[Problem] = "serialization"
    found, definitions = TypeAdapter.json_schemas(
        [(kind, mode, TypeAdapter(kind)) for kind, mode in inputs.items()],
        ref_template="#/components/schemas/{model}",
    )
    schemas = {kind: found[kind, mode] for kind, mode in inputs.items()}
    return schemas, dict(definitions.get("$defs", {}))
