"""The OpenAPI document: completes what FastAPI derives, with request bodies and working
examples."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from app.api.body import MODEL_KEY
from app.api.document import every_operation
from app.api.document.glossary import describe_properties
from app.api.document.shapes import forbid_null_parameters, name_enums, refer_to_items, say_defaults
from app.api.permissions import OPEN, RULES
from app.contract import requests
from app.contract.answers import Problem, SearchProblem
from app.contract.decisions import Decide, DecisionOutcome
from app.contract.distances import LearnDistance, Promote
from app.contract.evaluation import Evaluate
from app.contract.fields import BASE64_PATTERN
from app.contract.moves import AgentMove
from app.contract.retention import Retention
from app.decisions.recall_ids import Shares, new_recall_id
from app.vectors import base64_characters, to_base64

SCHEME = "HTTPBearer"
DURABILITY_HEADER = "X-Durability"
CODE = {
    "$ref": "#/components/schemas/ProblemCode",
    "description": "Stable name of the error.",
}
REF_TEMPLATE = "#/components/schemas/{model}"


def describe(app: FastAPI, *, dimension: int) -> None:
    """Make the app return this document, which is built at the first request for it."""

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
    schemas["ProblemCode"] = {
        "type": "string",
        "title": "ProblemCode",
        "enum": every_operation.codes(),
    }
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
            "description": "A key created by `./memory keys create`. Needed if the service "
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
    """Give an operation what all operations have: errors, headers and, unless open, the key."""
    responses = operation["responses"]
    statuses = {int(status) for status in responses if int(status) >= 400}
    if not is_open:
        operation["security"] = [{}, {SCHEME: []}]
        statuses |= {*every_operation.WITH_KEY}
    statuses |= {*every_operation.ALWAYS, *(every_operation.WITH_BODY if has_body else ())}
    for status in sorted(statuses):
        if "content" not in responses.get(str(status), {}):
            responses[str(status)] = every_operation.problem(status)
    parameters = operation.setdefault("parameters", [])
    is_write = any(parameter["name"] == DURABILITY_HEADER for parameter in parameters)
    parameters += [every_operation.DEADLINE, every_operation.REQUEST_ID_PARAMETER]
    for status, response in responses.items():
        response.setdefault("headers", {})["X-Request-Id"] = every_operation.REQUEST_ID
        if is_write and int(status) < 300:
            response["headers"][DURABILITY_HEADER] = every_operation.DURABILITY
    operation["responses"] = dict(sorted(responses.items()))


def _bound_vectors(schemas: Any, dimension: int) -> None:
    """Add the length to the schema of every vector, as numbers or as base64 characters."""
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


EXAMPLE_SEED = 7
EXAMPLE_AGENT = "agent_1"
EXAMPLE_ID = "BTC-USD-2026-01-01"
EXAMPLE_OPEN_ID = "BTC-USD-2026-01-01-open"
EXAMPLE_CONCEPT_ID = "breakout-after-quiet"
EXAMPLE_EVALUATION_ID = "0f8fad5bd9cb469fa16570867728950e"
EXAMPLE_DISTANCE_ID = f"{EXAMPLE_AGENT}:3f2a9c0d11e7"
BASE64_NOTE = (
    "The example's vectors are base64 of little-endian float32 numbers, made by "
    "`base64.b64encode(numpy.asarray(state, '<f4'))`. A list of numbers works, too."
)


def path_example(template: str, name: str) -> str:
    """Return a path parameter that leads to what the store examples stored.

    Of an evaluation or a distance, an id of the form that the service makes.
    """
    if template.startswith("/v1/evaluate/"):
        return EXAMPLE_EVALUATION_ID
    if template.startswith("/v1/distances/"):
        return EXAMPLE_DISTANCE_ID
    if name == "recall_id":
        return example_recall_id()
    if name == "agent_id":
        return EXAMPLE_AGENT
    if template.endswith("/outcome"):
        return EXAMPLE_OPEN_ID
    return EXAMPLE_ID if "/episodic/" in template else EXAMPLE_CONCEPT_ID


def example_recall_id() -> str:
    """Return an id as an answer of this moment carries it."""
    return new_recall_id(EXAMPLE_AGENT, "memory", Shares(), bytes(8), time.time())


def example_vector(dimension: int) -> str:
    """Return the same vector of this dimension every time, as base64."""
    values = np.random.default_rng(EXAMPLE_SEED).normal(size=dimension)
    return to_base64(values.astype("<f4").tobytes())


def examples_for(dimension: int) -> Mapping[type[BaseModel], dict[str, object]]:
    """Return one example for each request body."""
    vector = example_vector(dimension)
    episode = {
        "id": EXAMPLE_ID,
        "agent_id": "agent_1",
        "product_id": "BTC-USD",
        "regime": "bull_low_vol",
        "state_vector": vector,
        "action": "buy",
        "reward": 0.012,
        "timestamp": 1767225600.0,
        "outcome_at": 1767312000.0,
        "metadata": {"strategy": "trend"},
    }
    open_episode = {
        name: value
        for name, value in (episode | {"id": EXAMPLE_OPEN_ID}).items()
        if name not in ("reward", "outcome_at")
    }
    concept = {
        "id": EXAMPLE_CONCEPT_ID,
        "memory_type": "PATTERN",
        "regime_name": "bull_low_vol",
        "concept_vector": vector,
        "sharpe_ratio": 1.4,
        "win_rate": 0.58,
        "metadata": {"name": "breakout after quiet"},
    }
    return {
        requests.EpisodicStore: episode,
        requests.EpisodicStoreBatch: {"memories": [episode, open_episode]},
        requests.EpisodicSearch: {
            "agent_id": "agent_1",
            "state_vector": vector,
            "top_k": 5,
            "product_id": "BTC-USD",
            "min_reward": 0.0,
        },
        requests.EpisodicSearchBatch: {
            "searches": [{"agent_id": "agent_1", "state_vector": vector, "top_k": 3}]
        },
        requests.EpisodicQuery: {
            "agent_id": "agent_1",
            "since": 1767139200.0,
            "min_reward": 0.01,
            "sort_by": "reward",
            "limit": 10,
        },
        requests.EpisodicEstimate: {
            "agent_id": "agent_1",
            "state_vector": vector,
            "top_k": 50,
            "regime": "bull_low_vol",
            "regime_policy": "prefer",
            "stop_loss": 0.02,
        },
        requests.EpisodicSample: {
            "agent_id": "agent_1",
            "size": 32,
            "strategy": "prioritized",
            "stratify_by": "regime",
            "seed": 7,
        },
        requests.EpisodicPriorities: {
            "agent_id": "agent_1",
            "priorities": [{"id": EXAMPLE_ID, "priority": 2.5}],
        },
        Decide: {"recall_id": example_recall_id(), "action": "buy", "product_id": "BTC-USD"},
        DecisionOutcome: {"reward": 0.012},
        AgentMove: {"group": "b"},
        Evaluate: {"agent_id": "agent_1", "action": "buy", "cost": 0.001},
        LearnDistance: {"agent_id": "agent_1", "action": "buy"},
        Promote: {"evaluation_id": EXAMPLE_EVALUATION_ID},
        requests.EpisodicPatch: {"quality": 0.8, "priority": 2.5},
        requests.EpisodicDelete: {"agent_id": "agent_1", "until": 1735689600.0, "dry_run": True},
        requests.Outcome: {"reward": 0.02, "terminal": True},
        requests.SemanticQuery: {"memory_type": "PATTERN", "sort_by": "sharpe_ratio", "limit": 5},
        requests.SemanticDelete: {"regime_name": "bear", "dry_run": True},
        requests.SemanticStore: concept,
        requests.SemanticStoreBatch: {"memories": [concept]},
        requests.SemanticPatch: {"sharpe_ratio": 1.7, "win_rate": 0.61, "pinned": True},
        Retention: {"dry_run": True, "episodic_max_age_days": 90},
        requests.SemanticSearch: {"concept_vector": vector, "top_k": 3, "memory_type": "PATTERN"},
    }
