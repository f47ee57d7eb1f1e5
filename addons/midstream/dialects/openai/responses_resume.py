"""Events of ours behind a provider's own of OpenAI's Responses API."""

from __future__ import annotations

from collections import abc
from collections.abc import Mapping
from dataclasses import dataclass, field

from midstream.dialects.base import AnswerOptions
from midstream.dialects.identity import named
from midstream.dialects.openai.responses_answer import ResponsesEncoder
from midstream.dialects.openai.responses_output import (
    CUSTOM,
    FUNCTION,
    REASONING_TEXT,
    REFUSAL,
    SUMMARY,
    TEXT,
    CallItem,
    CallKind,
    OtherItem,
    PartKind,
    Sequence,
    TextItem,
    message,
    reasoning,
)
from midstream.dialects.openai.responses_written import Written
from midstream.events import End, Event, Failure, Finish, Media, Reasoning, Refusal, Start, Text, ToolCall, Usage
from midstream.wire import Frame
from midstream.wire.json_text import Json, as_dict, as_list, as_str

_KINDS: Mapping[str, PartKind] = {kind.part: kind for kind in (TEXT, REFUSAL, SUMMARY, REASONING_TEXT)}
_CALLS: Mapping[str, CallKind] = {"function_call": FUNCTION, "custom_tool_call": CUSTOM}


def resume(options: AnswerOptions, events: abc.Sequence[Event], written: Written | None) -> ResponsesEncoder:
    """Return an encoder that goes on behind events of the provider's which meant these.

    written: what the provider's own decoder has noted of them. None: the items that the texts and calls seem to have stood in
    count as whole, under names of ours.
    """
    return _Resumed(options, events, written or Written())


@dataclass(slots=True)
class _Said:
    """What an item has said so far. call: its first fragment, if it is a call."""

    text: dict[str, str] = field(default_factory=dict)
    arguments: str = ""
    call: ToolCall | None = None

    def add(self, event: Event) -> None:
        match event:
            case Text(text=text) | Media(transcript=text):
                self._add("message", text)
            case Refusal(text=text):
                self._add("refusal", text)
            case Reasoning(text=text):
                self._add("reasoning", text)
            case ToolCall():
                self.call = self.call or event
                self.arguments += event.arguments
            case _:
                pass

    def _add(self, kind: str, text: str) -> None:
        self.text[kind] = self.text.get(kind, "") + text

    def of(self, kind: PartKind) -> str:
        """What was said in parts of this kind."""
        return self.text.get("refusal" if kind is REFUSAL else kind.item, "")


class _Resumed(ResponsesEncoder):
    """Items are numbered on from the provider's, whose own are in the last event as they were; one that is open goes on."""

    def __init__(self, options: AnswerOptions, events: abc.Sequence[Event], written: Written) -> None:
        super().__init__(options)
        self._native = written.response()
        self._identity.adopt(named(events))
        self._identity.used = written.begun or any(isinstance(event, Start) for event in events)
        self._sequence = Sequence(written.sequence + 1)
        said: dict[int, _Said] = {}
        for event in events:
            if isinstance(event, Text | Media | Refusal | Reasoning | ToolCall):
                said.setdefault(event.block, _Said()).add(event)
            self._note(event)
        self._take_up(written, said)
        self._count = max(self._count, written.count, max(said, default=-1) + 1)

    def _note(self, event: Event) -> None:
        match event:
            case Usage():
                self._usage = event
            case Finish():
                self._finish = event
            case Text(text=text) | Refusal(text=text) | Reasoning(text=text) | ToolCall(arguments=text):
                self._room -= len(text)
            case End() | Failure():
                self._over = True
            case _:
                pass

    def _take_up(self, written: Written, said: Mapping[int, _Said]) -> None:
        items = written.items()
        for index in sorted({*items, *said}):
            whole, events = items.get(index, (False, []))
            spoken = said.get(index, _Said())
            item = self._item(index, as_dict(events[0].get("item")) if events else {}, spoken, events, whole=whole)
            self._items.append(item)
            if spoken.call is not None:
                gone = CallItem(self._sequence, index, {}, closed=True)
                self._calls[spoken.call.index] = item if isinstance(item, CallItem) else gone
        self._text = next((i for i in reversed(self._items) if isinstance(i, TextItem) and not i.closed), None)

    def _item(
        self, index: int, item: Json, said: _Said, events: list[Json], *, whole: bool
    ) -> TextItem | CallItem | OtherItem:
        kind = as_str(item.get("type"))
        if not whole and "id" in item:
            if kind in ("message", "reasoning"):
                return _text_item(TextItem(self._sequence, index, item), said, events)
            if kind in _CALLS:
                pieces = [said.arguments] if said.arguments else []
                return CallItem(self._sequence, index, item, pieces, kind=_CALLS[kind])
        return OtherItem(self._sequence, index, item or self._guess(index, said), closed=whole or not item)

    def _guess(self, index: int, said: _Said) -> Json:
        """An item that nothing is known of but what it said."""
        if said.call is not None:
            id_, name = said.call.id, said.call.name
            fields = {"call_id": id_, "name": name, "arguments": said.arguments, "status": "completed"}
            return {"id": self._identity.item_id("fc", index), "type": "function_call", **fields}
        thinks = "reasoning" in said.text
        new = reasoning if thinks else message
        item = new(self._sequence, index, self._identity.item_id("rs" if thinks else "msg", index))
        for kind in (SUMMARY,) if thinks else (TEXT, REFUSAL):
            if text := said.of(kind):
                item.item[kind.parts].append(kind.whole(text))
        return item.item if thinks else {**item.item, "status": "completed"}

    def _close_whole_calls(self) -> list[Frame]:
        """The provider's own tools, too, and texts that were open side by side: one alone goes on."""
        frames: list[Frame] = []
        for item in self._items:
            if not isinstance(item, CallItem) and item is not self._text and not item.closed:
                frames += item.close("completed")
        return frames + super()._close_whole_calls()

    def _response(self, status: str, output: list[Json], **more: Json | None) -> Json:
        return {**super()._response(status, output), **self._native, "status": status, "output": output, **more}


def _text_item(item: TextItem, said: _Said, events: list[Json]) -> TextItem:
    """A message, or reasoning, with the parts that are whole, and the text of the one that is open."""
    item.item = item.item | {key: as_list(item.item[key]) for key in ("content", "summary") if key in item.item}
    open_: Json | None = None
    notes: list[Json] = []
    done: dict[str, int] = {}
    for event in events[1:]:
        if "annotation" in event:
            notes.append(event["annotation"])
            continue
        part = as_dict(event.get("part"))
        kind = _KINDS.get(as_str(part.get("type")))
        if as_str(event.get("type")).endswith(".added"):
            open_, notes = part, []
        elif kind is not None:
            item.item = {**item.item, kind.parts: [*as_list(item.item.get(kind.parts)), part]}
            done[kind.part] = done.get(kind.part, 0) + len(as_str(part.get(kind.text)))
            open_ = None
    kind = _KINDS.get(as_str(open_.get("type"))) if open_ is not None else None
    if kind is not None:
        item.take_up(kind, said.of(kind)[done.get(kind.part, 0) :], item.index if kind.item == "reasoning" else None)
        item.noted = {"annotations": notes} if notes else {}
    else:
        item.block = None
    return item
