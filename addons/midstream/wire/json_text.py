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


def parse_json(text: bytes | str) -> Any:
    """Parse, or raise ValueError (nesting over DEPTH_LIMIT included).

    pydantic-core refuses lone surrogates (`"\\ud83d"`), which providers do send when they cut an emoji: json takes those.
    """
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


def dump_json(value: Any) -> str:
    """Compact JSON text, as providers write it; can always be encoded as UTF-8, since lone surrogates are escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return json.dumps(value, separators=(",", ":"))
    return text
