"""The OpenAPI document: the bodies that the routes read themselves, and examples that work."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from app.answer_schemas import Problem
from app.api import problems
from app.api.body import MODEL_KEY
from app.api.examples import examples_for
from app.api.rules import OPEN, RULES
from app.fields import BASE64_PATTERN
from app.vectors import base64_characters

SCHEME = "HTTPBearer"
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
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    examples = {model.__name__: (model, body) for model, body in examples_for(dimension).items()}
    models: set[type[BaseModel]] = {Problem}
    for template, path in document["paths"].items():
        for method, operation in path.items():
            if RULES[method.upper(), template] != OPEN:
                operation["security"] = [{}, {SCHEME: []}]
                operation["responses"] |= problems.refused()
            name = operation.pop(MODEL_KEY, None)
            if name is not None:
                model, body = examples[name]
                models.add(model)
                operation["requestBody"]["content"]["application/json"]["example"] = body
    _, definitions = models_json_schema(
        [(model, "validation") for model in sorted(models, key=lambda model: model.__name__)],
        ref_template=REF_TEMPLATE,
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas |= definitions["$defs"]
    _bound_vectors(schemas, dimension)
    document["components"]["securitySchemes"] = {
        SCHEME: {
            "type": "http",
            "scheme": "bearer",
            "description": "A key made by `python -m app keys create`; needed when the service "
            "asks for keys.",
        }
    }
    return document


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
