"""Gemini's Interactions API: /v1beta/interactions, named SSE events.

https://ai.google.dev/api/interactions-api
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from midstream.dialects.arguments import arguments_text
from midstream.dialects.base import TRUNCATED, Dialect, RequestFacts
from midstream.dialects.gemini.parts import ID_LIMIT, add, read_media
from midstream.dialects.token_counts import count
from midstream.events import (
    END,
    OPAQUE,
    Event,
    Failure,
    Finish,
    Malformed,
    Reasoning,
    ServerTool,
    Start,
    Text,
    ToolCall,
    Usage,
)
from midstream.wire import Frame
from midstream.wire.json_text import Json, as_dict, as_int, as_list, as_str, dump_json, parse_json

CALLS_LIMIT = 64
"""Calls that may be open at once; the API opens one step at a time."""

ARGUMENTS_LIMIT = 64 * 1024
"""Characters of arguments held back from a call's start, which has `{}`, until it is sure that no delta brings them."""

_MEDIA = frozenset(("audio", "image", "video", "document"))
_RUNNING = frozenset(("in_progress", "queued"))


@dataclass(slots=True)
class _Call:
    """An open call of a client's tool: its start's arguments, for where no delta brings any; "" once they are said."""

    index: int
    arguments: str


class InteractionsDecoder:
    """interaction.created, steps (start, deltas, stop), interaction.completed, which ends it; `done` adds nothing.

    The API's first months said interaction.start, content.delta, interaction.complete; both are read.
    """

    def __init__(self) -> None:
        self._over = self._said = False
        self._count = 0
        self._calls: dict[int, _Call] = {}

    def feed(self, frame: Frame) -> list[Event]:
        """Return what one event means."""
        if frame.data == b"[DONE]":
            return [OPAQUE]
        try:
            event = parse_json(frame.data)
        except ValueError:
            return [Malformed("not JSON")]
        if not isinstance(event, dict):
            return [Malformed("not a JSON object")]
        return self._read(as_str(event.get("event_type")) or frame.event, event) or [OPAQUE]

    def close(self) -> list[Event]:
        """Return [] after interaction.completed or an error."""
        return [] if self._over else [TRUNCATED]

    def _read(self, kind: str, event: Json) -> list[Event]:
        if self._over:
            return []
        if kind == "error" or (not kind and event.get("error")):
            self._over = True
            return [_read_failure(event.get("error"))]
        index = as_int(event.get("index"), 0) or 0
        match kind:
            case "step.delta" | "content.delta":
                return self._noted(self._delta(as_dict(event.get("delta")), index))
            case "step.start" | "content.start":
                return self._noted(self._step(as_dict(event.get("step") or event.get("content")), index))
            case "step.stop" | "content.stop":
                return self._stop(index)
            case "interaction.created" | "interaction.start":
                return [_start(as_dict(event.get("interaction")))]
            case "interaction.completed" | "interaction.complete":
                return self._completed(as_dict(event.get("interaction")))
            case "interaction.status_update":
                return _read_usage(event.get("usage"))
        return []

    def _noted(self, events: list[Event]) -> list[Event]:
        self._said = self._said or bool(events)
        return events

    def _step(self, step: Json, index: int) -> list[Event]:
        """A step that opens; its content, where it has any, comes in deltas."""
        if as_str(step.get("type")) != "function_call":
            return _content(step, index)
        events = self._stop(index)  # two steps of one number: the earlier is over
        if len(self._calls) >= CALLS_LIMIT:
            return [Malformed("too many open calls")]
        name, id_ = as_str(step.get("name")), as_str(step.get("id"))[:ID_LIMIT]
        arguments = arguments_text(step.get("arguments"))
        now, later = (arguments, "") if len(arguments) > ARGUMENTS_LIMIT else ("", arguments)
        call = self._calls[index] = _Call(self._count, later)
        self._count += 1
        return [*events, ToolCall(call.index, id_, name, now, block=index)]

    def _delta(self, delta: Json, index: int) -> list[Event]:
        kind = as_str(delta.get("type"))
        if kind == "arguments_delta":
            return self._arguments(as_str(delta.get("arguments")), index)
        if kind == "function_call":  # whole, in the API's first months
            return [*self._step(delta, index), *self._stop(index)]
        return _content(delta, index)

    def _arguments(self, piece: str, index: int) -> list[Event]:
        call = self._calls.get(index)
        if call is None:
            return [Malformed("arguments of a call that did not start")]
        if not piece:
            return []
        call.arguments = ""
        return [ToolCall(call.index, arguments=piece, block=index)]

    def _stop(self, index: int) -> list[Event]:
        call = self._calls.pop(index, None)
        if call is None or not call.arguments:
            return []
        return [ToolCall(call.index, arguments=call.arguments, block=index)]

    def _completed(self, interaction: Json) -> list[Event]:
        status = as_str(interaction.get("status")) or "completed"
        if status in _RUNNING:
            return []
        self._over = True
        events = [event for index in list(self._calls) for event in self._stop(index)]
        if not self._said:
            events += self.steps(interaction)
        return events + _ending(interaction, status)

    def steps(self, interaction: Json) -> list[Event]:
        """Return what a whole interaction's steps say (`outputs` in the API's first months)."""
        events: list[Event] = []
        for index, step in enumerate(as_list(interaction.get("steps")) or as_list(interaction.get("outputs"))):
            events += [*self._step(as_dict(step), index), *self._stop(index)]
        return events


def _start(interaction: Json) -> Start:
    return Start(as_str(interaction.get("id")), as_str(interaction.get("model")) or as_str(interaction.get("agent")))


def _content(content: Json, index: int) -> list[Event]:
    """A step, a delta or a content block: `type` tells them apart, and their types do not clash."""
    kind = as_str(content.get("type"))
    if kind == "text":
        text = as_str(content.get("text"))
        return [Text(text, block=index)] if text else []
    if kind == "model_output":
        return [event for block in as_list(content.get("content")) for event in _content(as_dict(block), index)]
    if kind.startswith("thought") or (not kind and "signature" in content):
        return _thought(content, index)
    if kind in _MEDIA:
        return [read_media(content, "mime_type", block=index)]
    if kind.endswith(("_call", "_result")) and kind != "function_result":
        return [
            ServerTool(as_str(content.get("name")) or kind.removesuffix("_call").removesuffix("_result"), block=index)
        ]
    return []


def _thought(content: Json, index: int) -> list[Event]:
    """A thought step, or a delta of one: thought_summary (`content`), thought_signature (`signature`)."""
    blocks = [content.get("content"), *as_list(content.get("summary"))]
    text = "".join(as_str(as_dict(block).get("text")) for block in blocks)
    signature = as_str(content.get("signature"))
    return [Reasoning(text, 0, index, signature)] if text or signature else []


def _ending(interaction: Json, status: str) -> list[Event]:
    usage = _read_usage(interaction.get("usage"))
    if status == "failed":
        return [*usage, _read_failure(interaction.get("error"), "the interaction failed")]
    return [*usage, Finish(status), END]


def _read_usage(value: Any) -> list[Event]:
    """As in generateContent, total_tokens is the sum of input, output, tools' and thoughts' tokens."""
    usage = as_dict(value)
    prompt, tools = count(usage.get("total_input_tokens")), count(usage.get("total_tool_use_tokens"))
    answer, thoughts = count(usage.get("total_output_tokens")), count(usage.get("total_thought_tokens"))
    cached = count(usage.get("total_cached_tokens"))
    if prompt is tools is answer is thoughts is cached is None:
        return []
    return [Usage(add(prompt, tools), add(answer, thoughts), cached, None, thoughts, usage)]


def write_failure(failure: Failure) -> Frame:
    """Return the `error` event of a stream, after which the API sends nothing."""
    error = {"code": failure.code or failure.type or "internal_error", "message": failure.message}
    return Frame(dump_json({"event_type": "error", "error": error}).encode(), event="error")


def _read_failure(error: Any, default: str = "the provider sent an error event") -> Failure:
    fields = as_dict(error)
    code = fields.get("code")
    message = as_str(fields.get("message")) or (error if isinstance(error, str) else "") or default
    return Failure(message, as_str(fields.get("status")), str(code) if isinstance(code, str | int) else "", raw=error)


def read_answer(answer: Any) -> list[Event]:
    """A whole Interaction. One that still runs in the background is END without a Finish: this exchange is whole."""
    interaction = as_dict(answer)
    status = as_str(interaction.get("status"))
    if not status:
        error = interaction.get("error")
        return [_read_failure(error) if error else Malformed("no Interaction")]
    said = [_start(interaction), *InteractionsDecoder().steps(interaction)]
    return [*said, END] if status in _RUNNING else [*said, *_ending(interaction, status)]


def read_request(path: str, body: Json) -> RequestFacts:
    """A model or, instead of one, an agent."""
    return RequestFacts(as_str(body.get("model")) or as_str(body.get("agent")), body.get("stream") is True)


def prompt(body: Json) -> list[str]:
    """The system instruction, tools as JSON, then the input: a string, a content block, or a list of blocks, turns or steps."""
    tools, given = body.get("tools"), body.get("input")
    texts = [as_str(body.get("system_instruction")), arguments_text(tools) if tools else ""]
    for item in given if isinstance(given, list) else [given]:
        texts += _texts(item)
        for block in as_list(as_dict(item).get("content")):
            texts += _texts(block)
    return [text for text in texts if text]


def _texts(item: Any) -> list[str]:
    if isinstance(item, str):
        return [item]
    fields = as_dict(item)
    texts = [as_str(fields.get("text")), as_str(fields.get("content"))]
    for key in ("arguments", "result"):
        if value := fields.get(key):
            texts.append(arguments_text(value))
    return texts


GEMINI_INTERACTIONS = Dialect(
    name="gemini_interactions",
    paths=(re.compile(r"/v\d\w*/(?:projects/[^/]+/locations/[^/]+/)?interactions/?$"),),
    body_keys=frozenset(("input",)),
    read_request=read_request,
    decoder=InteractionsDecoder,
    read_answer=read_answer,
    prompt=prompt,
    write_failure=write_failure,
    finish_reasons={
        "completed": "stop",
        "incomplete": "length",
        "requires_action": "tool_calls",
        "cancelled": "stop",
        "budget_exceeded": "length",
    },
)
