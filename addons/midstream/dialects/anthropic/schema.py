"""A JSON schema → one that Anthropic's structured output takes: closed objects, and few other constraints.

https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from midstream.conversation import Inexpressible
from midstream.wire.json_text import Json, dump_json

_FORMATS = frozenset(("date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"))
_COUNTS = frozenset((0, 1))
_TAKEN = frozenset(
    (
        "type",
        "enum",
        "const",
        "anyOf",
        "allOf",
        "$ref",
        "$defs",
        "definitions",
        "default",
        "required",
        "properties",
        "items",
        "description",
        "title",
        "format",
        "pattern",
        "minItems",
    )
)
_SILENT = frozenset(("$schema", "$id", "$comment", "examples", "oneOf", "additionalProperties"))
_MAPS = ("properties", "$defs", "definitions")
_LISTS = ("anyOf", "allOf")


def closed_schema(schema: Mapping[str, Any], dropped: set[str]) -> Json:
    """Return the schema; constraints that Anthropic refuses become words of the description, as its own SDK does it.

    Raises Inexpressible for objects of any keys: the model could write none of them.
    """
    written: Json = {key: value for key, value in schema.items() if key in _TAKEN}
    if "oneOf" in schema:
        written["anyOf"] = schema["oneOf"]
    lost = {key: value for key, value in schema.items() if key not in _TAKEN and key not in _SILENT}
    for key, known in (("format", _FORMATS), ("minItems", _COUNTS)):
        if key in written and (not isinstance(written[key], str | int) or written[key] not in known):
            lost[key] = written.pop(key)
    if lost:
        dropped.add("schema constraints")
        words = ", ".join(f"{key}: {dump_json(value)}" for key, value in lost.items())
        written["description"] = "\n\n".join(filter(None, (str(written.get("description") or ""), f"{{{words}}}")))
    if _is_object(schema):
        _close(schema, written)
    return _inside(written, dropped)


def _is_object(schema: Mapping[str, Any]) -> bool:
    kind = schema.get("type")
    return kind == "object" or (isinstance(kind, list) and "object" in kind) or "properties" in schema


def _close(schema: Mapping[str, Any], written: Json) -> None:
    more = schema.get("additionalProperties")
    any_keys = isinstance(more, dict) and bool(more)
    if any_keys or "patternProperties" in schema or (more is not False and not schema.get("properties")):
        raise Inexpressible("a schema of an object with any keys")
    written["additionalProperties"] = False


def _inside(written: Json, dropped: set[str]) -> Json:
    """Do the same to the schemas inside."""
    for key in _MAPS:
        if isinstance(inner := written.get(key), dict):
            written[key] = {name: _closed(value, dropped) for name, value in inner.items()}
    for key in _LISTS:
        if isinstance(variants := written.get(key), list):
            written[key] = [_closed(value, dropped) for value in variants]
    if "items" in written:
        written["items"] = _closed(written["items"], dropped)
    return written


def _closed(value: Any, dropped: set[str]) -> Any:
    return closed_schema(value, dropped) if isinstance(value, dict) else value
