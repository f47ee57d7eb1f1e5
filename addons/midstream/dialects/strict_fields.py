"""A client's JSON request, read strictly: a field of a wrong type is a ValueError that names its path and what would be right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from midstream.wire.json_text import Json

_KINDS = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "an array", dict: "an object"}


def wrong(path: str, right: str, value: Any) -> ValueError:
    """Return the error to raise. The value itself is never quoted: it may be somebody's prompt."""
    return ValueError(f"{path} must be {right}, not {_KINDS.get(type(value), 'null')}")


class Fields:
    """One object of a request. Each getter takes a field, None where it is absent or null; `rest` is what nobody took."""

    __slots__ = ("_taken", "json", "path")

    def __init__(self, value: Any, path: str = "") -> None:
        if not isinstance(value, dict):
            raise wrong(path or "the body", "an object", value)
        self.json: Json = value
        self.path = path
        self._taken: set[str] = set()

    def at(self, key: str) -> str:
        """The path of a field, as `messages[0].role`."""
        return f"{self.path}.{key}" if self.path else key

    def any(self, key: str) -> Any:
        """Take a field of whatever type."""
        self._taken.add(key)
        return self.json.get(key)

    def text(self, key: str) -> str:
        """Take a string; "" where it is absent."""
        value = self.any(key)
        if value is not None and not isinstance(value, str):
            raise wrong(self.at(key), "a string", value)
        return value or ""

    def needed(self, key: str) -> str:
        """Take a string that must be there and not be empty."""
        value = self.text(key)
        if not value:
            raise ValueError(f"{self.at(key)} is missing: it must be a string that is not empty")
        return value

    def whole(self, key: str) -> int | None:
        """Take a whole number."""
        value = self.any(key)
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise wrong(self.at(key), "a whole number", value)
        return value

    def number(self, key: str) -> float | None:
        """Take a number, whole or not, as it is."""
        value = self.any(key)
        if value is not None and (not isinstance(value, int | float) or isinstance(value, bool)):
            raise wrong(self.at(key), "a number", value)
        return value

    def flag(self, key: str) -> bool | None:
        """Take a boolean."""
        value = self.any(key)
        if value is not None and not isinstance(value, bool):
            raise wrong(self.at(key), "true or false", value)
        return value

    def items(self, key: str) -> list[Any]:
        """Take an array; [] where it is absent."""
        value = self.any(key)
        if value is not None and not isinstance(value, list):
            raise wrong(self.at(key), "an array", value)
        return value or []

    def each(self, key: str) -> Iterator[Fields]:
        """Take an array of objects."""
        for n, value in enumerate(self.items(key)):
            yield Fields(value, f"{self.at(key)}[{n}]")

    def inner(self, key: str) -> Fields | None:
        """Take an object."""
        value = self.any(key)
        return None if value is None else Fields(value, self.at(key))

    def rest(self) -> Json:
        """The fields that nobody took, less those that are null."""
        return {key: value for key, value in self.json.items() if key not in self._taken and value is not None}


def read_stop(fields: Fields, key: str) -> tuple[str, ...]:
    """Take stop sequences: a string, or an array of them."""
    value = fields.any(key)
    if value is None or isinstance(value, str):
        return (value,) if value else ()
    if not isinstance(value, list) or not all(isinstance(stop, str) for stop in value):
        raise wrong(fields.at(key), "a string or an array of strings", value)
    return tuple(value)
