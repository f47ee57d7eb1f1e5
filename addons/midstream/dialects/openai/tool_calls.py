"""Which tool call a fragment belongs to: `index` says so, except where providers leave it out or use it twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from midstream.dialects.arguments import arguments_text
from midstream.events import ToolCall
from midstream.wire.json_text import Json, as_dict, as_int, as_str

TOOL_CALL_LIMIT = 256
"""Tool calls followed in one choice; OpenAI takes 128 tools a request. What comes for more of them is opaque."""

ID_LIMIT = 256
"""Characters of an id that are compared. LiteLLM appends Gemini's thought signature, kilobytes of it, to a short id."""


@dataclass(slots=True)
class _Call:
    number: int
    index: int | str | None  # as the provider numbers it; "function_call" for the legacy field
    id: str = ""
    named: bool = False


class ToolCalls:
    """The calls of one choice, numbered from 0 in order of appearance."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._at: dict[int | str | None, _Call] = {}

    def indexes(self) -> dict[int, int]:
        """Return each call's number → the `index` that the provider gave it, where it gave one."""
        return {call.number: call.index for call in self._calls if isinstance(call.index, int)}

    def read(self, fragment: Any, choice: int, index: int | str | None = None) -> ToolCall | None:
        """Return what a fragment adds; None if nothing. index: where the place in a list, or a legacy field, is telling."""
        if not isinstance(fragment, dict):
            return None
        if index is None:
            index = as_int(fragment.get("index"))
        function = as_dict(fragment.get("function")) or as_dict(fragment.get("custom")) or fragment
        id_, name = as_str(fragment.get("id")), as_str(function.get("name"))
        arguments = _arguments(function)
        call = self._call(index, id_[:ID_LIMIT], name)
        if call is None and (id_ or name or arguments):
            call = self._new(index)
        if call is None or not (arguments or (id_ and not call.id) or (name and not call.named)):
            return None  # Novita repeats id and name on every fragment
        event = ToolCall(call.number, "" if call.id else id_, "" if call.named else name, arguments, choice)
        call.id, call.named = call.id or id_[:ID_LIMIT], call.named or bool(name)
        return event

    def _call(self, index: int | str | None, id_: str, name: str) -> _Call | None:
        """A new id with a name at a known index is a new call (Gemini's and Ollama's compatible APIs number every call 0);
        without a name it is not (some servers make a new id for every fragment). Without an index (Mistral) the id tells,
        and without both a name begins a new call."""
        if index is None:
            if id_:
                return self._find(None, id_)
            return None if name or not self._calls else self._calls[-1]
        call = self._at.get(index)
        if call is not None and id_ and call.id and id_ != call.id and name:
            return self._find(index, id_)
        return call

    def _find(self, index: int | str | None, id_: str) -> _Call | None:
        same = (call for call in reversed(self._calls) if call.id == id_ and (index is None or call.index == index))
        return next(same, None)

    def _new(self, index: int | str | None) -> _Call | None:
        if len(self._calls) >= TOOL_CALL_LIMIT:
            return None
        call = _Call(len(self._calls), index)
        self._calls.append(call)
        if index is not None:
            self._at[index] = call
        return call


def _arguments(function: Json) -> str:
    """A call's arguments, or a custom tool's input; some servers send them as an object."""
    value = function.get("arguments")
    if value is None:
        value = function.get("input")
    return arguments_text(value) if isinstance(value, str | dict | list) else ""
