from __future__ import annotations

from typing import Any

import pytest
from anthropic import transform_schema
from pydantic import BaseModel, Field

from midstream.conversation import Inexpressible
from midstream.dialects.anthropic.schema import closed_schema


def closed(schema: dict[str, Any]) -> tuple[dict[str, Any], set[str]]:
    dropped = set[str]()
    return closed_schema(schema, dropped), dropped


def test_objects_are_closed_also_inside() -> None:
    inner = {"type": "object", "properties": {"b": {"type": "string"}}}
    schema = {"type": "object", "properties": {"a": {"type": "array", "items": inner}, "c": {"$ref": "#/$defs/d"}}}
    said, dropped = closed({**schema, "$defs": {"d": inner}, "$schema": "x"})
    shut = {**inner, "additionalProperties": False}
    assert said == {
        "type": "object",
        "properties": {"a": {"type": "array", "items": shut}, "c": {"$ref": "#/$defs/d"}},
        "$defs": {"d": shut},
        "additionalProperties": False,
    }
    assert dropped == set()


def test_constraints_that_anthropic_refuses_are_told_in_words() -> None:
    said, dropped = closed({"type": "integer", "minimum": 1, "maximum": 9, "description": "n"})
    assert said == {"type": "integer", "description": "n\n\n{minimum: 1, maximum: 9}"}
    assert dropped == {"schema constraints"}
    assert closed({"type": "array", "minItems": 2})[0] == {"type": "array", "description": "{minItems: 2}"}
    assert closed({"type": "array", "minItems": 1}) == ({"type": "array", "minItems": 1}, set())
    assert closed({"type": "string", "format": "uuid"}) == ({"type": "string", "format": "uuid"}, set())
    assert closed({"type": "string", "format": "byte"})[0] == {"type": "string", "description": '{format: "byte"}'}


def test_one_of_is_any_of() -> None:
    assert closed({"oneOf": [{"type": "string"}, {"type": "null"}]})[0] == {
        "anyOf": [{"type": "string"}, {"type": "null"}]
    }


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"type": "object", "properties": {"a": {}}, "patternProperties": {"^x": {}}},
        {"type": "array", "items": {"type": ["object", "null"], "additionalProperties": True}},
    ],
)
def test_an_object_of_any_keys_cannot_be_said(schema: dict[str, Any]) -> None:
    with pytest.raises(Inexpressible, match="any keys"):
        closed(schema)


def test_an_object_without_keys_can() -> None:
    assert closed({"type": "object", "additionalProperties": False})[0]["additionalProperties"] is False


class Item(BaseModel):
    """A thing."""

    name: str
    count: int = Field(ge=1, le=9)
    tags: list[str] = []
    other: Item | None = None


def test_it_is_what_the_sdk_makes_of_a_model() -> None:
    ours, theirs = closed(Item.model_json_schema())[0], transform_schema(Item)
    assert plain(ours) == plain(theirs)


def plain(schema: Any) -> Any:
    """Without what the SDK says in words and we as they are: defaults."""
    if isinstance(schema, dict):
        return {key: plain(value) for key, value in schema.items() if key not in ("description", "default")}
    return [plain(value) for value in schema] if isinstance(schema, list) else schema
