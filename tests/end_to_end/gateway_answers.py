"""One answer, as each of the five chat dialects' providers streams it: what the gateway makes of it must be the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from end_to_end import gateway_chats as chats

WORDS = ("Hello ", "wörld 🌍", ", I look.")
ARGUMENTS = ('{"city":', '"Bern"}')


@dataclass(frozen=True)
class Said:
    """calls: whether a tool is called behind the text. finish: as the chat API words it."""

    calls: bool
    finish: str


CALLS, STOPS, IS_CUT = Said(True, "tool_calls"), Said(False, "stop"), Said(False, "length")


def openai_chat(said: Said) -> tuple[bytes, ...]:
    calls = (
        chats.tool(0, id="call_1", type="function", function={"name": "weather", "arguments": ARGUMENTS[0]}),
        chats.tool(0, function={"arguments": ARGUMENTS[1]}),
    )
    return (
        chats.chunk(role="assistant", content=""),
        *(chats.chunk(content=word) for word in WORDS),
        *(calls if said.calls else ()),
        chats.chunk(said.finish),
        chats.USAGE,
        chats.DONE,
    )


def _named(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind} | fields)}\n\n".encode()


def _block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[bytes]:
    return [
        _named("content_block_start", index=index, content_block=start),
        *(_named("content_block_delta", index=index, delta=delta) for delta in deltas),
        _named("content_block_stop", index=index),
    ]


def anthropic_messages(said: Said) -> tuple[bytes, ...]:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "gpt-4o-mini-2024", "content": []}
    tool = {"type": "tool_use", "id": "call_1", "name": "weather", "input": {}}
    arguments = [{"type": "input_json_delta", "partial_json": part} for part in ARGUMENTS]
    reason = {"tool_calls": "tool_use", "stop": "end_turn", "length": "max_tokens"}[said.finish]
    return (
        _named("message_start", message=message | {"usage": {"input_tokens": 9, "output_tokens": 1}}),
        *_block(0, {"type": "text", "text": ""}, *({"type": "text_delta", "text": word} for word in WORDS)),
        *(_block(1, tool, *arguments) if said.calls else ()),
        _named("message_delta", delta={"stop_reason": reason}, usage={"output_tokens": 7}),
        _named("message_stop"),
    )


def openai_responses(said: Said) -> tuple[bytes, ...]:
    response = {"id": "resp_1", "object": "response", "model": "gpt-4o-mini-2024", "output": []}
    part = {"type": "output_text", "text": "", "annotations": []}
    message = {"type": "message", "id": "msg_1", "role": "assistant", "content": []}
    call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "weather", "arguments": ""}
    at, later = {"item_id": "msg_1", "output_index": 0, "content_index": 0}, {"item_id": "fc_1", "output_index": 1}
    text, arguments = "".join(WORDS), "".join(ARGUMENTS)
    calls = (
        _named("response.output_item.added", output_index=1, item=call),
        *(_named("response.function_call_arguments.delta", **later, delta=part) for part in ARGUMENTS),
        _named("response.function_call_arguments.done", **later, arguments=arguments),
        _named("response.output_item.done", output_index=1, item=call | {"arguments": arguments}),
    )
    usage = {"usage": {"input_tokens": 9, "output_tokens": 7, "total_tokens": 16}}
    cut = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    last = ("response.incomplete", cut) if said.finish == "length" else ("response.completed", {"status": "completed"})
    return (
        _named("response.created", response=response | {"status": "in_progress"}),
        _named("response.output_item.added", output_index=0, item=message),
        _named("response.content_part.added", **at, part=part),
        *(_named("response.output_text.delta", **at, delta=word) for word in WORDS),
        _named("response.output_text.done", **at, text=text),
        _named("response.content_part.done", **at, part=part | {"text": text}),
        _named("response.output_item.done", output_index=0, item=message | {"content": [part | {"text": text}]}),
        *(calls if said.calls else ()),
        _named(last[0], response=response | last[1] | usage),
    )


def gemini(said: Said) -> tuple[bytes, ...]:
    usage = {"promptTokenCount": 9, "candidatesTokenCount": 7, "totalTokenCount": 16}

    def piece(parts: list[Any], reason: str = "") -> bytes:
        candidate = {"content": {"role": "model", "parts": parts}, "index": 0}
        candidate |= {"finishReason": reason} if reason else {}
        body = {"candidates": [candidate], "modelVersion": "gpt-4o-mini-2024", "responseId": "r1"}
        return f"data: {json.dumps(body | {'usageMetadata': usage})}\r\n\r\n".encode()

    call = {"functionCall": {"id": "call_1", "name": "weather", "args": json.loads("".join(ARGUMENTS))}}
    return (
        *(piece([{"text": word}]) for word in WORDS),
        *((piece([call]),) if said.calls else ()),
        piece([{"text": ""}], "MAX_TOKENS" if said.finish == "length" else "STOP"),
    )


def ollama(said: Said) -> tuple[bytes, ...]:
    def line(message: dict[str, Any], **fields: Any) -> bytes:
        head = {"model": "gpt-4o-mini-2024", "created_at": "2026-01-01T00:00:00Z"}
        body = head | {"message": {"role": "assistant", "content": ""} | message, "done": False} | fields
        return json.dumps(body).encode() + b"\n"

    call = {"id": "call_1", "function": {"name": "weather", "arguments": json.loads("".join(ARGUMENTS))}}
    reason = "length" if said.finish == "length" else "stop"
    return (
        *(line({"content": word}) for word in WORDS),
        *((line({"tool_calls": [call]}),) if said.calls else ()),
        line({}, done=True, done_reason=reason, prompt_eval_count=9, eval_count=7),
    )


STREAM, LINES = "text/event-stream", "application/x-ndjson"


@dataclass(frozen=True)
class Dialect:
    """provider: its name in CONFIG. path: where it is asked. pieces: what it answers."""

    name: str
    provider: str
    path: str
    content_type: str
    pieces: Callable[[Said], tuple[bytes, ...]]


DIALECTS = (
    Dialect("openai_chat", "openai", "/v1/chat/completions", STREAM, openai_chat),
    Dialect("openai_responses", "responses", "/v1/responses", STREAM, openai_responses),
    Dialect("anthropic_messages", "anthropic", "/v1/messages", STREAM, anthropic_messages),
    Dialect("gemini", "gemini", "/v1beta/models/m-1:streamGenerateContent", STREAM, gemini),
    Dialect("ollama", "ollama", "/api/chat", LINES, ollama),
)
HOSTS = ("api.openai.com", "api.anthropic.com", "generativelanguage.googleapis.com", "ollama.com")
CONFIG = """
[providers.responses]
dialect = "openai_responses"
base_url = "https://api.openai.com/v1"

[providers.ollama]
base_url = "https://ollama.com"
"""
