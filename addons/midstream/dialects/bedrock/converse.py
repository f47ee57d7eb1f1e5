"""Amazon Bedrock's Converse and ConverseStream: every model in one shape, streamed as AWS event-stream.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from midstream.dialects.arguments import arguments_text
from midstream.dialects.base import TRUNCATED, Dialect, RequestFacts
from midstream.dialects.bedrock.fields import read_error, read_exception, read_finish, read_usage, write_failure
from midstream.events import (
    END,
    OPAQUE,
    Event,
    Failure,
    Malformed,
    Media,
    Reasoning,
    ServerTool,
    Start,
    Text,
    ToolCall,
)
from midstream.wire import Frame
from midstream.wire.json_text import EMPTY, Json, as_dict, as_int, as_list, as_str, parse_json

OPEN_LIMIT = 256
"""Tool blocks open at once; models have one."""

EVENTS = frozenset(
    ("messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata")
)

_PATH = re.compile(r"/model/(.+)/converse(-stream)?/?$")


@dataclass(slots=True)
class _Tool:
    """An open block of a tool: the client's call of this number, or (None) the provider's own."""

    call: int | None
    name: str


class ConverseDecoder:
    """Events of one answer: messageStop finishes it, then metadata brings the usage and ends it.

    A body that ends between the two is whole. An exception, of any name, is a Failure, and nothing after it counts.
    """

    def __init__(self) -> None:
        self._tools: dict[int, _Tool] = {}
        self._calls = 0
        self._finished = self._over = False

    def feed(self, frame: Frame) -> list[Event]:
        """Return what one event-stream message means, at least one event."""
        try:
            payload = parse_json(frame.data)
        except ValueError:
            payload = EMPTY if frame.event.endswith("Exception") else None
        return self.read(frame.event, payload) or [OPAQUE]

    def close(self) -> list[Event]:
        """Return END where only the metadata is missing, else that the answer is cut off."""
        if self._over:
            return []
        return [END] if self._finished else [TRUNCATED]

    def read(self, name: str, payload: Any) -> list[Event]:
        """Return what a parsed event means; [] if nothing."""
        if self._over:
            return []
        if not isinstance(payload, dict):
            return [Malformed("the event is no JSON object")]
        match name:
            case "contentBlockDelta":
                return self._delta(as_dict(payload.get("delta")), as_int(payload.get("contentBlockIndex"), 0) or 0)
            case "contentBlockStart":
                return self._start(as_dict(payload.get("start")), as_int(payload.get("contentBlockIndex"), 0) or 0)
            case "contentBlockStop":
                self._tools.pop(as_int(payload.get("contentBlockIndex"), 0) or 0, None)
                return []
            case "messageStart":
                return [Start()]
            case "messageStop":
                self._finished = True
                return read_finish(payload)
            case "metadata":
                self._over = self._finished
                return read_usage(payload.get("usage")) + ([END] if self._over else [])
        failure = read_exception(name, payload)
        self._over = failure is not None
        return [] if failure is None else [failure]

    def _start(self, start: Json, index: int) -> list[Event]:
        if isinstance(use := start.get("toolUse"), dict):
            return self._tool(use, index)
        if isinstance(result := start.get("toolResult"), dict):
            return self._open(_Tool(None, _tool_of(result)), index) or [ServerTool(_tool_of(result), 0, index)]
        return [Media("image", block=index)] if isinstance(start.get("image"), dict) else []

    def _tool(self, use: Json, index: int) -> list[Event]:
        name = as_str(use.get("name"))
        if use.get("type") == "server_tool_use":  # Nova's code interpreter
            return self._open(_Tool(None, name), index) or [ServerTool(name, 0, index)]
        call = self._calls
        full = self._open(_Tool(call, name), index)
        if full:
            return full
        self._calls += 1
        return [ToolCall(call, as_str(use.get("toolUseId")), name, block=index)]

    def _open(self, tool: _Tool, index: int) -> list[Event]:
        """Return [], or why the block cannot be followed."""
        if len(self._tools) >= OPEN_LIMIT and index not in self._tools:
            return [Malformed(f"more than {OPEN_LIMIT} open tool blocks")]
        self._tools[index] = tool
        return []

    def _delta(self, delta: Json, index: int) -> list[Event]:
        if text := delta.get("text"):
            return [Text(text, 0, index)] if isinstance(text, str) else []
        if isinstance(use := delta.get("toolUse"), dict):
            return self._arguments(as_str(use.get("input")), index)
        if isinstance(reasoning := delta.get("reasoningContent"), dict):
            return _reasoning(reasoning, index)
        if "toolResult" in delta:
            tool = self._tools.get(index)
            return [ServerTool(tool.name if tool else "", 0, index)]
        return _media(delta.get("image"), index)  # or a citation

    def _arguments(self, piece: str, index: int) -> list[Event]:
        tool = self._tools.get(index)
        if tool is None:
            return [Malformed("arguments for a content block that is no open tool call")]
        if not piece:
            return []
        if tool.call is None:
            return [ServerTool(tool.name, 0, index)]
        return [ToolCall(tool.call, arguments=piece, block=index)]


def _tool_of(result: Json) -> str:
    return as_str(result.get("type")).removesuffix("_result")


def _reasoning(fields: Json, index: int) -> list[Event]:
    """A delta's {text}, {signature} or {redactedContent}, or a whole block's {reasoningText: {text, signature}}."""
    inner = as_dict(fields.get("reasoningText")) or fields
    signature = as_str(inner.get("signature")) or as_str(inner.get("redactedContent"))
    text = as_str(inner.get("text"))
    return [Reasoning(text, 0, index, signature)] if text or signature else []


def _media(image: Any, index: int) -> list[Event]:
    if not isinstance(image, dict):
        return []
    return [Media("image", len(as_str(as_dict(image.get("source")).get("bytes"))), block=index)]


def read_answer(answer: Any) -> list[Event]:
    """A whole ConverseResponse."""
    fields = as_dict(answer)
    message = as_dict(fields.get("output")).get("message")
    if not isinstance(message, dict):
        failure = read_exception("", fields)
        return [failure or Failure("the answer has no message", type="invalid_response")]
    events: list[Event] = [Start()]
    calls = 0
    for index, block in enumerate(map(as_dict, as_list(message.get("content")))):
        said = _whole_block(block, index, calls)
        calls += any(isinstance(event, ToolCall) for event in said)
        events += said
    return [*events, *read_usage(fields.get("usage")), *read_finish(fields), END]


def _whole_block(block: Json, index: int, call: int) -> list[Event]:
    if text := as_str(block.get("text")):
        return [Text(text, 0, index)]
    if isinstance(use := block.get("toolUse"), dict):
        name = as_str(use.get("name"))
        if use.get("type") == "server_tool_use":
            return [ServerTool(name, 0, index)]
        return [ToolCall(call, as_str(use.get("toolUseId")), name, arguments_text(use.get("input")), 0, index)]
    if isinstance(result := block.get("toolResult"), dict):
        return [ServerTool(_tool_of(result), 0, index)]
    if isinstance(reasoning := block.get("reasoningContent"), dict):
        return _reasoning(reasoning, index)
    cited = as_list(as_dict(block.get("citationsContent")).get("content"))
    said = "".join(as_str(as_dict(part).get("text")) for part in cited)
    return [Text(said, 0, index)] if said else _media(block.get("image"), index)


def read_request(path: str, body: Json) -> RequestFacts:
    """The model, an id or an ARN, is in the path."""
    match = _PATH.search(path)
    return RequestFacts(unquote(match[1]), match[2] is not None) if match else RequestFacts()


def prompt(body: Json) -> list[str]:
    """The texts of a request: system, tools as JSON, then every block of every message."""
    texts = _block_texts(body.get("system"))
    if tools := as_dict(body.get("toolConfig")).get("tools"):
        texts.append(arguments_text(tools))
    for message in as_list(body.get("messages")):
        texts += _block_texts(as_dict(message).get("content"))
    return [text for text in texts if text]


def _block_texts(content: Any) -> list[str]:
    texts: list[str] = []
    for block in map(as_dict, as_list(content)):
        texts.append(as_str(block.get("text")))
        if isinstance(use := block.get("toolUse"), dict):
            texts += (as_str(use.get("name")), arguments_text(use.get("input")))
        for part in map(as_dict, as_list(as_dict(block.get("toolResult")).get("content"))):
            texts.append(as_str(part.get("text")) or (arguments_text(part["json"]) if "json" in part else ""))
        texts.append(as_str(as_dict(as_dict(block.get("reasoningContent")).get("reasoningText")).get("text")))
    return texts


FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}

BEDROCK_CONVERSE = Dialect(
    name="bedrock_converse",
    paths=(_PATH,),
    body_keys=frozenset(("messages",)),
    read_request=read_request,
    decoder=ConverseDecoder,
    read_answer=read_answer,
    prompt=prompt,
    read_error=read_error,
    keepalive=b"",
    write_failure=write_failure,
    framing=lambda path, body: "eventstream",
    finish_reasons=FINISH_REASONS,
)
