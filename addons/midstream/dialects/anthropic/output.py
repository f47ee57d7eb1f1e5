"""The content blocks of an answer for Anthropic's clients: one open at a time, numbered in order."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from midstream.events import Reasoning, ToolCall
from midstream.wire import FRAME_LIMIT
from midstream.wire.json_text import Json

HELD_LIMIT = FRAME_LIMIT
"""Characters that are held at once while a call's arguments are not whole."""

PIECE_COST = 64
"""What a held piece counts beside its characters."""

_MARKS = re.compile(r"""\\(?:.|$)|["{}\[\]]""", re.DOTALL)

type Write = Callable[[], list[Json]]
"""Writes a piece of content, later."""


@dataclass(slots=True)
class OpenBlock:
    """The open block. block: the provider's number. call: the number of the call it is; -1 for no call.

    said: whether it has had a delta. begun: whether the call's arguments have. signature: told when the block closes, unless
    it is what was told already (signed).
    """

    index: int
    kind: str
    block: int
    call: int = -1
    said: bool = False
    signature: str = ""
    signed: str = ""
    begun: bool = False
    _depth: int = 0
    _in_string: bool = False
    _escaped: bool = False

    @property
    def whole(self) -> bool:
        """Whether nothing more needs to come: of a call, whether the brackets of its arguments are closed."""
        return self.call < 0 or (self.begun and self._depth <= 0 and not self._in_string)

    def read(self, piece: str) -> None:
        """Follow the brackets of a piece of the arguments."""
        start, self._escaped = int(self._escaped), False
        for mark in _MARKS.finditer(piece, start):
            match mark[0]:
                case '"':
                    self._in_string = not self._in_string
                case "{" | "[" if not self._in_string:
                    self._depth += 1
                    self.begun = True
                case "}" | "]" if not self._in_string:
                    self._depth -= 1
                case "\\":
                    self._escaped = True  # what it escapes is in the next piece
                case _:
                    pass


class Blocks:
    """Pieces of content → the events of their blocks.

    Where another piece comes before a call's arguments are whole (calls side by side), it is held until they are, or until the
    end. Fragments of a call that is closed are ignored: it was whole.

    failure: why there can be no more: arguments that are no object (OpenAI's custom tools), or more to hold than HELD_LIMIT.
    """

    def __init__(self, call_id: Callable[[ToolCall], str]) -> None:
        self.open: OpenBlock | None = None
        self.called = False
        self.failure = ""
        self._call_id = call_id
        self._count = 0
        self._calls = set[int]()
        self._held = deque[tuple[int, list[Write]]]()
        self._held_calls: dict[int, list[Write]] = {}
        self._size = 0

    def go_on(self, count: int, unclosed: Sequence[OpenBlock]) -> list[Json]:
        """Take up what another wrote, instead of what was written here: blocks up to `count`, the last of the unclosed still
        open. Return the events that close the others."""
        self._held.clear()
        self._held_calls.clear()
        self._size, self._count, self.failure = 0, count, ""
        self.open = unclosed[-1] if unclosed else None
        return [{"type": "content_block_stop", "index": block.index} for block in unclosed[:-1]]

    def text(self, text: str) -> list[Json]:
        """Add a piece of the answer. Whatever block it had, it joins what is open: Nova numbers each piece anew."""
        return self._later(len(text), lambda: self._text(text))

    def part(self) -> list[Json]:
        """End the text: something else stood here."""
        return self._close() if self.open is not None and self.open.kind == "text" else []

    def reasoning(self, event: Reasoning, *, redacted: bool) -> list[Json]:
        """Add a piece of reasoning. redacted: whether a signature without a text is a block of its own kind."""
        size = len(event.text) + len(event.signature)
        return self._later(size, lambda: self._reasoning(event, redacted=redacted))

    def call(self, event: ToolCall) -> list[Json]:
        """Add a fragment of a call."""
        self.called = True
        if self.open is not None and self.open.call == event.index:
            return self._fragment(self.open, event.arguments) + self._release()
        if (place := self._held_calls.get(event.index)) is not None:
            return self._hold(len(event.arguments), lambda: self._call(event), place)
        if event.index in self._calls:
            return []
        return self._later(len(event.arguments), lambda: self._call(event), event.index)

    def close(self) -> list[Json]:
        """Close all: what was held, too."""
        events = self._close()
        while self._held:
            events += self._next()
            if not self._held or not (self.open and self.open.whole):
                events += self._close()
        return events

    def _later(self, size: int, write: Write, call: int = -1) -> list[Json]:
        """Write now, or once the open call is whole."""
        if not self._held and (self.open is None or self.open.whole):
            return write()
        place: list[Write] = []
        self._held.append((call, place))
        if call >= 0:
            self._held_calls[call] = place
        return self._hold(size, write, place)

    def _hold(self, size: int, write: Write, place: list[Write]) -> list[Json]:
        self._size += size + PIECE_COST
        if self._size > HELD_LIMIT:
            self.failure = f"tool calls side by side are over {HELD_LIMIT} characters"
        else:
            place.append(write)
        return []

    def _release(self) -> list[Json]:
        """Write what was held, up to the next call that is not whole."""
        events: list[Json] = []
        while self._held and (self.open is None or self.open.whole):
            events += self._next()
        return events

    def _next(self) -> list[Json]:
        call, place = self._held.popleft()
        self._held_calls.pop(call, None)
        if not self._held:
            self._size = 0
        return [event for write in place for event in write()]

    def _text(self, text: str) -> list[Json]:
        events = self._begin("text", 0, {"type": "text", "text": ""})
        return [*events, self._delta({"type": "text_delta", "text": text})]

    def _reasoning(self, event: Reasoning, *, redacted: bool) -> list[Json]:
        open_ = self.open
        mine = open_ is not None and open_.kind == "thinking" and open_.block == event.block
        if redacted and not event.text and not mine:
            return self._start("redacted_thinking", -1, {"type": "redacted_thinking", "data": event.signature})
        events = self._begin("thinking", event.block, {"type": "thinking", "thinking": "", "signature": ""})
        if self.open is not None:
            self.open.signature += event.signature
        return [*events, self._delta({"type": "thinking_delta", "thinking": event.text})] if event.text else events

    def _call(self, event: ToolCall) -> list[Json]:
        if self.open is not None and self.open.call == event.index:
            return self._fragment(self.open, event.arguments)
        self._calls.add(event.index)
        block = {"type": "tool_use", "id": self._call_id(event), "name": event.name, "input": {}}
        events = self._start("tool_use", event.block, block)
        if self.open is not None:
            self.open.call = event.index
            events += self._fragment(self.open, event.arguments)
        return events

    def _fragment(self, open_: OpenBlock, piece: str) -> list[Json]:
        piece = piece if open_.begun else self._first(open_, piece.lstrip())
        if not piece:
            return []
        open_.read(piece)
        return [self._delta({"type": "input_json_delta", "partial_json": piece})]

    def _first(self, open_: OpenBlock, piece: str) -> str:
        """The first piece of arguments; `null` (Llama's, for a tool without parameters) is none."""
        if piece.rstrip() == "null":
            open_.begun = True
            return ""
        if piece and not piece.startswith("{"):
            self.failure = "a tool call's arguments are no JSON object"
            return ""
        return piece

    def _begin(self, kind: str, block: int, content: Json) -> list[Json]:
        """Open a block, unless it is open."""
        if self.open is not None and self.open.kind == kind and self.open.block == block:
            return []
        return self._start(kind, block, content)

    def _start(self, kind: str, block: int, content: Json) -> list[Json]:
        events = self._close()
        self.open = OpenBlock(self._count, kind, block)
        self._count += 1
        return [*events, {"type": "content_block_start", "index": self.open.index, "content_block": content}]

    def _delta(self, delta: Json) -> Json:
        open_ = self.open
        if open_ is not None:
            open_.said = True
        return {"type": "content_block_delta", "index": open_.index if open_ else 0, "delta": delta}

    def _close(self) -> list[Json]:
        open_ = self.open
        if open_ is None:
            return []
        events: list[Json] = []
        if open_.signature != open_.signed:
            events.append(self._delta({"type": "signature_delta", "signature": open_.signature}))
        if open_.call >= 0 and not open_.said:
            events.append(self._delta({"type": "input_json_delta", "partial_json": "{}"}))
        self.open = None
        return [*events, {"type": "content_block_stop", "index": open_.index}]
