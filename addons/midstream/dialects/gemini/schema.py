"""Gemini's own Schema, a subset of OpenAPI 3.0's, → JSON Schema.

https://ai.google.dev/api/caching#Schema
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from midstream.dialects.gemini.fields import camel_case
from midstream.wire.json_text import Json

_TYPES = ("", "string", "number", "integer", "boolean", "array", "object", "null")
"""By protobuf's number; clients on gRPC's JSON send those."""

_COUNTS = frozenset(("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"))
"""int64: protobuf's JSON has them as strings."""


def json_schema(schema: Mapping[str, Any]) -> Json:
    """Translate a schema; what is JSON Schema already stays as it is."""
    translated: Json = {}
    nullable = False
    for key, value in schema.items():
        match key:
            case "type":
                translated["type"] = _type(value)
            case "nullable":
                nullable = value is True
            case "properties" if isinstance(value, dict):
                translated["properties"] = {name: _inner(inner) for name, inner in _ordered(value, schema).items()}
            case "items" | "additionalProperties" | "additional_properties":
                translated["items" if key == "items" else "additionalProperties"] = _inner(value)
            case "anyOf" | "any_of" | "oneOf" | "allOf" if isinstance(value, list):
                translated["anyOf" if key == "any_of" else key] = [_inner(inner) for inner in value]
            case "example":
                translated["examples"] = [value]
            case "propertyOrdering" | "property_ordering":
                pass  # said by the properties' own order
            case _:
                name = camel_case(key) if camel_case(key) in _COUNTS else key
                translated[name] = _count(value) if name in _COUNTS else value
    return _nullable(translated) if nullable else translated


def _inner(value: Any) -> Any:
    return json_schema(value) if isinstance(value, dict) else value


def _ordered(properties: Json, schema: Mapping[str, Any]) -> Json:
    order = schema.get("propertyOrdering") or schema.get("property_ordering")
    names = [name for name in order if isinstance(name, str) and name in properties] if isinstance(order, list) else []
    return {**{name: properties[name] for name in names}, **properties}


def _type(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return _TYPES[value] if 0 < value < len(_TYPES) else "string"
    return value.lower() if isinstance(value, str) else value


def _count(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 20 else value


def _nullable(schema: Json) -> Json:
    if isinstance(schema.get("type"), str):
        said = {**schema, "type": [schema["type"], "null"]}
        return {**said, "enum": [*schema["enum"], None]} if isinstance(schema.get("enum"), list) else said
    if isinstance(schema.get("anyOf"), list):
        return {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
    return schema
