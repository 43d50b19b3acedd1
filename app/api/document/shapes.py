"""Makes the document's schemas suitable for client generators.

Generators assume that a field with a default is always present, name an enum after the property
that holds it, and create two types for a schema that is inlined twice.
"""

import json
from collections.abc import Iterator
from typing import Any

REF = "#/components/schemas/"

ENUMS = {
    "Durability": ("memory", "replicated", "fsynced"),
    "MemoryType": ("PATTERN", "REGIME", "STRATEGY"),
    "Scope": ("own", "others", "all"),
    "RegimePolicy": ("strict", "prefer", "any"),
    "RegimeStep": ("asked", "other"),
    "Kernel": ("inverse", "rbf"),
    "Order": ("asc", "desc"),
    "EpisodicSort": ("reward", "timestamp"),
    "SemanticSort": ("sharpe_ratio", "win_rate", "access_count", "last_accessed", "created_at"),
    "Stratum": ("regime", "product_id"),
    "StoreStatus": ("created", "unchanged", "error"),
    "IndexStatus": ("ready", "building", "missing"),
    "IndexKind": ("episodic", "shared", "semantic"),
    "EffortBound": ("too_few_samples", "recall_target", "latency_budget", "ceiling"),
    "VectorType": ("float32", "float16"),
}
_NAME_OF = {values: name for name, values in ENUMS.items()}

ITEMS = {
    ("EpisodicStoreBatch", "memories"): "EpisodicStore",
    ("SemanticStoreBatch", "memories"): "SemanticStore",
    ("EpisodicSearchBatch", "searches"): "EpisodicSearch",
}
"""Items that are validated one by one, so that pydantic does not see their model."""


def refer_to_items(schemas: dict[str, Any]) -> None:
    """Make a batch's items refer to the schema of the single request."""
    for (model, name), item in ITEMS.items():
        if model in schemas:
            schemas[model]["properties"][name]["items"] = {"$ref": REF + item}


def name_enums(document: dict[str, Any]) -> None:
    """Move every known enum into a schema of its own, and refer to it where it is used."""
    schemas = document["components"]["schemas"]
    for node in list(_nodes(document)):
        name = _NAME_OF.get(tuple(map(str, node.get("enum", ()))))
        if name is not None:
            values = node.pop("enum")
            del node["type"]
            node["$ref"] = REF + name
            schemas[name] = {"type": "string", "title": name, "enum": values}


def say_defaults(document: dict[str, Any]) -> None:
    """Move the defaults of properties into their descriptions, and drop defaults of null."""
    for schema in document["components"]["schemas"].values():
        for field in schema.get("properties", {}).values():
            if "default" in field:
                default = field.pop("default")
                if default is not None:
                    said = field.get("description", "")
                    field["description"] = f"{said} Default: {json.dumps(default)}.".strip()


def forbid_null_parameters(document: dict[str, Any]) -> None:
    """Remove null from headers and queries, where nobody can send it."""
    for path in document["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", ()):
                schema = parameter["schema"]
                forms = [form for form in schema.get("anyOf", ()) if form != {"type": "null"}]
                if len(forms) == 1:
                    del schema["anyOf"]
                    schema |= forms[0]
                schema.pop("default", None) if schema.get("default", 0) is None else None


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every object of a document that may be a schema."""
    if isinstance(value, dict):
        yield value
        for name, inner in value.items():
            if name not in ("example", "examples"):
                yield from _nodes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _nodes(inner)
