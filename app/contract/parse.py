"""Turns JSON bytes into a checked request, and pydantic's findings into the service's own error."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from app.contract.fields import MAX_TIME_S, PATTERN_SENTENCES
from app.errors import InvalidInput, InvalidJson

RequestT = TypeVar("RequestT", bound=BaseModel)


def parse_json(model: type[RequestT], body: bytes) -> RequestT:
    """Return the request in a body. Raise InvalidJson, or InvalidInput that names each wrong
    field."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise from_pydantic(error) from error


def parse_item(model: type[RequestT], item: object) -> RequestT:
    """Return one item of a batch from decoded JSON. Raise InvalidInput."""
    try:
        return model.model_validate(item)
    except ValidationError as error:
        raise from_pydantic(error) from error


def from_pydantic(error: ValidationError) -> InvalidInput | InvalidJson:
    """Return the service's error for what pydantic found, without the values that the caller
    sent."""
    found = error.errors(include_url=False, include_input=False)
    if found[0]["type"] == "json_invalid":
        return InvalidJson(f"The body must be JSON: {found[0]['ctx']['error']}.")
    return invalid_input([(item["loc"], item) for item in found])


def invalid_input(found: Iterable[tuple[Sequence[int | str], ErrorDetails]]) -> InvalidInput:
    """Return the service's error for pydantic's findings, each with the place of its field."""
    wrong = [
        {"field": ".".join(map(str, place)) or "body", "detail": _sentence(item)}
        for place, item in found
    ]
    field, sentence = wrong[0]["field"], wrong[0]["detail"]
    return InvalidInput(f"{field}: {sentence}.", field=field, errors=wrong)


_UNIT = "seconds, not milliseconds? Send unix seconds"

_SENTENCES = {
    "missing": "is required",
    "extra_forbidden": "is not a field of this request: correct its name or leave it out",
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "should be an object"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "should be true or false"),
    **dict.fromkeys(("float_type", "float_parsing"), "should be a number"),
    **dict.fromkeys(
        ("int_type", "int_parsing", "int_from_float"),
        "should be a whole number without a decimal point",
    ),
    "int_parsing_size": "has too many digits",
    "string_type": "should be a string",
    "list_type": "should be an array",
    **dict.fromkeys(("string_too_short", "too_short"), "must not be empty"),
    "string_too_long": "may have at most {max_length} characters",
    "too_long": "may have at most {max_length} items",
}


def _sentence(item: ErrorDetails) -> str:
    context = item.get("ctx", {})
    match item["type"]:
        case "string_pattern_mismatch":
            return PATTERN_SENTENCES.get(context["pattern"], item["msg"])
        case "value_error":
            return str(context["error"])
        case "less_than_equal" | "greater_than_equal" if MAX_TIME_S in map(abs, context.values()):
            return f"should be from {-MAX_TIME_S:g} to {MAX_TIME_S:g}: {_UNIT}"
        case kind if kind in _SENTENCES:
            return _SENTENCES[kind].format_map(context)
        case _:
            return item["msg"].replace("Input should", "should", 1)
