"""JSON from a stranger: parse it fast, and take from it only what has the right type."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from pydantic_core import from_json

type Json = dict[str, Any]

EMPTY: Json = {}


DEPTH_LIMIT = 200
"""How deep JSON may be nested: pydantic-core's own limit, and far below what overflows a stack when the value is walked."""


LARGE = 4 * 1024 * 1024
"""Bytes of JSON text whose values need no counting: at worst (empty arrays) they take some 100 MB."""

COMMA_LIMIT = 2_000_000
"""Commas in a larger text, and so the values in it. `[[],[],…` becomes twenty times its size in memory; prompts, images and
whatever else is large in earnest is text."""


def parse_json(text: bytes | str) -> Any:
    """Parse, or raise ValueError (nesting over DEPTH_LIMIT and more than COMMA_LIMIT values included).

    pydantic-core refuses lone surrogates (`"\\ud83d"`), which providers do send when they cut an emoji: json takes those.
    """
    if len(text) > LARGE and (text.count(b",") if isinstance(text, bytes) else text.count(",")) > COMMA_LIMIT:
        raise ValueError("JSON of too many values")
    try:
        return from_json(text)
    except (ValueError, TypeError):  # TypeError: a str that itself holds a lone surrogate
        return _parse_slowly(text)


def _parse_slowly(text: bytes | str) -> Any:
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("JSON nested too deeply") from None
    level = [value]
    for _ in range(DEPTH_LIMIT + 1):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return value
    raise ValueError("JSON nested too deeply")


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def as_dict(value: Any) -> Json:
    """Return value if it is an object, else an empty one (never mutate it)."""
    return value if isinstance(value, dict) else EMPTY


def as_list(value: Any) -> list[Any]:
    """Return value if it is an array, else an empty one."""
    return value if isinstance(value, list) else []


def as_str(value: Any) -> str:
    """Return value if it is a string, else ""."""
    return value if isinstance(value, str) else ""


def as_int(value: Any, default: int | None = None) -> int | None:
    """Return value if it is a whole number (a float without a fraction counts), else the default."""
    if isinstance(value, bool):
        return default
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return default


def dump_json(value: Any, *, finite: bool = False) -> str:
    """Compact JSON text, as providers write it; can always be encoded as UTF-8, since lone surrogates are escaped.

    finite: raise ValueError for a number that JSON has no form for, but Python's parsers read (NaN, 1e999).
    """
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=not finite)
    except ValueError:
        raise ValueError("a number is not finite (NaN, or larger than a float can be)") from None
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return json.dumps(value, separators=(",", ":"))
    return text
