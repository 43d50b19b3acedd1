"""Turns JSON bytes into a checked request, and pydantic's findings into the service's own error."""

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
    wrong = [{"field": _path(item), "detail": _sentence(item)} for item in found]
    field, sentence = wrong[0]["field"], wrong[0]["detail"]
    return InvalidInput(f"{field}: {sentence}.", field=field, errors=wrong)


def _path(item: ErrorDetails) -> str:
    return ".".join(str(part) for part in item["loc"]) or "body"


_SENTENCES = {
    "missing": "is required",
    "extra_forbidden": "is not a field of this request: correct its name or leave it out",
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "should be an object"),
}


def _sentence(item: ErrorDetails) -> str:
    match item["type"]:
        case "string_pattern_mismatch":
            return PATTERN_SENTENCES.get(item["ctx"]["pattern"], item["msg"])
        case "value_error":
            return str(item["ctx"]["error"])
        case "less_than_equal" if item["ctx"]["le"] == MAX_TIME_S:
            return f"should be at most {MAX_TIME_S:g}: seconds, not milliseconds?"
        case kind:
            return _SENTENCES.get(kind) or item["msg"].replace("Input should", "should", 1)
