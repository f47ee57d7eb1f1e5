from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx2
import pytest

import resuming
from exchanges import Said
from resuming import Native

STREAMS = resuming.streams("anthropic_messages")


def sdk_says(body: bytes) -> dict[str, Any]:
    """What the official SDK accumulates, less the provider's own tools and citations, which no event of ours carries."""
    answer = httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body)
    http = httpx2.Client(transport=httpx2.MockTransport(lambda request: answer))
    client = anthropic.Anthropic(api_key="none", http_client=http, max_retries=0)
    messages: Any = [{"role": "user", "content": "x"}]
    with client.beta.messages.stream(model="m", max_tokens=1, messages=messages) as stream:
        message = stream.get_final_message()
    usage = message.usage
    return {
        "names": (message.id, message.model, message.role),
        "text": "".join(block.text for block in message.content if block.type == "text"),
        "thoughts": [(block.thinking, block.signature) for block in message.content if block.type == "thinking"],
        "redacted": [block.data for block in message.content if block.type == "redacted_thinking"],
        "calls": [(block.id, block.name, block.input) for block in message.content if block.type == "tool_use"],
        "stop": (message.stop_reason, message.stop_sequence),
        "usage": [usage.input_tokens, usage.output_tokens, usage.cache_read_input_tokens or 0],
    }


def readable(expected: dict[str, Any], said: Said) -> bool:
    return True


def check_lifecycle(body: bytes) -> None:
    """One message_start; each block starts, goes on and stops, numbered in order; one message_delta and message_stop."""
    events = [json.loads(line[5:]) for line in body.decode().splitlines() if line.startswith("data:")]
    kinds = [event["type"] for event in events if event["type"] != "ping"]
    assert kinds[0] == "message_start"
    assert kinds[-2:] == ["message_delta", "message_stop"]
    assert [kinds.count(kind) for kind in ("message_start", "message_stop")] == [1, 1]
    count, open_ = 0, -1
    for event in events:
        match event["type"]:
            case "content_block_start":
                assert (open_, event["index"]) == (-1, count)
                open_, count = count, count + 1
            case "content_block_delta":
                assert event["index"] == open_
            case "content_block_stop":
                assert event["index"] == open_
                open_ = -1
            case _:
                pass
    assert open_ == -1


@pytest.mark.parametrize("stream", STREAMS, ids=lambda s: s.id)
def test_a_cut_stream_goes_on_at_every_frame(stream: Native) -> None:
    resuming.check(stream, sdk_says, readable)


@pytest.mark.parametrize("stream", STREAMS, ids=lambda s: s.id)
def test_blocks_open_and_close_in_order(stream: Native) -> None:
    for cut in stream.cuts():
        check_lifecycle(stream.healed(cut))
