"""Recorded chat.completions against what they say, and against what the official SDKs make of them."""

from __future__ import annotations

import warnings
from typing import Any

import httpx2
import openai
import pytest
from mistralai.client import Mistral
from mistralai.client.models import UserMessage
from openai.lib.streaming.chat import ChatCompletionStreamState

import exchanges
from exchanges import Exchange, Said, decode, fold
from midstream.dialects.answer import AnswerDecoder
from midstream.dialects.base import TRUNCATED
from midstream.dialects.openai.chat import OPENAI_CHAT

STREAMS = [
    e for e in exchanges.of("chat.completions", "v1/chat") if e.provider != "cohere"
]  # Cohere's v1/chat is its own

WRONG_EXPECT: dict[str, dict[str, Any]] = {
    # Two answers in one recording (two ids, two usages), each with a call of index 0 and an id of its own. The recording's
    # `expect` runs the two into one call whose arguments, "{}{}", are no JSON.
    "cerebras/chat.completions--vercel--cererebras-structured-output-tools.1": {
        "tool_calls": [
            {"id": "bbd2b9d98", "name": "nonUsefulTool", "arguments": "{}"},
            {"id": "e0ecf32e0", "name": "nonUsefulTool", "arguments": "{}"},
        ]
    },
    # The reasoning is in `reasoning_details` alone, where `expect` did not look.
    "snowflake/chat.completions--pydai--test_snowflake_thinking_streaming": {"reasoning": "15 * 27 = 405"},
}

SDK_DIFFERS: dict[str, tuple[tuple[str, ...], str]] = {
    **dict.fromkeys(
        (
            "groq/chat.completions--pydai--test_groq_model_thinking_part_iter",
            "groq/chat.completions--pydai--test_groq_model_thinking_part_iter-1",
        ),
        (("usage",), "Groq's usage is in x_groq alone, which openai-python does not know"),
    ),
    "openai/chat.completions--llm--test_tools_streaming_variant_a": (
        ("tool_calls",),
        "Novita repeats id and name on every fragment; openai-python joins them to '00' and 'llm_versionllm_version'",
    ),
}


def error_of(said: Said) -> Any:
    return said.failure.raw if said.failure else None


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda e: e.id)
def test_a_recording_says_what_it_should(exchange: Exchange) -> None:
    events = decode(OPENAI_CHAT, exchange, max(len(exchange.body), 1))
    said = fold(events)
    expect = {**exchange.expect, **WRONG_EXPECT.get(exchange.id, {})}
    assert said.texts == {int(n): t for n, t in (expect.get("texts") or {0: expect["text"]}).items() if t}
    assert said.reasoning == (expect["reasoning"] or "")
    assert said.refusal == (expect["refusal"] or "")
    assert said.tool_calls == expect["tool_calls"]
    assert said.usage == expect["usage"]
    assert said.finishes == {
        int(n): r for n, r in (expect.get("finish_reasons") or {0: expect["finish_reason"]}).items() if r
    }
    assert said.model == expect["model"]
    assert error_of(said) == expect["error"]
    assert said.malformed == []
    assert said.ended or said.failure is not None
    for size in exchanges.sizes(exchange.body):
        assert decode(OPENAI_CHAT, exchange, size) == events, f"in pieces of {size} bytes"


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda e: e.id)
def test_a_recording_cut_before_its_end_is_truncated(exchange: Exchange) -> None:
    whole = fold(decode(OPENAI_CHAT, exchange, max(len(exchange.body), 1)))
    if whole.failure is not None:
        pytest.skip("fails by itself")
    new = AnswerDecoder(OPENAI_CHAT, content_type=exchange.content_type)
    events = new.feed(exchange.body[: exchange.body.index(b"data:") + 20]) + new.close()
    assert fold(events).failure == TRUNCATED


@pytest.mark.parametrize("exchange", exchanges.of("chat.completions", kind="error"), ids=lambda e: e.id)
def test_an_http_error_says_what_it_should(exchange: Exchange) -> None:
    failure = fold(decode(OPENAI_CHAT, exchange, 7)).failure
    error = exchange.expect["error"]
    assert failure is not None
    assert failure.raw == error
    assert failure.message == error["message"]
    assert failure.type == (error.get("type") or "")
    assert failure.code == str(error.get("code") or "")
    assert failure.status == exchange.status


def transport(exchange: Exchange) -> httpx2.Client:
    headers = {"content-type": "text/event-stream"}
    return httpx2.Client(
        transport=httpx2.MockTransport(lambda _: httpx2.Response(200, headers=headers, content=exchange.body))
    )


def openai_says(exchange: Exchange) -> dict[str, Any]:
    client = openai.OpenAI(
        api_key="k", base_url="http://provider.test/v1", max_retries=0, http_client=transport(exchange)
    )
    state = ChatCompletionStreamState()
    for part in client.chat.completions.create(model="m", messages=[], stream=True):
        state.handle_chunk(part)
    snapshot = state.current_completion_snapshot
    return {
        "texts": {c.index: c.message.content for c in snapshot.choices if c.message.content},
        "refusal": snapshot.choices[0].message.refusal or "",
        "finishes": {c.index: c.finish_reason for c in snapshot.choices if c.finish_reason},
        "tool_calls": [
            {"id": t.id, "name": t.function.name, "arguments": t.function.arguments or ""}
            for t in snapshot.choices[0].message.tool_calls or []
        ],
        "usage": snapshot.usage.to_dict() if snapshot.usage else None,
    }


@pytest.mark.parametrize(
    "exchange", [e for e in STREAMS if e.fidelity == "cassette" and e.provider != "mistral"], ids=lambda e: e.id
)
def test_a_recording_says_what_openais_sdk_makes_of_it(exchange: Exchange) -> None:
    said = fold(decode(OPENAI_CHAT, exchange, 4096))
    if said.failure is not None:
        with pytest.raises(openai.APIError) as caught:
            openai_says(exchange)
        assert (said.failure.message, said.failure.raw) == (caught.value.message, caught.value.body)
        return
    sdk = openai_says(exchange)
    differs, _reason = SDK_DIFFERS.get(exchange.id, ((), ""))
    for field, value in sdk.items():
        assert (getattr(said, field) == value) == (field not in differs), field


def mistral_says(exchange: Exchange) -> dict[str, Any]:
    says: dict[str, Any] = {"text": "", "reasoning": "", "tool_calls": [], "finish_reason": None, "usage": None}
    client = Mistral(api_key="k", server_url="http://provider.test", client=transport(exchange))
    for event in client.chat.stream(model="m", messages=[UserMessage(content="hi")]):
        says["usage"] = event.data.usage.model_dump(exclude_unset=True) if event.data.usage else says["usage"]
        for choice in [c for c in event.data.choices if c.index == 0]:
            content = choice.delta.content or ""
            for part in [content] if isinstance(content, str) else content:
                says["text"] += part if isinstance(part, str) else getattr(part, "text", "")
                says["reasoning"] += "".join(getattr(t, "text", "") for t in getattr(part, "thinking", ()))
            says["tool_calls"] += [
                {"id": t.id, "name": t.function.name, "arguments": t.function.arguments}
                for t in choice.delta.tool_calls or []
            ]
            says["finish_reason"] = choice.finish_reason or says["finish_reason"]
    return says


@pytest.mark.parametrize("exchange", [e for e in STREAMS if e.provider == "mistral"], ids=lambda e: e.id)
def test_a_recording_says_what_mistrals_sdk_makes_of_it(exchange: Exchange) -> None:
    said = fold(decode(OPENAI_CHAT, exchange, 4096))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sdk = mistral_says(exchange)
    assert said.usage is not None
    assert sdk.pop("usage").items() <= said.usage.items()  # its model drops nothing it knows, but knows not every field
    for field, value in sdk.items():
        assert getattr(said, field) == value, field
