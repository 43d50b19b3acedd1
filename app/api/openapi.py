"""The OpenAPI document: the bodies that the routes read themselves, and examples that work."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from app.answer_schemas import Problem, SearchProblem
from app.api.body import MODEL_KEY
from app.api.document import common
from app.api.document.glossary import describe_properties
from app.api.document.shapes import (
    forbid_null_parameters,
    name_enums,
    refer_to_items,
    say_defaults,
)
from app.api.examples import BASE64_NOTE, examples_for, path_example
from app.api.rules import OPEN, RULES
from app.fields import BASE64_PATTERN
from app.vectors import base64_characters

SCHEME = "HTTPBearer"
DURABILITY_HEADER = "X-Durability"
CODE = {
    "$ref": "#/components/schemas/ProblemCode",
    "description": "Stable name of the error.",
}
REF_TEMPLATE = "#/components/schemas/{model}"


def describe(app: FastAPI, *, dimension: int) -> None:
    """Give the app its document, made when it is first asked for."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app, dimension)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's documented way to extend it


def _document(app: FastAPI, dimension: int) -> dict[str, Any]:
    document = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        servers=app.servers,
        license_info=app.license_info,
        tags=app.openapi_tags,
    )
    examples = {model.__name__: (model, body) for model, body in examples_for(dimension).items()}
    models: set[type[BaseModel]] = {Problem}
    for template, path in document["paths"].items():
        for method, operation in path.items():
            is_open = RULES[method.upper(), template] == OPEN
            name = operation.pop(MODEL_KEY, None)
            if name is not None:
                model, body = examples[name]
                models.add(model)
                operation["requestBody"]["content"]["application/json"]["example"] = body
                if "_vector" in str(body):
                    operation["description"] += f"\n\n{BASE64_NOTE}"
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path":
                    parameter["example"] = path_example(template, parameter["name"])
            _complete(operation, is_open=is_open, has_body=name is not None)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas |= _definitions(models)
    _bound_vectors(schemas, dimension)
    schemas["ProblemCode"] = {"type": "string", "title": "ProblemCode", "enum": common.codes()}
    schemas[Problem.__name__]["properties"]["code"] = CODE
    schemas[SearchProblem.__name__]["properties"]["code"] = CODE
    refer_to_items(schemas)
    forbid_null_parameters(document)
    name_enums(document)
    describe_properties(schemas)
    say_defaults(document)
    document["components"]["securitySchemes"] = {
        SCHEME: {
            "type": "http",
            "scheme": "bearer",
            "description": "A key made by `python -m app keys create`; needed when the service "
            "asks for keys.",
        }
    }
    return document


def _definitions(models: set[type[BaseModel]]) -> dict[str, Any]:
    _, definitions = models_json_schema(
        [(model, "validation") for model in sorted(models, key=lambda model: model.__name__)],
        ref_template=REF_TEMPLATE,
    )
    found: dict[str, Any] = definitions["$defs"]
    return found


def _complete(operation: dict[str, Any], *, is_open: bool, has_body: bool) -> None:
    """Give an operation what all have: its errors, its headers, whether it asks for a key."""
    responses = operation["responses"]
    statuses = {int(status) for status in responses if int(status) >= 400}
    if not is_open:
        operation["security"] = [{}, {SCHEME: []}]
        statuses |= {*common.WITH_KEY}
    statuses |= {*common.ALWAYS, *(common.WITH_BODY if has_body else ())}
    for status in sorted(statuses):
        if "content" not in responses.get(str(status), {}):
            responses[str(status)] = common.problem(status, HTTPStatus(status).phrase)
    parameters = operation.setdefault("parameters", [])
    is_write = any(parameter["name"] == DURABILITY_HEADER for parameter in parameters)
    parameters += [common.DEADLINE, common.REQUEST_ID_PARAMETER]
    for status, response in responses.items():
        response.setdefault("headers", {})["X-Request-Id"] = common.REQUEST_ID
        if is_write and int(status) < 300:
            response["headers"][DURABILITY_HEADER] = common.DURABILITY
    operation["responses"] = dict(sorted(responses.items()))


def _bound_vectors(schemas: Any, dimension: int) -> None:
    """Say of every vector how long it is: numbers, or characters of base64."""
    for schema in schemas.values():
        for name, field in schema.get("properties", {}).items():
            if name.endswith("_vector"):
                _bound_vector(field, dimension)


def _bound_vector(field: dict[str, Any], dimension: int) -> None:
    for form in field.get("anyOf", ()):
        if form.get("type") == "array":
            form["minItems"] = form["maxItems"] = dimension
        elif form.get("pattern") == BASE64_PATTERN:
            form["minLength"] = form["maxLength"] = base64_characters(dimension)
        _bound_vector(form, dimension)
