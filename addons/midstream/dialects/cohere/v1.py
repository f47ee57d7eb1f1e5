"""Cohere's v1 chat, which its models on Bedrock speak too: JSON lines with an `event_type`.

https://docs.cohere.com/v1/reference/chat-stream
"""

from __future__ import annotations

from typing import Any

from midstream.dialects.anthropic.messages import REASON_LIMIT
from midstream.dialects.arguments import arguments_text
from midstream.dialects.base import TRUNCATED
from midstream.dialects.openai.tool_calls import ToolCalls
from midstream.dialects.token_counts import count
from midstream.events import END, OPAQUE, Event, Failure, Finish, Malformed, Start, Text, Usage
from midstream.wire import Frame
from midstream.wire.json_text import Json, as_dict, as_int, as_list, as_str, parse_json

FAILED = frozenset(("ERROR", "ERROR_TOXIC", "ERROR_LIMIT", "TIMEOUT"))
"""Finish reasons that mean that the answer is not whole for a fault of the provider's."""

FINISH_REASONS = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "USER_CANCEL": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
    "ERROR_TOXIC": "content_filter",
}


class CohereV1Decoder:
    """Events of one answer; stream-end finishes it, with its usage."""

    def __init__(self) -> None:
        self._calls = ToolCalls()
        self._in_pieces = self._over = False

    def feed(self, frame: Frame) -> list[Event]:
        """Return what one event means, at least one event."""
        try:
            return self.read(parse_json(frame.data)) or [OPAQUE]
        except ValueError:
            return [Malformed("the event is not valid JSON")]

    def close(self) -> list[Event]:
        """Return nothing after stream-end, else that the answer is cut off."""
        return [] if self._over else [TRUNCATED]

    def read(self, body: Any) -> list[Event]:
        """Return what a parsed event means; [] if nothing."""
        if not isinstance(body, dict):
            return [Malformed("the event is no JSON object")]
        if self._over:
            return []
        match body.get("event_type"):
            case "text-generation":
                return read_text(body.get("text"))
            case "stream-start":
                return [Start(as_str(body.get("generation_id")))]
            case "tool-calls-chunk":
                return self._piece(body)
            case "tool-calls-generation":
                return [] if self._in_pieces else read_calls(self._calls, body.get("tool_calls"))
            case "stream-end":
                self._over = True
                return self._end(body)
        return []

    def _piece(self, body: Json) -> list[Event]:
        """A piece of the model's plan, or of a call, whose parameters are pieces of JSON text here."""
        delta = as_dict(body.get("tool_call_delta"))
        if not delta:
            return read_text(body.get("text"))
        self._in_pieces = True
        fragment = {"name": as_str(delta.get("name")), "arguments": as_str(delta.get("parameters"))}
        call = self._calls.read(fragment, 0, as_int(delta.get("index"), 0))
        return [call] if call else []

    def _end(self, body: Json) -> list[Event]:
        response = as_dict(body.get("response"))
        said = as_str(body.get("finish_reason")) or as_str(response.get("finish_reason"))
        return read_meta(response.get("meta")) + read_end(said, as_str(body.get("error")))


def read_answer(answer: Any) -> list[Event]:
    """A whole answer of v1."""
    fields = as_dict(answer)
    if not isinstance(fields.get("text"), str):
        return [Failure(as_str(fields.get("message")) or "the answer has no text", type="invalid_response", raw=answer)]
    start = Start(as_str(fields.get("generation_id")) or as_str(fields.get("response_id")))
    calls = read_calls(ToolCalls(), fields.get("tool_calls"))
    said = as_str(fields.get("finish_reason"))
    return [start, *read_text(fields["text"]), *calls, *read_meta(fields.get("meta")), *read_end(said, "")]


def read_text(text: Any) -> list[Event]:
    """Return a piece of text, if it is one."""
    return [Text(text)] if text and isinstance(text, str) else []


def read_calls(calls: ToolCalls, found: Any) -> list[Event]:
    """Return whole calls, each with a name and parameters."""
    events: list[Event] = []
    for position, call in enumerate(map(as_dict, as_list(found))):
        arguments = arguments_text(call.get("parameters"))
        event = calls.read({"name": as_str(call.get("name")), "arguments": arguments}, 0, position)
        if event:
            events.append(event)
    return events


def read_end(reason: str, error: str) -> list[Event]:
    """Return how an answer ends that has come to its last event."""
    finish: list[Event] = [Finish(reason[:REASON_LIMIT])] if reason else []
    if reason in FAILED or error:
        return [*finish, Failure(error or f"the provider finished with {reason}", type=reason[:REASON_LIMIT].lower())]
    return [*finish, END]


def read_meta(meta: Any) -> list[Event]:
    """Return v1's `meta`, or v2's `usage`, as a Usage: what the model was fed and gave, else what is billed of it."""
    fields = as_dict(meta)
    tokens, billed = as_dict(fields.get("tokens")), as_dict(fields.get("billed_units"))
    if not tokens and not billed:
        return []
    return [
        Usage(
            count(tokens.get("input_tokens"), billed.get("input_tokens")),
            count(tokens.get("output_tokens"), billed.get("output_tokens")),
            count(fields.get("cached_tokens"), tokens.get("cached_tokens")),
            None,
            count(tokens.get("reasoning_tokens")),
            fields,
        )
    ]
