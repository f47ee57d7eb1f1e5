"""What OpenAI's Responses and Realtime APIs share: the events about output items, usage and errors.

Deltas carry an answer; every `*.done` event, the item's own and the response's, repeats it whole. A repetition counts only
where no delta came before it, and is never compared with what the deltas said.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from midstream.dialects.token_counts import count
from midstream.events import Event, Failure, Media, Reasoning, Refusal, ServerTool, Text, ToolCall, Usage
from midstream.wire.json_text import EMPTY, Json, as_dict, as_int, as_list, as_str, dump_json

PARTS_LIMIT = 4096
"""Content parts of one answer that are remembered as said. Past it deltas still count, repetitions no longer do."""

ITEMS_LIMIT = 1024
"""Tool calls, and items known by their id, that one answer may have. Agents with server tools come to some hundred items."""

ID_LIMIT = 256
"""Characters kept of an id or a model name; the providers' are below 100."""

_INDEX_LIMIT = 1 << 31


@dataclass(frozen=True, slots=True)
class _Part:
    """A kind of content. name: two of one name are never both told; index, text: the fields of its events; make: its event."""

    name: str
    index: str
    text: str
    make: Callable[[str, int], Event]


_TEXT = _Part("text", "content_index", "text", lambda text, block: Text(text, 0, block))
_REFUSAL = _Part("refusal", "content_index", "refusal", lambda text, block: Refusal(text, 0, block))
_REASONING = _Part("reasoning", "content_index", "text", lambda text, block: Reasoning(text, 0, block))
_SUMMARY = _Part("reasoning", "summary_index", "text", lambda text, block: Reasoning(text, 0, block))
_TRANSCRIPT = _Part("transcript", "content_index", "transcript", lambda text, block: Media("audio", 0, text, 0, block))

_PARTS = {
    "response.output_text": _TEXT,
    "response.text": _TEXT,  # Realtime until 2025, and Azure's voice live
    "response.refusal": _REFUSAL,
    "response.reasoning_text": _REASONING,
    "response.reasoning_summary_text": _SUMMARY,
    "response.output_audio_transcript": _TRANSCRIPT,
    "response.audio_transcript": _TRANSCRIPT,  # Realtime until 2025, and Azure's voice live
}
_NAMES = frozenset(part.name for part in _PARTS.values())
_DELTAS = {f"{name}.delta": part for name, part in _PARTS.items()}
_DONES = {f"{name}.done": part for name, part in _PARTS.items()}
_CONTENT = {
    "output_text": _TEXT,
    "text": _TEXT,
    "refusal": _REFUSAL,
    "reasoning_text": _REASONING,
    "summary_text": _SUMMARY,
    "output_audio": _TRANSCRIPT,
    "audio": _TRANSCRIPT,
}
_CLIENT_TOOLS = {"function_call": "arguments", "custom_tool_call": "input"}
"""The items that are calls of the client's own tools → the field of what they are called with. Other `*_call` items are
server tools, also those that a client may have to carry out (shell, apply_patch, computer): no schema of theirs is its own."""


@dataclass(slots=True)
class _Call:
    index: int
    named: bool = False
    streamed: bool = False


class Items:
    """The output items of one answer, from events in any order; bounded, and never raises."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, int, int]] = set()
        self._spoken: set[tuple[str, int]] = set()
        self._calls: dict[int, _Call] = {}
        self._slots: dict[str, int] = {}
        self._said: set[type[Event]] = set()

    def read(self, kind: str, event: Json) -> list[Event]:
        """Return what an event about an item says; [] if nothing, or nothing new."""
        part = _DELTAS.get(kind)
        if part is not None:
            events = self._delta(part, event)
        elif handler := _HANDLERS.get(kind):
            events = handler(self, event)
        elif part := _DONES.get(kind):
            events = self._once(part, self._slot(event), _index(event.get(part.index)), event.get(part.text))
        elif kind.endswith(".delta") and "_call" in kind:
            events = [ServerTool(kind.removeprefix("response.").partition("_call")[0], 0, self._slot(event))]
        else:
            return []
        for said in events:
            self._said.add(type(said))
        return events

    def whole(self, output: Any) -> list[Event]:
        """Return what a response's `output` says."""
        events: list[Event] = []
        for slot, item in enumerate(as_list(output)):
            events += self._item(slot, as_dict(item))
        return events

    def rest(self, output: Any) -> list[Event]:
        """Return what a response's `output` says of a kind no event before it did: relays may send little but the last event."""
        return [event for event in Items().whole(output) if type(event) not in self._said]

    def _delta(self, part: _Part, event: Json) -> list[Event]:
        delta = event.get("delta")
        if not isinstance(delta, str) or not delta:
            return []
        slot = self._slot(event)
        key = (part.name, slot, _index(event.get(part.index)))
        if key not in self._seen and len(self._seen) < PARTS_LIMIT:
            self._seen.add(key)
            self._spoken.add((part.name, slot))
        return [part.make(delta, slot)]

    def _once(self, part: _Part, slot: int, index: int, text: Any) -> list[Event]:
        """A repetition of one part."""
        key = (part.name, slot, index)
        if not isinstance(text, str) or not text or key in self._seen or len(self._seen) >= PARTS_LIMIT:
            return []
        self._seen.add(key)
        self._spoken.add((part.name, slot))
        return [part.make(text, slot)]

    def _slot(self, event: Json) -> int:
        index = event.get("output_index")
        if type(index) is int and 0 <= index < _INDEX_LIMIT:
            return index
        return self._slot_of(as_str(event.get("item_id")))

    def _item_slot(self, event: Json, item: Json) -> int:
        name = as_str(item.get("id")) or as_str(item.get("call_id"))
        index = event.get("output_index")
        if type(index) is not int or not 0 <= index < _INDEX_LIMIT:
            return self._slot_of(name)
        if len(self._slots) < ITEMS_LIMIT:
            self._slots.setdefault(name[:ID_LIMIT], index)
        return index

    def _slot_of(self, name: str) -> int:
        """The number of an item where a server leaves `output_index` out (llama.cpp): by the order in which ids appear."""
        name = name[:ID_LIMIT]
        slot = self._slots.get(name)
        if slot is None:
            slot = len(self._slots)
            if slot < ITEMS_LIMIT:
                self._slots[name] = slot
        return slot

    def _added(self, event: Json) -> list[Event]:
        """`response.output_item.added`. What arguments or text it already holds is left to the deltas, or to the item's done."""
        item = as_dict(event.get("item"))
        slot, kind = self._item_slot(event, item), as_str(item.get("type"))
        if kind in _CLIENT_TOOLS:
            return self._tool(slot, item)
        return [_server_tool(kind, item, slot)] if kind.endswith("_call") else []

    def _done(self, event: Json) -> list[Event]:
        item = as_dict(event.get("item"))
        return self._item(self._item_slot(event, item), item)

    def _item(self, slot: int, item: Json) -> list[Event]:
        """A whole item."""
        kind = as_str(item.get("type"))
        if kind in _CLIENT_TOOLS:
            return self._tool(slot, item, item.get(_CLIENT_TOOLS[kind]))
        if kind.endswith("_call"):
            image = as_str(item.get("result")) if kind == "image_generation_call" else ""
            return [Media("image", len(image), "", 0, slot)] if image else [_server_tool(kind, item, slot)]
        events = self._contents(slot, item.get("content")) + self._contents(slot, item.get("summary"))
        if signature := as_str(item.get("encrypted_content")) if kind == "reasoning" else "":
            events.append(Reasoning("", 0, slot, signature))
        return events

    def _contents(self, slot: int, contents: Any) -> list[Event]:
        """The parts of a whole item, of the kinds that no event about this item told yet (servers may number parts apart)."""
        spoken = [name for name in _NAMES if (name, slot) in self._spoken]
        events: list[Event] = []
        for index, content in enumerate(as_list(contents)):
            fields = as_dict(content)
            part = _CONTENT.get(as_str(fields.get("type")))
            if part is not None and part.name not in spoken:
                events += self._once(part, slot, index, fields.get(part.text))
        return events

    def _tool(self, slot: int, named: Json, arguments: Any = "", *, delta: bool = False) -> list[Event]:
        """A fragment of a call; whole arguments count only where no delta did."""
        call = self._calls.get(slot)
        new = call is None
        if call is None:
            if len(self._calls) >= ITEMS_LIMIT:
                return []
            call = self._calls[slot] = _Call(len(self._calls))
        text = "" if call.streamed and not delta else _arguments(arguments)
        call.streamed = call.streamed or bool(text)
        name = "" if call.named else as_str(named.get("name"))
        id_ = "" if call.named else as_str(named.get("call_id")) or (as_str(named.get("id")) if name else "")
        call.named = call.named or bool(name)
        return [ToolCall(call.index, id_, name, text, 0, slot)] if new or name or text else []

    def _arguments_delta(self, event: Json) -> list[Event]:
        delta = as_str(event.get("delta"))
        return self._tool(self._slot(event), EMPTY, delta, delta=True) if delta else []

    def _arguments_done(self, event: Json) -> list[Event]:
        return self._tool(self._slot(event), event, event.get("arguments") or event.get("input"))

    def _audio(self, event: Json) -> list[Event]:
        size = len(as_str(event.get("delta")))
        return [Media("audio", size, "", 0, self._slot(event))] if size else []

    def _image(self, event: Json) -> list[Event]:
        size = len(as_str(event.get("partial_image_b64")))
        return [Media("image", size, "", 0, self._slot(event))] if size else []


_HANDLERS: dict[str, Callable[[Items, Json], list[Event]]] = {
    "response.output_item.added": Items._added,
    "response.output_item.done": Items._done,
    "response.function_call_arguments.delta": Items._arguments_delta,
    "response.function_call_arguments.done": Items._arguments_done,
    "response.custom_tool_call_input.delta": Items._arguments_delta,
    "response.custom_tool_call_input.done": Items._arguments_done,
    "response.image_generation_call.partial_image": Items._image,
    "response.output_audio.delta": Items._audio,
    "response.audio.delta": Items._audio,
}


def _server_tool(kind: str, item: Json, slot: int) -> ServerTool:
    return ServerTool(as_str(item.get("name")) or kind.removesuffix("_call"), 0, slot)


def _arguments(value: Any) -> str:
    return dump_json(value) if isinstance(value, dict | list) else as_str(value)


def _index(value: Any) -> int:
    return value if type(value) is int and 0 <= value < _INDEX_LIMIT else 0


def read_usage(usage: Any) -> list[Event]:
    """A response's `usage`; [] where there is none (xAI's Realtime sends {}). Responses and Realtime spell the details apart."""
    fields = as_dict(usage)
    if not fields:
        return []
    of_input = as_dict(fields.get("input_tokens_details") or fields.get("input_token_details"))
    of_output = as_dict(fields.get("output_tokens_details") or fields.get("output_token_details"))
    return [
        Usage(
            input_tokens=count(fields.get("input_tokens")),
            output_tokens=count(fields.get("output_tokens")),
            cached_tokens=count(of_input.get("cached_tokens")),
            cache_write_tokens=count(of_input.get("cache_write_tokens")),
            reasoning_tokens=count(of_output.get("reasoning_tokens")),
            raw=fields,
        )
    ]


def read_failure(holder: Json, otherwise: str) -> Failure:
    """The error in `holder`: its own `error` (an object, or text), or else its own message and code (the SSE `error` event)."""
    error = holder.get("error")
    fields = error if isinstance(error, dict) else holder
    code = fields.get("code")
    kind = as_str(fields.get("type"))
    return Failure(
        as_str(fields.get("message")) or as_str(error) or otherwise,
        type=kind if fields is error else "",
        code=str(code)[:ID_LIMIT] if isinstance(code, str | int) and not isinstance(code, bool) else "",
        status=as_int(holder.get("status")) or as_int(holder.get("status_code")),
        raw=fields,
    )
