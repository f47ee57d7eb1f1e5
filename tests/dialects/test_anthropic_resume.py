from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

import resuming
from encoded import OPTIONS, arbitrary, encode
from exchanges import Said
from google_sdk import confused, frame
from midstream.dialects.anthropic.messages import ANTHROPIC_MESSAGES, AnthropicDecoder
from midstream.events import END, Event, Finish, Reasoning, Start, Text, ToolCall, Usage
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


def event(kind: str, **more: Any) -> Any:
    return {"type": kind, **more}


def delta(text: str, index: int = 0, kind: str = "text", field: str = "text") -> Any:
    return event("content_block_delta", index=index, delta={"type": f"{kind}_delta", field: text})


def start(kind: str, index: int = 0, **more: Any) -> Any:
    return event("content_block_start", index=index, content_block={"type": kind, **more})


def stop(index: int = 0) -> Any:
    return event("content_block_stop", index=index)


BEGUN = event(
    "message_start",
    message={
        "id": "chatcmpl-of-a-gateway",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": [],
        "usage": {"input_tokens": 5, "output_tokens": 1},
    },
)
STOP = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 9})
CALL: dict[str, Any] = {"id": "toolu_1", "name": "f", "input": {}}


def stream_of(*events: Any) -> Native:
    body = b"".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events)
    return resuming.native("", ANTHROPIC_MESSAGES, "/v1/messages", "text/event-stream", body)


def follow(stream: Native, *events: Event, blind: bool = False) -> list[Any]:
    """What we write behind all of it."""
    body = stream.healed(len(stream.ends), events, blind=blind)[len(stream.body) :]
    return [json.loads(line[6:]) for line in body.decode().splitlines() if line.startswith("data:")]


def kinds(events: list[Any]) -> list[Any]:
    return [(e["type"].removeprefix("content_block_"), e.get("index")) for e in events]


def test_a_message_starts_once() -> None:
    said = follow(stream_of(BEGUN), Start("msg_2", "other"), Text("a"), Finish("stop"), END)
    assert kinds(said)[:3] == [("start", 0), ("delta", 0), ("stop", 0)]
    assert said[3]["usage"]["input_tokens"] == 5


def test_before_the_first_event_of_the_providers_a_message_starts() -> None:
    assert follow(stream_of({"type": "ping"}), Text("a"))[0]["type"] == "message_start"


def test_an_open_text_goes_on_whatever_block_the_next_attempt_calls_it() -> None:
    said = follow(stream_of(BEGUN, start("thinking", thinking=""), stop(), start("text", 1), delta("a", 1)), Text("b"))
    assert said == [delta("b", 1)]


def test_a_block_that_was_closed_is_not_opened_again() -> None:
    assert kinds(follow(stream_of(BEGUN, start("text"), delta("a"), stop()), Text("b"))) == [("start", 1), ("delta", 1)]


def test_a_block_that_has_said_nothing_counts() -> None:
    assert kinds(follow(stream_of(BEGUN, start("text", text="")), Text("b"))) == [("delta", 0)]


def test_a_servers_tool_is_closed_and_counts() -> None:
    stream = stream_of(BEGUN, start("server_tool_use", id="s", name="web_search", input={}))
    assert kinds(follow(stream, Text("b"), END))[:4] == [("stop", 0), ("start", 1), ("delta", 1), ("stop", 1)]


def test_blocks_that_were_open_side_by_side_are_closed() -> None:
    stream = stream_of(BEGUN, start("text"), start("text", 1), start("text", 2))
    assert kinds(follow(stream, Finish("stop"), END))[:3] == [("stop", 0), ("stop", 1), ("stop", 2)]


def test_a_call_goes_on_and_one_without_arguments_gets_an_object() -> None:
    stream = stream_of(BEGUN, start("text"), stop(), start("tool_use", 1, **CALL))
    piece, *_ = follow(stream, ToolCall(0, arguments='{"a":1}', block=1), END)
    assert piece == delta('{"a":1}', 1, "input_json", "partial_json")
    piece, closed, *_ = follow(stream, Finish("tool_use"), END)
    assert (piece, closed) == (delta("{}", 1, "input_json", "partial_json"), stop(1))


def test_a_call_that_has_begun_is_not_closed_by_its_next_piece() -> None:
    begun = delta('{"a":"{', 0, "input_json", "partial_json")
    stream = stream_of(BEGUN, start("tool_use", **CALL), begun)
    said = follow(stream, ToolCall(0, arguments='"}'), ToolCall(1, "t", "g", "{}"))
    assert kinds(said) == [("delta", 0), ("stop", 0), ("start", 1), ("delta", 1)]


def test_a_signature_is_said_once() -> None:
    thought = [BEGUN, start("thinking", thinking=""), delta("hm", 0, "thinking", "thinking")]
    signed = delta("s", 0, "signature", "signature")
    assert kinds(follow(stream_of(*thought, signed), Text("a"))) == [("stop", 0), ("start", 1), ("delta", 1)]
    assert follow(stream_of(*thought), Reasoning("", signature="s"), Text("a"))[0] == signed


def test_another_models_thoughts_are_not_signed_for_by_this_one() -> None:
    stream = stream_of(BEGUN, start("thinking", thinking=""))
    said = follow(stream, Start("", "gpt"), Reasoning("hm", signature="gAAAA"), Text("a"))
    assert kinds(said) == [("delta", 0), ("stop", 0), ("start", 1), ("delta", 1)]


def test_what_only_lacked_its_end_gets_its_end() -> None:
    stream = stream_of(BEGUN, start("text"), delta("a"), stop(), STOP)
    assert follow(stream, END) == [{"type": "message_stop"}]
    counted, last = follow(stream, Usage(30, 40), END)
    assert (counted["usage"]["input_tokens"], counted["usage"]["output_tokens"]) == (30, 40)
    assert (counted["delta"]["stop_reason"], last) == ("end_turn", {"type": "message_stop"})
    assert follow(stream_of(BEGUN, STOP, {"type": "message_stop"}), END) == []


def test_without_the_decoder_the_last_block_that_spoke_is_open() -> None:
    stream = stream_of(BEGUN, start("thinking", thinking=""), delta("hm", 0, "thinking", "thinking"), stop())
    assert kinds(follow(stream, Text("b"), blind=True)) == [("stop", 0), ("start", 1), ("delta", 1)]


CONFUSED = confused(
    "type", "index", "delta", "content_block", "message", "usage", "text", "thinking", "tool_use", "input", "partial_json",
    "content_block_start", "content_block_delta", "content_block_stop", "message_start", "message_delta", "text_delta",
    "id", "name", "server_tool_use", "stop_reason", "signature", "signature_delta", "input_json_delta",
)  # fmt: skip


@given(st.lists(CONFUSED, max_size=6), arbitrary())
def test_no_confused_stream_stops_us(chunks: list[Any], events: list[Event]) -> None:
    decoder = AnthropicDecoder()
    told = [e for chunk in chunks for e in decoder.feed(frame(chunk))]
    assert ANTHROPIC_MESSAGES.resume is not None
    encode(ANTHROPIC_MESSAGES.resume(OPTIONS, told, decoder), events)
