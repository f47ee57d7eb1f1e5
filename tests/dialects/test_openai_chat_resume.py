from __future__ import annotations

import json
from typing import Any

import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState

import resuming
from encoded import client
from exchanges import Said
from midstream.dialects.openai_finish import openai_finish_reason
from midstream.events import CONTENT, Start
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
