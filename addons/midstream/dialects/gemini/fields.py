"""A Gemini request, read strictly. protobuf's JSON takes every field under two names, `maxOutputTokens` and
`max_output_tokens`: they are read under the first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from midstream.dialects.strict_fields import Fields
from midstream.wire.json_text import Json


class ProtoFields(Fields):
    """One object of a request, its fields in camel case."""

    __slots__ = ()

    def __init__(self, value: Any, path: str = "") -> None:
        super().__init__(camel(value) if isinstance(value, dict) else value, path)

    def each(self, key: str) -> Iterator[ProtoFields]:
        """Take an array of objects; a single object counts as one, as in protobuf's JSON of old clients."""
        if isinstance(self.json.get(key), dict):
            yield ProtoFields(self.any(key), self.at(key))
            return
        for n, value in enumerate(self.items(key)):
            yield ProtoFields(value, f"{self.at(key)}[{n}]")

    def inner(self, key: str) -> ProtoFields | None:
        """Take an object."""
        value = self.any(key)
        return None if value is None else ProtoFields(value, self.at(key))

    def name(self, key: str) -> str:
        """Take an enum's name in capitals, or its number as text; "" where it is absent."""
        value = self.any(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        return self.text(key).upper()


def camel(fields: Json) -> Json:
    """The same object, its keys in camel case."""
    if not any("_" in key for key in fields):
        return fields
    return {camel_case(key): value for key, value in fields.items()}


def camel_case(name: str) -> str:
    """`max_items` → `maxItems`."""
    head, *rest = name.split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in rest) if head else name
