"""The output items of a response that we write: each opens, grows and closes, and is then a part of the whole response."""

from __future__ import annotations

from dataclasses import dataclass, field
from json import JSONEncoder
from typing import Any

from midstream.wire import Frame
from midstream.wire.json_text import Json, dump_json, parse_json

_quote = JSONEncoder(ensure_ascii=False).encode  # of a str alone: a third of the cost of json.dumps


class Sequence:
    """Frames of one response, numbered in `sequence_number`, from 0 on unless another wrote some."""

    def __init__(self, first: int = 0) -> None:
        self._next = first

    def frame(self, kind: str, fields: Json) -> Frame:
        """An event."""
        event = {"type": kind, **fields, "sequence_number": self._number()}
        return Frame(dump_json(event).encode(), event=kind)

    def delta(self, kind: str, head: bytes, text: str, tail: bytes) -> Frame:
        """An event whose text alone is not known beforehand."""
        try:
            said = _quote(text).encode()
        except UnicodeEncodeError:  # a lone surrogate: half an emoji
            said = dump_json(text).encode()
        return Frame(head + said + tail + str(self._number()).encode() + b"}", event=kind)

    def _number(self) -> int:
        number = self._next
        self._next += 1
        return number


@dataclass(frozen=True, slots=True)
class PartKind:
    """A kind of content part: the item it stands in, the names of its events, and where its text is."""

    item: str
    parts: str
    part: str
    part_event: str
    text_event: str
    index: str
    text: str = "text"
    noise: tuple[str, ...] = ()

    def whole(self, text: str) -> Json:
        """The part as an object."""
        return {"type": self.part, self.text: text, **{name: [] for name in self.noise}}


TEXT = PartKind(
    "message", "content", "output_text", "response.content_part", "response.output_text", "content_index",
    noise=("annotations", "logprobs"),
)  # fmt: skip
REFUSAL = PartKind(
    "message", "content", "refusal", "response.content_part", "response.refusal", "content_index", text="refusal"
)
SUMMARY = PartKind(
    "reasoning", "summary", "summary_text", "response.reasoning_summary_part", "response.reasoning_summary_text",
    "summary_index",
)  # fmt: skip
REASONING_TEXT = PartKind(
    "reasoning", "content", "reasoning_text", "response.content_part", "response.reasoning_text", "content_index"
)
"""Open models' own thoughts, where a provider wrote them; summaries are what is written here."""


def json_bytes(value: Any) -> bytes:
    """Compact JSON."""
    return dump_json(value).encode()


@dataclass(slots=True)
class TextItem:
    """A message, or reasoning: parts one after another, the last of them open.

    block: the provider's number of the open part's text; None: whatever it is, the next text goes on with it. noted: what else
    the open part has (annotations).
    """

    sequence: Sequence
    index: int
    item: Json
    kind: PartKind | None = None
    block: int | None = 0
    closed: bool = False
    noted: Json = field(default_factory=dict)
    pieces: list[str] = field(default_factory=list)
    head: bytes = b""
    tail: bytes = b""
    event: str = ""

    def opening(self) -> list[Frame]:
        """The item is there."""
        return [self.sequence.frame("response.output_item.added", {"output_index": self.index, "item": self.item})]

    def add(self, kind: PartKind, text: str, block: int) -> list[Frame]:
        """A piece of text; another kind, or another block of the provider's, is another part."""
        frames = []
        if not self.goes_on(kind, block):
            frames = self._close_part() + self._open_part(kind, block)
        self.pieces.append(text)
        return [*frames, self.sequence.delta(self.event, self.head, text, self.tail)]

    def goes_on(self, kind: PartKind, block: int) -> bool:
        """Whether a piece of text belongs to the open part."""
        if kind is not self.kind:
            return False
        if self.block is None:
            self.block = block
        return self.block == block

    def take_up(self, kind: PartKind, text: str, block: int | None) -> None:
        """Go on with a part that another has opened, and written this text of."""
        self._begin_part(kind, block)
        if text:
            self.pieces.append(text)

    def close(self, status: str) -> list[Frame]:
        """The item is whole."""
        frames = self._close_part()
        self.closed = True
        if "status" in self.item:
            self.item = {**self.item, "status": status}
        done = self.sequence.frame("response.output_item.done", {"output_index": self.index, "item": self.item})
        return [*frames, done]

    def _place(self, kind: PartKind) -> Json:
        """Where the part is that opens, or is open: those before it are in the item already."""
        return {
            "item_id": self.item["id"],
            "output_index": self.index,
            kind.index: len(self.item.get(kind.parts) or ()),
        }

    def _open_part(self, kind: PartKind, block: int) -> list[Frame]:
        self._begin_part(kind, block)
        return [self.sequence.frame(f"{kind.part_event}.added", {**self._place(kind), "part": kind.whole("")})]

    def _begin_part(self, kind: PartKind, block: int | None) -> None:
        self.kind, self.block, self.pieces, self.noted = kind, block, [], {}
        self.event = f"{kind.text_event}.delta"
        self.head = json_bytes({"type": self.event, **self._place(kind)})[:-1] + b',"delta":'
        self.tail = b',"logprobs":[],"sequence_number":' if kind is TEXT else b',"sequence_number":'

    def _close_part(self) -> list[Frame]:
        kind, self.kind = self.kind, None
        if kind is None:
            return []
        text, place = "".join(self.pieces), self._place(kind)
        logprobs: Json = {"logprobs": []} if kind is TEXT else {}
        done = {**place, kind.text: text, **logprobs}
        part = {**kind.whole(text), **self.noted}
        self.item = {**self.item, kind.parts: [*(self.item.get(kind.parts) or ()), part]}
        frame = self.sequence.frame
        return [frame(f"{kind.text_event}.done", done), frame(f"{kind.part_event}.done", {**place, "part": part})]


@dataclass(frozen=True, slots=True)
class CallKind:
    """A kind of call: the name of its events, and the field of its arguments."""

    event: str
    field: str


FUNCTION = CallKind("response.function_call_arguments", "arguments")
CUSTOM = CallKind("response.custom_tool_call_input", "input")


@dataclass(slots=True)
class CallItem:
    """A call of one of the client's tools."""

    sequence: Sequence
    index: int
    item: Json
    pieces: list[str] = field(default_factory=list)
    closed: bool = False
    kind: CallKind = FUNCTION

    def opening(self) -> list[Frame]:
        """The item is there."""
        return [self.sequence.frame("response.output_item.added", {"output_index": self.index, "item": self.item})]

    def add(self, arguments: str) -> list[Frame]:
        """A piece of the arguments. Nothing after they were closed: whole JSON has no more to come."""
        if self.closed or not arguments:
            return []
        self.pieces.append(arguments)
        delta = {"item_id": self.item["id"], "output_index": self.index, "delta": arguments}
        return [self.sequence.frame(f"{self.kind.event}.delta", delta)]

    def is_whole(self) -> bool:
        """Whether its arguments are whole JSON, so that it can close before the answer ends."""
        text = "".join(self.pieces)
        if not text.rstrip().endswith("}"):
            return False
        try:
            parse_json(text)
        except ValueError:
            return False
        return True

    def close(self, status: str) -> list[Frame]:
        """The call is whole; one without arguments (Anthropic's) gets `{}`, since clients parse them."""
        if self.closed:
            return []
        kind, frame = self.kind, self.sequence.frame
        frames = [] if kind is CUSTOM or any(map(str.strip, self.pieces)) else self.add("{}")
        self.closed = True
        arguments = "".join(self.pieces)
        self.item = {**self.item, kind.field: arguments, "status": status}
        said = {"item_id": self.item["id"], "output_index": self.index, kind.field: arguments}
        name = {"name": self.item.get("name", "")} if kind is FUNCTION else {}
        done = frame(f"{kind.event}.done", {**said, **name})
        return [*frames, done, frame("response.output_item.done", {"output_index": self.index, "item": self.item})]


_UNFINISHED = {"web_search_call": "failed", "image_generation_call": "failed"}
"""The status of what was broken off, where `incomplete` is none of its kind."""


@dataclass(slots=True)
class OtherItem:
    """An item of a kind that is not written here (a server's tool), of which another has written some, or all."""

    sequence: Sequence
    index: int
    item: Json
    closed: bool = True

    def close(self, status: str) -> list[Frame]:
        """Nobody will go on with it, whatever becomes of the answer."""
        if self.closed:
            return []
        self.closed = True
        kind = self.item.get("type")
        if "status" in self.item and kind != "apply_patch_call":  # which has no word for it
            self.item = {**self.item, "status": _UNFINISHED.get(str(kind), "incomplete")}
        return [self.sequence.frame("response.output_item.done", {"output_index": self.index, "item": self.item})]


def message(sequence: Sequence, index: int, id_: str) -> TextItem:
    """A new message."""
    item = {"id": id_, "type": "message", "status": "in_progress", "role": "assistant", "content": []}
    return TextItem(sequence, index, item)


def reasoning(sequence: Sequence, index: int, id_: str) -> TextItem:
    """New reasoning."""
    return TextItem(sequence, index, {"id": id_, "type": "reasoning", "summary": []})


def call(sequence: Sequence, index: int, id_: str, call_id: str, name: str) -> CallItem:
    """A new call."""
    item = {
        "id": id_,
        "type": "function_call",
        "status": "in_progress",
        "call_id": call_id,
        "name": name,
        "arguments": "",
    }
    return CallItem(sequence, index, item)
