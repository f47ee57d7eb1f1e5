"""Cohere's v2 chat, and (for it shares host and words) its v1.

https://docs.cohere.com/reference/chat-stream
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from midstream.dialects import base
from midstream.dialects.arguments import arguments_text
from midstream.dialects.base import TRUNCATED, Dialect, RequestFacts
from midstream.dialects.cohere import v1 as cohere_v1
from midstream.dialects.cohere.v1 import CohereV1Decoder, read_end, read_meta
from midstream.dialects.openai.tool_calls import ToolCalls
from midstream.events import OPAQUE, Event, Failure, Malformed, Reasoning, Start, Text
from midstream.wire import Frame
from midstream.wire.json_text import Json, as_dict, as_int, as_list, as_str, parse_json


class CohereDecoder:
    """Events of one answer; message-end finishes it, with its usage. What follows it (`[DONE]`) says nothing.

    The tool plan, which models that do not reason write before their calls, is neither answer nor reasoning: opaque.
    """

    def __init__(self) -> None:
        self._calls = ToolCalls()
        self._over = False

    def feed(self, frame: Frame) -> list[Event]:
        """Return what one event means, at least one event."""
        if frame.data.strip() == b"[DONE]":
            return [OPAQUE]
        try:
            body = parse_json(frame.data)
        except ValueError:
            return [Malformed("the event is not valid JSON")]
        return self.read(body, frame.event) or [OPAQUE]

    def close(self) -> list[Event]:
        """Return nothing after message-end, else that the answer is cut off."""
        return [] if self._over else [TRUNCATED]

    def read(self, body: Any, event: str) -> list[Event]:
        """Return what a parsed event means; [] if nothing."""
        if not isinstance(body, dict):
            return [Malformed("the event is no JSON object")]
        if self._over:
            return []
        kind = body.get("type") or event
        delta = as_dict(body.get("delta"))
        if kind in ("content-delta", "content-start"):
            content = as_dict(as_dict(delta.get("message")).get("content"))
            return read_content(content, as_int(body.get("index"), 0) or 0)
        match kind:
            case "message-start":
                return [Start(as_str(body.get("id")))]
            case "tool-call-start" | "tool-call-delta":
                return self._call(as_dict(delta.get("message")).get("tool_calls"), as_int(body.get("index"), 0))
            case "message-end":
                self._over = True
                said, error = as_str(delta.get("finish_reason")), as_str(delta.get("error"))
                return read_meta(delta.get("usage")) + read_end(said, error)
        return self._failure(kind, body)

    def _call(self, fragment: Any, index: int | None) -> list[Event]:
        call = self._calls.read(fragment, 0, index)
        return [call] if call else []

    def _failure(self, kind: Any, body: Json) -> list[Event]:
        """Errors inside a stream are documented nowhere; this is what HTTP errors look like."""
        message = as_str(body.get("message"))
        if kind != "error" and not (not kind and message):
            return []
        self._over = True
        return [Failure(message or "the provider sent an error", as_str(body.get("error_type")), raw=body)]


def read_content(content: Json, index: int) -> list[Event]:
    """Return a content block, or a piece of one: text or thinking."""
    if (text := content.get("text")) and isinstance(text, str):
        return [Text(text, 0, index)]
    thinking = as_str(content.get("thinking"))
    return [Reasoning(thinking, 0, index)] if thinking else []


def read_answer(answer: Any) -> list[Event]:
    """A whole answer of v2."""
    fields = as_dict(answer)
    message = fields.get("message")
    if not isinstance(message, dict):
        return [Failure(as_str(message) or "the answer has no message", type="invalid_response", raw=answer)]
    events: list[Event] = [Start(as_str(fields.get("id")))]
    for index, content in enumerate(map(as_dict, as_list(message.get("content")))):
        events += read_content(content, index)
    calls = ToolCalls()
    for index, call in enumerate(as_list(message.get("tool_calls"))):
        if said := calls.read(call, 0, index):
            events.append(said)
    return [*events, *read_meta(fields.get("usage")), *read_end(as_str(fields.get("finish_reason")), "")]


def read_error(status: int, body: Any) -> Failure:
    """{"message": …, "id": …} and sometimes `error_type`."""
    failure = base.read_error(status, body)
    kind = failure.type or as_str(as_dict(body).get("error_type"))
    return replace(failure, type=kind)


def read_request(path: str, body: Json) -> RequestFacts:
    """Return the model and whether to stream; a request that names no model gets the account's default."""
    return RequestFacts(as_str(body.get("model")), body.get("stream") is True)


def prompt(body: Json) -> list[str]:
    """The texts of a request of either version: preamble, tools as JSON, the history, the message."""
    texts = [as_str(body.get("preamble"))]
    for key in ("tools", "documents"):
        if found := body.get(key):
            texts.append(arguments_text(found))
    for message in map(as_dict, as_list(body.get("messages")) + as_list(body.get("chat_history"))):
        texts += _message_texts(message)
    return [text for text in (*texts, as_str(body.get("message"))) if text]


def _message_texts(message: Json) -> list[str]:
    content = message.get("content") or message.get("message")
    texts = [as_str(message.get("tool_plan"))]
    texts += [content] if isinstance(content, str) else [as_str(as_dict(part).get("text")) for part in as_list(content)]
    for call in as_list(message.get("tool_calls")):
        function = as_dict(as_dict(call).get("function"))
        texts += (as_str(function.get("name")), as_str(function.get("arguments")))
    return texts


COHERE = Dialect(
    name="cohere",
    paths=(re.compile(r"/v2/chat/?$"),),
    body_keys=frozenset(("messages",)),
    read_request=read_request,
    decoder=CohereDecoder,
    read_answer=read_answer,
    prompt=prompt,
    read_error=read_error,
    finish_reasons=cohere_v1.FINISH_REASONS,
)

COHERE_V1 = replace(
    COHERE,
    paths=(re.compile(r"/v1/chat/?$"),),
    body_keys=frozenset(("message",)),  # Writer's API on the same path has `messages`
    decoder=CohereV1Decoder,
    read_answer=cohere_v1.read_answer,
)
