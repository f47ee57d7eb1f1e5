"""The tool calls of an answer that a dialect with whole calls can say."""

from __future__ import annotations

import json
from typing import Any

from exchanges import Said


def whole(said: Said) -> tuple[list[tuple[str, str, Any]], bool]:
    """Return (id, name, arguments) of each call whose arguments are an object, and whether there are others."""
    calls: list[tuple[str, str, Any]] = []
    for call in said.tool_calls:
        try:
            arguments = json.loads(call["arguments"] or "{}")
        except ValueError:
            continue
        if isinstance(arguments, dict):
            calls.append((call["id"], call["name"], arguments))
    return calls, len(calls) != len(said.tool_calls)
