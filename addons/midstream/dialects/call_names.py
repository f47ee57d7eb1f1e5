"""For APIs that name the tool in a call's result, and take a call's arguments as an object."""

from __future__ import annotations

from midstream.conversation import Inexpressible, Part, ToolResultPart, ToolUsePart
from midstream.wire.json_text import Json, parse_json


class CallNames:
    """The names of the calls so far, by id."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def note(self, part: Part) -> None:
        """Remember a call; other parts are nothing to remember."""
        if isinstance(part, ToolUsePart) and part.id:
            self._names[part.id] = part.name

    def of(self, result: ToolResultPart) -> str:
        """The name of the tool whose result this is."""
        name = self._names.get(result.id) or result.name
        if not name:
            raise Inexpressible("a tool's result without its call")
        return name


def arguments_object(call: ToolUsePart) -> Json:
    """A call's arguments; none are `{}`."""
    try:
        arguments = parse_json(call.arguments) if call.arguments.strip() else {}
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        raise Inexpressible("a tool call whose arguments are no JSON object")
    return arguments
