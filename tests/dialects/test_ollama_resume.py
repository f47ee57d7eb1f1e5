from __future__ import annotations

import json
from typing import Any

import httpx
import ollama
import pytest

import resuming
from exchanges import Said
from midstream.dialects.ollama.chat import OLLAMA
from midstream.events import END, Event, Start, Text, ToolCall
from resuming import Native

STREAMS = resuming.streams("ollama")


def sdk_says(body: bytes) -> dict[str, Any]:
    """What Ollama's SDK makes of the lines, less the times that no event carries."""
    client = ollama.Client(
        host="http://ollama.test", transport=httpx.MockTransport(lambda _: httpx.Response(200, content=body))
    )
    if b'"response"' in body.partition(b"\n")[0]:
        lines: list[Any] = list(client.generate(model="m", prompt="", stream=True))
        said, calls = [(line.response, line.thinking) for line in lines], []
    else:
        lines = list(client.chat(model="m", messages=[], stream=True))
        said = [(line.message.content, line.message.thinking) for line in lines]
        calls = [call.function for line in lines for call in line.message.tool_calls or []]
    last = lines[-1]
    return {
        "text": "".join(text or "" for text, _ in said),
        "thinking": "".join(thinking or "" for _, thinking in said),
        "calls": [(call.name, call.arguments) for call in calls],
        "models": {line.model for line in lines},
        "done": [line.done for line in lines].count(True),
        "last": (last.done, last.done_reason, last.prompt_eval_count, last.eval_count, last.total_duration),
    }


def readable(expected: dict[str, Any], said: Said) -> bool:
    return True


@pytest.mark.parametrize("stream", STREAMS, ids=lambda s: s.id)
def test_a_cut_stream_goes_on_at_every_line(stream: Native) -> None:
    resuming.check(stream, sdk_says, readable)


def stream_of(*messages: Any, path: str = "/api/chat") -> Native:
    body = b"".join(json.dumps({"model": "m", **message, "done": False}).encode() + b"\n" for message in messages)
    return resuming.native("", OLLAMA, path, "application/x-ndjson", body)


def follow(stream: Native, *events: Event) -> list[Any]:
    """What we write behind all of it."""
    body = stream.healed(len(stream.ends), events)[len(stream.body) :]
    return [json.loads(line) for line in body.splitlines()]


def test_the_model_is_the_first_lines() -> None:
    stream = stream_of({"message": {"role": "assistant", "content": ""}})
    assert {line["model"] for line in follow(stream, Start(model="other"), Text("a"), END)} == {"m"}


def test_a_call_that_is_out_is_not_said_again() -> None:
    calls = [{"function": {"name": "f", "arguments": {}}}]
    stream = stream_of({"message": {"role": "assistant", "content": "", "tool_calls": calls}})
    second, last = follow(stream, ToolCall(0, arguments=" "), ToolCall(1, "", "g", "{}"), END)
    assert [call["function"]["name"] for call in second["message"]["tool_calls"]] == ["g"]
    assert last["done"]


def test_generate_goes_on_as_generate() -> None:
    stream = stream_of({"response": "a"}, path="/api/generate?x=1")
    assert [line["response"] for line in follow(stream, Text("b"), END)] == ["b", ""]
