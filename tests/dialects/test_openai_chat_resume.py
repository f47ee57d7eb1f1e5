from __future__ import annotations

import json
from typing import Any

import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState

import resuming
from encoded import client
from exchanges import Said
from midstream.dialects.finish_reasons import openai_finish_reason
from midstream.dialects.openai.chat import OPENAI_CHAT
from midstream.events import CONTENT, END, Event, Finish, Reasoning, Start, Text, ToolCall, Usage
from resuming import Native

STREAMS = resuming.streams("openai_chat")


def sdk_says(body: bytes) -> dict[str, Any]:
    """What the official SDK accumulates; finish reasons in OpenAI's words, and what its strings are joined of left out."""
    state = ChatCompletionStreamState()
    for chunk in client(body).chat.completions.create(model="m", messages=[], stream=True):
        state.handle_chunk(chunk)
    whole = state.current_completion_snapshot
    calls = {c.index: c.message.tool_calls or [] for c in whole.choices}
    return {
        "id": whole.id,
        "texts": {c.index: c.message.content for c in whole.choices if c.message.content},
        "calls": {n: [(t.id, t.function.name, t.function.arguments) for t in said] for n, said in calls.items()},
        "refusals": [c.message.refusal for c in whole.choices],
        "reasons": [openai_finish_reason(c.finish_reason or "", called=bool(calls[c.index])) for c in whole.choices],
        "thoughts": [_thoughts(c.message.model_extra or {}) for c in whole.choices],
    }


def _thoughts(fields: dict[str, Any]) -> str:
    """All in one field, whichever it is."""
    return fields.get("reasoning_content") or fields.get("reasoning") or fields.get("reasoning_text") or ""


def readable(expected: dict[str, Any], said: Said) -> bool:
    """Not where several calls have one index, or a content is a list (Mistral's): those the SDK mixes up."""
    calls = [(call["id"], call["name"], call["arguments"]) for call in said.tool_calls]
    return (expected["texts"], expected["calls"].get(0, [])) == (said.texts, calls) and bool(
        expected["thoughts"][:1] == [said.reasoning]
    )


def ours(stream: Native, cut: int) -> list[Any]:
    """Our own chunks behind the cut."""
    frames = stream.healed(cut)[stream.end(cut) :].decode().split("\n\n")[:-1]
    assert frames[-1:] in ([], ["data: [DONE]"])
    return [json.loads(frame.removeprefix("data: ")) for frame in frames[:-1]]


@pytest.mark.parametrize("stream", STREAMS, ids=lambda s: s.id)
def test_a_cut_stream_goes_on_at_every_frame(stream: Native) -> None:
    resuming.check(stream, sdk_says, readable)


@pytest.mark.parametrize("stream", STREAMS, ids=lambda s: s.id)
def test_names_and_roles_stay_the_providers(stream: Native) -> None:
    for cut in stream.cuts():
        start = next((event for event in stream.before(cut) if isinstance(event, Start) and event.id), None)
        chunks = ours(stream, cut)
        assert len({(chunk["id"], chunk["model"], chunk["created"]) for chunk in chunks}) <= 1
        assert all(chunk["id"] == start.id for chunk in chunks if start)
        roles = {choice["index"] for chunk in chunks for choice in chunk["choices"] if "role" in choice["delta"]}
        assert not roles & {event.choice for event in stream.before(cut) if isinstance(event, CONTENT)}


URL = "/v1/chat/completions"
ROLE = {"role": "assistant", "content": None}


def chunk(delta: Any, reason: str | None = None, index: int = 0, **more: Any) -> Any:
    choice = {"index": index, "delta": delta, "finish_reason": reason}
    return {"id": "gen-1", "object": "chat.completion.chunk", "created": 7, "model": "m", "choices": [choice], **more}


def call(index: int, id_: str = "", arguments: str = "") -> Any:
    named = {"id": id_, "type": "function"} if id_ else {}
    function = {"name": "f", "arguments": arguments} if id_ else {"arguments": arguments}
    return {"tool_calls": [{"index": index, **named, "function": function}]}


def stream_of(*chunks: Any, done: bool = False) -> Native:
    body = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)
    return resuming.native("", OPENAI_CHAT, URL, "text/event-stream", body + (b"data: [DONE]\n\n" if done else b""))


def follow(stream: Native, *events: Event, blind: bool = False, functions: bool = False) -> list[Any]:
    """What we write behind all of it."""
    body = stream.healed(len(stream.ends), events, blind=blind, functions=functions)[len(stream.body) :]
    frames = [frame.removeprefix("data: ") for frame in body.decode().split("\n\n")[:-1]]
    return [frame if frame == "[DONE]" else json.loads(frame) for frame in frames]


def test_a_role_is_written_once() -> None:
    """The SDK joins strings: a second one would make an `assistantassistant`, and an empty content of a null."""
    stream = stream_of(chunk(ROLE))
    events: list[Event] = [ToolCall(0, "c", "f", "{}"), Finish("tool_calls"), END]
    state = ChatCompletionStreamState()
    for one in client(stream.healed(1, events)).chat.completions.create(model="m", messages=[], stream=True):
        state.handle_chunk(one)
    message = state.current_completion_snapshot.choices[0].message
    assert (message.role, message.content) == ("assistant", None)
    assert [one["choices"][0]["delta"] for one in follow(stream, *events)[:-1]] == [call(0, "c", "{}"), {}]


def test_a_choice_that_the_provider_has_not_begun_begins() -> None:
    azure = {"id": "", "model": "", "choices": [], "prompt_filter_results": []}
    first = follow(stream_of(azure), Start("chatcmpl-2", "served"), Text("a"))[0]
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert (first["id"], first["model"]) == ("chatcmpl-2", "served")


def test_what_only_lacked_its_end_gets_its_end() -> None:
    finished = stream_of(chunk(ROLE), chunk({"content": "a"}), chunk({}, "stop"))
    assert follow(finished, END) == ["[DONE]"]
    counted = stream_of(chunk(ROLE), chunk({}, "stop"), chunk({}, usage={"prompt_tokens": 1, "completion_tokens": 2}))
    assert follow(counted, END) == ["[DONE]"]
    assert follow(counted, Usage(1, 2), END)[-2]["usage"]["total_tokens"] == 3
    assert follow(stream_of(chunk({}, "stop"), done=True), END) == []


def test_a_finish_reason_is_not_said_again_in_another_word() -> None:
    finished = stream_of(chunk({"content": "a"}), chunk({}, "eos"))
    assert follow(finished, Finish("stop"), END) == ["[DONE]"]


def test_usage_is_said_again_behind_further_chunks() -> None:
    """The SDK keeps the last chunk's, which may be none."""
    early = stream_of(chunk({"content": "a"}, usage={"prompt_tokens": 1, "completion_tokens": 2}))
    *_, usage, done = follow(early, Text("b"), Finish("stop"), END)
    assert (usage["choices"], usage["usage"]["completion_tokens"], done) == ([], 2, "[DONE]")


def test_calls_go_on_with_the_providers_numbers() -> None:
    """Gateways count an answer's blocks, so that the first call is number 1."""
    stream = stream_of(chunk(ROLE), chunk(call(1, "c", '{"a":')))
    said = follow(stream, ToolCall(0, arguments="1}"), ToolCall(1, "d", "f", "{}"), ToolCall(1, arguments=" "))
    assert [one["choices"][0]["delta"]["tool_calls"][0]["index"] for one in said] == [1, 2, 2]


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning", "reasoning_text"])
def test_reasoning_goes_on_in_the_providers_field(field: str) -> None:
    assert follow(stream_of(chunk({field: "hm"})), Reasoning("m"))[0]["choices"][0]["delta"] == {field: "m"}


def test_reasoning_goes_on_as_mistrals_content() -> None:
    content = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]
    assert follow(stream_of(chunk({"content": content})), Reasoning("hm"))[0]["choices"][0]["delta"] == {
        "content": content
    }


def test_a_client_of_functions_gets_its_call_so() -> None:
    legacy = chunk({"function_call": {"name": "f", "arguments": '{"a":'}})
    said = follow(stream_of(legacy), ToolCall(0, arguments="1}"), Finish("tool_calls"), functions=True)
    assert said[0]["choices"][0]["delta"] == {"function_call": {"arguments": "1}"}}
    assert said[1]["choices"][0]["finish_reason"] == "function_call"


def test_without_the_decoder_a_start_is_taken_for_a_role() -> None:
    assert follow(stream_of(chunk(ROLE)), Text("a"), blind=True)[0]["choices"][0]["delta"] == {"content": "a"}
