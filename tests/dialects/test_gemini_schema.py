from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

import google_sdk
from midstream.dialects.gemini.schema import json_schema


@pytest.mark.parametrize(
    ("own", "translated"),
    [
        ({"type": "STRING", "enum": ["a"]}, {"type": "string", "enum": ["a"]}),
        ({"type": 6, "properties": {"a": {"type": 1}}}, {"type": "object", "properties": {"a": {"type": "string"}}}),
        ({"type": "STRING", "nullable": True}, {"type": ["string", "null"]}),
        ({"type": "STRING", "nullable": True, "enum": ["a"]}, {"type": ["string", "null"], "enum": ["a", None]}),
        ({"anyOf": [{"type": "NUMBER"}], "nullable": True}, {"anyOf": [{"type": "number"}, {"type": "null"}]}),
        ({"any_of": [{"type": "NUMBER"}]}, {"anyOf": [{"type": "number"}]}),
        (
            {"type": "ARRAY", "items": {"type": "INTEGER"}, "minItems": "2"},
            {"type": "array", "items": {"type": "integer"}, "minItems": 2},
        ),
        ({"type": "STRING", "max_length": "9"}, {"type": "string", "maxLength": 9}),
        ({"example": 5, "nullable": False}, {"examples": [5]}),
    ],
)
def test_geminis_own_schema_as_json_schema(own: Any, translated: Any) -> None:
    assert json_schema(own) == translated


def test_json_schema_stays_as_it_is() -> None:
    schema = {"type": "object", "$defs": {"A": {"type": "string"}}, "properties": {"max_items": {"$ref": "#/$defs/A"}}}
    assert json_schema(schema) == schema


def test_the_ordering_of_properties_is_their_order() -> None:
    own = {"properties": {"a": {}, "b": {}, "c": {}}, "propertyOrdering": ["c", "a", "x", 5]}
    assert list(json_schema(own)["properties"]) == ["c", "a", "b"]
    assert "propertyOrdering" not in json_schema(own)


@given(google_sdk.confused("type", "properties", "items", "anyOf", "nullable", "enum", "minItems", "propertyOrdering"))
def test_any_object_is_translated(value: Any) -> None:
    if isinstance(value, dict):
        json_schema(value)
