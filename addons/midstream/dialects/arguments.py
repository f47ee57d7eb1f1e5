"""Tool-call arguments that a provider sends as JSON values, → the JSON text that a ToolCall carries."""

from __future__ import annotations

import json
import re
from math import isfinite
from typing import Any

from midstream.wire.json_text import Json, as_str, dump_json

PATH_LIMIT = 4096
"""Characters of one JSON path; names of parameters come to some dozen characters a step."""

DEPTH_LIMIT = 64
"""Steps of one JSON path."""

_STEP = re.compile(r"""\.([^.\[\]]+)|\[(\d{1,9})\]|\['((?:[^'\\]|\\.)*)'\]|\["((?:[^"\\]|\\.)*)"\]""")
_ESCAPED = re.compile(r"\\(.)")

type Step = str | int
"""A key of an object, or an index of an array."""


def arguments_text(arguments: Any) -> str:
    """Whole arguments as JSON text; proto3 leaves an empty object out, and some servers send the text itself.

    "" where they cannot be written: nested deeper than json dares.
    """
    if isinstance(arguments, str):
        return arguments
    try:
        return dump_json({} if arguments is None else arguments)
    except (RecursionError, ValueError):
        return ""


class PartialArguments:
    """Gemini's `partialArgs`, each a JSON path and a scalar or a piece of a string, → pieces of one JSON text.

    A model writes its arguments from beginning to end, so the paths come in the text's own order, and the text can be
    written as they come; only the last path is kept. What goes back on that order makes no JSON and is refused.

    https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/function-calling#streaming-fc
    """

    def __init__(self) -> None:
        self._path: list[Step] = []
        self._in_string = False

    def add(self, partial: Json) -> str | None:
        """Return the JSON text that this continues with ("" is possible), or None if it cannot go on so."""
        path = _steps(as_str(partial.get("jsonPath")))
        if not path:
            return None
        more = partial.get("willContinue") is True
        if self._in_string and path == self._path:
            self._in_string = more
            return _escaped(as_str(partial.get("stringValue"))) + ("" if more else '"')
        value = _value(partial, more=more)
        lead = self._lead(path)
        if value is None or lead is None:
            return None
        text = ('"' if self._in_string else "") + lead + value
        self._path, self._in_string = path, more and value.startswith('"')
        return text

    def close(self) -> str:
        """Return what ends the text."""
        if not self._path:
            return "{}"
        text = ('"' if self._in_string else "") + _closers(self._path)
        self._path, self._in_string = [], False
        return text

    def _lead(self, path: list[Step]) -> str | None:
        """What stands between the last value and the one at `path`: None if JSON has no such text."""
        last = self._path
        if not last:
            return _openers(path) if isinstance(path[0], str) else None
        same = 0
        while same < min(len(path), len(last)) and path[same] == last[same]:
            same += 1
        if same in (len(path), len(last)):
            return None
        before, step = last[same], path[same]
        if isinstance(step, int):
            if not isinstance(before, int) or step != before + 1:
                return None
        elif isinstance(before, int):
            return None
        below = _openers(path[same + 1 :])
        return None if below is None else f"{_closers(last[same + 1 :])},{_key(step)}{below}"


def _steps(path: str) -> list[Step]:
    """Parse the singular queries of RFC 9535 (`$.a['b'][0]`); [] for anything else."""
    if not path.startswith("$") or len(path) > PATH_LIMIT:
        return []
    steps: list[Step] = []
    at = 1
    while at < len(path):
        match = _STEP.match(path, at)
        if match is None or len(steps) == DEPTH_LIMIT:
            return []
        steps.append(_step(match))
        at = match.end()
    return steps


def _step(match: re.Match[str]) -> Step:
    name, index, single, double = match.groups()
    if index is not None:
        return int(index)
    return str(name) if name is not None else _ESCAPED.sub(r"\1", single if single is not None else double)


def _value(partial: Json, *, more: bool) -> str | None:
    if isinstance(text := partial.get("stringValue"), str):
        return f'"{_escaped(text)}' + ("" if more else '"')
    number = partial.get("numberValue")
    if isinstance(number, int | float) and not isinstance(number, bool) and isfinite(number):
        return dump_json(number)
    if isinstance(truth := partial.get("boolValue"), bool):
        return "true" if truth else "false"
    return "null" if "nullValue" in partial else None


def _escaped(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _key(step: Step) -> str:
    return "" if isinstance(step, int) else f"{dump_json(step)}:"


def _openers(path: list[Step]) -> str | None:
    if any(step for step in path if isinstance(step, int)):
        return None  # an array begins with its first item
    return "".join(("[" if isinstance(step, int) else "{") + _key(step) for step in path)


def _closers(path: list[Step]) -> str:
    return "".join("]" if isinstance(step, int) else "}" for step in reversed(path))
