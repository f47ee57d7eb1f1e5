"""What can follow where an answer broke off, by what the client has of it (design section 7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from midstream.events import CONTENT, Event, Media, Reasoning, Refusal, ServerTool, Text, ToolCall
from midstream.wire.json_text import parse_json


@dataclass(frozen=True, slots=True)
class Way:
    """What can follow a break.

    anew: ask the same again and let its content pass. continue: ask to go on from the text. restart: ask the same again and
    suppress what the client has, as long as it comes again exactly. impossible: an honest error. reason: where the stream
    broke, for the row and for the error's message.
    """

    kind: Literal["anew", "continue", "restart", "impossible"]
    reason: str = ""


def way_after(events: Sequence[Event], on_break: Literal["continue", "restart"]) -> Way:
    """Return what can follow a break after these events.

    A call's arguments are never spliced mid-JSON. A continuation is asked for by the text alone, so there is none where the
    client has more than that: calls, whose results the model would wait for; a refusal; what a tool of the provider's own
    found; several choices. There the answer may come again, and is compared. Pictures and sound are not kept, so cannot be.
    """
    content = [event for event in events if isinstance(event, CONTENT)]
    if any(isinstance(event, Media) for event in content):
        return Way("impossible", "the stream broke after a part that is no text")
    if not all(is_whole(call.arguments) for call in calls_of(content)):
        return Way("impossible", "the stream broke inside a tool call")
    begun = opened_call(content)
    plain = all(isinstance(event, Text | Reasoning) for event in content if not _belongs(event, begun))
    spoke = any(event.text.strip() for event in content if isinstance(event, Text))
    if begun is None and plain and not spoke:
        return Way("anew", "the stream broke before any text")
    where = "at the beginning of a tool call" if begun else _place(content)
    only_first = not any(event.choice for event in content)
    kind: Literal["continue", "restart"] = "restart"
    if on_break == "continue" and plain and spoke and only_first:
        kind = "continue"
    return Way(kind, f"the stream broke {where}")


def _belongs(event: Event, call: ToolCall | None) -> bool:
    return isinstance(event, ToolCall) and call is not None and (event.choice, event.index) == (call.choice, call.index)


def _place(content: Sequence[Event]) -> str:
    kinds = {type(event) for event in content}
    names = {ToolCall: "a tool call", ServerTool: "a tool of the provider's own", Refusal: "a refusal"}
    after = next((name for kind, name in names.items() if kind in kinds), "")
    return f"after {after}" if after else "inside the text"


def calls_of(events: Sequence[Event]) -> list[ToolCall]:
    """Return the calls in order of appearance, the fragments of each together."""
    parts: dict[tuple[int, int], list[ToolCall]] = {}
    for event in events:
        if isinstance(event, ToolCall):
            parts.setdefault((event.choice, event.index), []).append(event)
    return [
        replace(
            calls[0],
            id=next((call.id for call in calls if call.id), ""),
            name="".join(call.name for call in calls),
            arguments="".join(call.arguments for call in calls),
        )
        for calls in parts.values()
    ]


def opened_call(events: Sequence[Event]) -> ToolCall | None:
    """Return the call of which the client has no more than id and name, if that is the last it has: it may still become any
    call of that name. One that something else follows was a call without arguments."""
    content = [event for event in events if isinstance(event, CONTENT)]
    last = content[-1] if content else None
    if not isinstance(last, ToolCall):
        return None
    call = next(call for call in calls_of(content) if _belongs(last, call))
    return call if call.name and not call.arguments.strip() else None


def is_whole(arguments: str) -> bool:
    """Whether a call's arguments are complete: a JSON object, or `null` (Llama's) or nothing (Anthropic's) for none."""
    if not arguments.strip():
        return True
    try:
        value = parse_json(arguments)
    except ValueError:
        return False
    return isinstance(value, dict) or value is None
