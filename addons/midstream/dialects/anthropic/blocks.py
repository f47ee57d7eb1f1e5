"""Anthropic's content blocks → events: as they stream (start, deltas, stop), and whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from midstream.dialects.arguments import arguments_text
from midstream.events import Event, Malformed, Reasoning, ServerTool, Text, ToolCall
from midstream.wire.json_text import Json, as_dict, as_int, as_list, as_str

OPEN_LIMIT = 256
"""Blocks open at once; Anthropic's own streams have one."""

_RESULT = "_tool_result"


@dataclass(slots=True)
class _Block:
    """An open block. call: its number among the client's calls, None for a tool that Anthropic runs."""

    call: int | None
    name: str
    arguments: str  # what the start brought; a guess until the block stops, since deltas replace it
    in_pieces: bool = False


class Blocks:
    """The blocks of one message. What they hold is remembered of tools alone, and only while they are open.

    count: the number that the next block gets. unclosed: index → kind of the open blocks.
    """

    def __init__(self) -> None:
        self.count = 0
        self.unclosed: dict[int, str] = {}
        self._open: dict[int, _Block] = {}
        self._calls = 0

    def start(self, event: Json) -> list[Event]:
        """Read a content_block_start; [] if it says nothing."""
        index, block = _index(event), as_dict(event.get("content_block"))
        kind = as_str(block.get("type"))
        self.count = max(self.count, index + 1)
        if len(self.unclosed) < OPEN_LIMIT:
            self.unclosed[index] = kind
        if kind == "text":
            return _text(block, index)
        if kind in ("thinking", "redacted_thinking"):
            return _reasoning(block, index)
        if kind.endswith("tool_use"):
            return self._tool(kind, block, index)
        if kind.endswith(_RESULT):
            return [ServerTool(kind.removesuffix(_RESULT), 0, index)]
        return []  # compaction, container_upload, what comes next year

    def delta(self, event: Json) -> list[Event]:
        """Read a content_block_delta; [] if it says nothing."""
        delta = event.get("delta")
        if not isinstance(delta, dict):
            return []
        kind = delta.get("type")
        if kind == "text_delta":
            return _text(delta, _index(event))
        if kind in ("thinking_delta", "signature_delta"):
            return _reasoning(delta, _index(event))
        if kind == "input_json_delta":
            return self._input(as_str(delta.get("partial_json")), _index(event))
        return []  # citations_delta, compaction_delta, what comes next year

    def stop(self, event: Json) -> list[Event]:
        """Read a content_block_stop; [] if it says nothing."""
        index = _index(event)
        self.unclosed.pop(index, None)
        block = self._open.pop(index, None)
        if block is None or block.call is None or block.in_pieces or not block.arguments:
            return []
        return [ToolCall(block.call, arguments=block.arguments, block=index)]

    def whole(self, content: Any) -> list[Event]:
        """Read the content of a whole message."""
        events: list[Event] = []
        for index, block in enumerate(as_list(content)):
            place = {"index": index}
            events += self.start(place | {"content_block": block}) + self.stop(place)
        return events

    def call_of(self, index: int) -> int:
        """The number of the client's call that an open block is; -1 for anything else."""
        block = self._open.get(index)
        return -1 if block is None or block.call is None else block.call

    def _tool(self, kind: str, block: Json, index: int) -> list[Event]:
        """tool_use is the client's; server_tool_use, mcp_tool_use and their like are the provider's."""
        if len(self._open) >= OPEN_LIMIT:
            return [Malformed(f"more than {OPEN_LIMIT} open content blocks")]
        name, input_ = as_str(block.get("name")), block.get("input")
        if kind != "tool_use":
            self._open[index] = _Block(None, name, "")
            return [ServerTool(name, 0, index)]
        call = self._calls
        self._calls += 1
        self._open[index] = _Block(call, name, arguments_text(input_) if input_ else "")
        return [ToolCall(call, as_str(block.get("id")), name, block=index)]

    def _input(self, piece: str, index: int) -> list[Event]:
        if not piece:
            return []
        block = self._open.get(index)
        if block is None:
            return [Malformed("arguments for a content block that is no open tool call")]
        if block.call is None:
            return [ServerTool(block.name, 0, index)]
        block.in_pieces = True
        return [ToolCall(block.call, arguments=piece, block=index)]


def _index(event: Json) -> int:
    index = event.get("index")
    return index if index.__class__ is int else as_int(index, 0) or 0


def _text(fields: Json, index: int) -> list[Event]:
    text = fields.get("text")
    return [Text(text, 0, index)] if text and isinstance(text, str) else []


def _reasoning(fields: Json, index: int) -> list[Event]:
    """Redacted thinking is a signature without a text: sent back as it is, and nothing of it can be read."""
    text, signature = as_str(fields.get("thinking")), as_str(fields.get("signature")) or as_str(fields.get("data"))
    return [Reasoning(text, 0, index, signature)] if text or signature else []
