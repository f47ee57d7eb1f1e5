"""Anthropic's Messages API: its own, on Vertex AI, on Azure, and of servers that speak it; and the legacy completions.

https://docs.anthropic.com/en/docs/build-with-claude/streaming
https://cloud.google.com/vertex-ai/generative-ai/docs/partner-models/use-claude
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

from midstream.dialects.anthropic.answer import MessagesEncoder, write_answer, write_error
from midstream.dialects.anthropic.blocks import Blocks
from midstream.dialects.anthropic.request import adapt, read_conversation, write_request
from midstream.dialects.anthropic.resume import resume
from midstream.dialects.anthropic.words import write_failure
from midstream.dialects.arguments import arguments_text
from midstream.dialects.base import TRUNCATED, AnswerOptions, Decoder, Dialect, RequestFacts
from midstream.dialects.token_counts import count, total
from midstream.events import END, OPAQUE, Event, Failure, Finish, Malformed, Start, Text, Usage
from midstream.wire import Frame
from midstream.wire.json_text import Json, as_dict, as_list, as_str, parse_json

USAGE_KEYS = 64
"""Keys of a merged usage object; Anthropic has some ten."""
USAGE_SIZE = 64 * 1024
"""Bytes of a frame whose usage is merged: one iteration of a server tool takes 200."""
REASON_LIMIT = 256
"""Characters of a finish reason, and of its detail, that are kept."""

STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""An error inside a stream has no HTTP status of its own: https://docs.anthropic.com/en/api/errors says which it stands for."""

_VERTEX = re.compile(r"/publishers/anthropic/models/(?!count-tokens)([^/:]+?)(?::|%3[Aa])(streamR|r)awPredict$")
PATHS = (re.compile(r"/v1/messages/?$"), _VERTEX)


class AnthropicDecoder:
    """Events of one message. message_stop ends it; so does the stop reason of a legacy completion, which has no other end.

    Usage comes twice, with message_start (what is billed as input) and message_delta (the totals); the second is the first
    with what is new laid over it, as Anthropic's SDK does. An `error` event is a Failure, and nothing after it counts.
    """

    def __init__(self) -> None:
        self.blocks = Blocks()
        self._usage: Json = {}
        self._named = False
        self._over = False

    def feed(self, frame: Frame) -> list[Event]:
        """Return what one event means, at least one event."""
        try:
            body = parse_json(frame.data)
        except ValueError:
            return [self._unreadable(frame)]
        return self.read(body, frame.event, len(frame.data)) or [OPAQUE]

    def close(self) -> list[Event]:
        """Return nothing after message_stop or an error, else that the message is cut off."""
        return [] if self._over else [TRUNCATED]

    def read(self, body: Any, event: str = "", size: int = 0) -> list[Event]:
        """Return what a parsed event of `size` bytes means; [] if nothing. event: SSE's name, of use only without a `type`."""
        if not isinstance(body, dict):
            return [Malformed("the event is no JSON object")]
        kind = body.get("type")
        if self._over:
            return []
        if kind == "content_block_delta":
            return self.blocks.delta(body)
        return self._rare(kind if isinstance(kind, str) else event, body, size)

    def _rare(self, kind: str, body: Json, size: int) -> list[Event]:
        match kind:
            case "content_block_start":
                return self.blocks.start(body)
            case "content_block_stop":
                return self.blocks.stop(body)
            case "message_start":
                message = as_dict(body.get("message"))
                start = Start(as_str(message.get("id")), as_str(message.get("model")))
                return [start, *self.blocks.whole(message.get("content")), *self._count(message.get("usage"), size)]
            case "message_delta":
                return self._count(body.get("usage"), size) + read_finish(as_dict(body.get("delta")))
            case "message_stop":
                self._over = True
                return [END]
            case "completion":
                return self._completion(body)
        return self._failure(kind, body)

    def _failure(self, kind: str, body: Json) -> list[Event]:
        """Gateways write their errors without a type."""
        if kind != "error" and not (kind == "" and body.get("error")):
            return []
        self._over = True
        return [read_failure(body)]

    def _unreadable(self, frame: Frame) -> Event:
        if frame.event == "error" and not self._over:
            self._over = True
            return Failure(frame.data.decode("utf-8", "replace") or "the provider sent an error")
        if frame.data.strip() == b"[DONE]":  # gateways that think of OpenAI
            return OPAQUE
        return Malformed("the event is not valid JSON")

    def _count(self, usage: Any, size: int) -> list[Event]:
        if not isinstance(usage, dict) or not usage or size > USAGE_SIZE:
            return []
        merged = self._usage | {key: value for key, value in usage.items() if value is not None or not self._usage}
        if len(merged) > USAGE_KEYS:
            return []
        self._usage = merged
        return [read_usage(merged)]

    def _completion(self, body: Json) -> list[Event]:
        events: list[Event] = []
        if not self._named:  # id and model are on every event
            self._named = True
            events.append(Start(as_str(body.get("id")), as_str(body.get("model"))))
        if text := as_str(body.get("completion")):
            events.append(Text(text))
        if finish := read_finish(body):
            self._over = True
            return [*events, *finish, END]
        return events


def read_usage(usage: Json) -> Usage:
    """Return Anthropic's usage object as a Usage; its input_tokens leave out what was read from or written to the cache."""
    read, written = count(usage.get("cache_read_input_tokens")), count(usage.get("cache_creation_input_tokens"))
    return Usage(
        total(count(usage.get("input_tokens")), read, written),
        count(usage.get("output_tokens")),
        read,
        written,
        count(as_dict(usage.get("output_tokens_details")).get("thinking_tokens")),
        usage,
    )


def read_finish(fields: Json) -> list[Event]:
    """Return the Finish of a message or message_delta; its detail is the stop sequence met, or what kind of refusal it is."""
    reason = as_str(fields.get("stop_reason"))[:REASON_LIMIT]
    if not reason:
        return []
    details = as_dict(fields.get("stop_details"))
    detail = as_str(fields.get("stop_sequence")) or as_str(details.get("category")) or as_str(fields.get("stop"))
    return [Finish(reason, 0, detail[:REASON_LIMIT])]


def read_failure(body: Json) -> Failure:
    """Return what {"type": "error", "error": {type, message}} says inside a stream, with the HTTP status it stands for."""
    error = body.get("error", body)
    fields = as_dict(error)
    kind, message = as_str(fields.get("type")), as_str(fields.get("message")) or as_str(error)
    return Failure(message or "the provider sent an error", kind, "", STATUSES.get(kind), error)


def read_answer(answer: Any) -> list[Event]:
    """A whole message, or a whole legacy completion."""
    message = as_dict(answer)
    if message.get("type") == "error" or ("error" in message and "content" not in message):
        return [read_failure(message)]
    start = Start(as_str(message.get("id")), as_str(message.get("model")))
    finish = read_finish(message)
    if isinstance(text := message.get("completion"), str):
        return [start, *([Text(text)] if text else []), *finish, END]
    if not isinstance(content := message.get("content"), list):
        return [Failure("the answer has no content", type="invalid_response")]
    usage = as_dict(message.get("usage"))
    return [start, *Blocks().whole(content), *([read_usage(usage)] if usage else []), *finish, END]


def read_request(path: str, body: Json) -> RequestFacts:
    """On Vertex the model is in the path, and the verb says whether to stream."""
    match = _VERTEX.search(path)
    if match is None:
        return RequestFacts(as_str(body.get("model")), body.get("stream") is True)
    return RequestFacts(unquote(match[1]), match[2] == "streamR" and body.get("stream") is not False)


def prompt(body: Json) -> list[str]:
    """The texts of a request: system, tools as JSON, then every block of every message."""
    texts = block_texts(body.get("system"))
    if tools := body.get("tools"):
        texts.append(arguments_text(tools))
    for message in as_list(body.get("messages")):
        texts += block_texts(as_dict(message).get("content"))
    texts += block_texts(body.get("prompt"))
    return [text for text in texts if text]


def block_texts(content: Any, depth: int = 3) -> list[str]:
    """The texts of a content: a string, or blocks, of which a tool's result holds blocks again."""
    if isinstance(content, str):
        return [content]
    texts: list[str] = []
    for block in map(as_dict, as_list(content)):
        texts += (as_str(block.get("text")), as_str(block.get("thinking")), as_str(block.get("name")))
        if isinstance(input_ := block.get("input"), dict):
            texts.append(arguments_text(input_))
        if depth:
            texts += block_texts(block.get("content"), depth - 1)
    return texts


def _resume(options: AnswerOptions, events: Sequence[Event], decoder: Decoder | None) -> MessagesEncoder:
    return resume(options, events, decoder.blocks if isinstance(decoder, AnthropicDecoder) else None)


FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "compaction": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}

PING = b'event: ping\ndata: {"type": "ping"}\n\n'
"""As Anthropic's API itself sends it: "there may be any number of ping events dispersed throughout" (Streaming Messages)."""

ANTHROPIC_MESSAGES = Dialect(
    name="anthropic_messages",
    paths=PATHS,
    body_keys=frozenset(("messages",)),
    read_request=read_request,
    decoder=AnthropicDecoder,
    read_answer=read_answer,
    prompt=prompt,
    finish_reasons=FINISH_REASONS,
    keepalive=PING,
    read_conversation=read_conversation,
    write_request=write_request,
    adapt=adapt,
    encoder=MessagesEncoder,
    write_answer=write_answer,
    resume=_resume,
    write_error=write_error,
    write_failure=write_failure,
)

ANTHROPIC_COMPLETE = Dialect(
    name="anthropic_complete",
    paths=(re.compile(r"/v1/complete/?$"),),
    body_keys=frozenset(("prompt", "max_tokens_to_sample")),
    read_request=read_request,
    decoder=AnthropicDecoder,
    read_answer=read_answer,
    prompt=prompt,
    finish_reasons=FINISH_REASONS,
    keepalive=PING,
    write_failure=write_failure,
)
"""The API before Messages: one completion of a prompt, without usage."""
