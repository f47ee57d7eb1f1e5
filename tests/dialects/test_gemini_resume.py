from __future__ import annotations

import json
from typing import Any

import pytest
from google.genai import errors

import google_sdk
import resuming
from exchanges import Said, fold
from midstream.dialects.gemini.generate import GEMINI, GeminiDecoder
from midstream.dialects.gemini.words import gemini_finish_reason
from midstream.events import END, Event, Finish, Start, Text, ToolCall, Usage
from resuming import Native, native

STREAMS = resuming.streams("gemini")


def _opens_no_call(stream: Native, cut: int) -> bool:
    decoder = stream.decoder(cut).decoder
    assert isinstance(decoder, GeminiDecoder)
    return not decoder.cut_calls()


def sdk_says(body: bytes) -> dict[str, Any]:
    """What Google's SDK makes of the chunks; it asks for SSE, so an array is said so to it."""
    if body.lstrip().startswith(b"["):
        body = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in json.loads(body))
    client = google_sdk.client(200, "text/event-stream", body)
    texts: dict[tuple[int | None, bool], str] = {}
    finishes: dict[int, Any] = {}
    calls, ids, usage = [], set(), None
    for chunk in client.models.generate_content_stream(model="m", contents="hi"):
        ids.add((chunk.response_id, chunk.model_version))
        usage = chunk.usage_metadata or usage
        for one in chunk.candidates or []:
            finishes[one.index or 0] = one.finish_reason or finishes.get(one.index or 0)
            for part in (one.content and one.content.parts) or []:
                if part.text:
                    place = (one.index or 0, bool(part.thought))
                    texts[place] = texts.get(place, "") + part.text
                calls += [part.function_call.to_json_dict()] if part.function_call else []
    counts = usage and (
        (usage.prompt_token_count or 0) + (usage.tool_use_prompt_token_count or 0),
        usage.total_token_count,
    )
    return {"texts": texts, "calls": calls, "finishes": finishes, "ids": ids, "counts": counts}


def readable(expected: dict[str, Any], said: Said) -> bool:
    """Not where a finish reason is of a later API than ours, nor where calls come in pieces, which ours never do."""
    pieces = any("will_continue" in call for call in expected["calls"])
    reasons = [reason.value for reason in expected["finishes"].values() if reason]
    return not pieces and all(gemini_finish_reason(reason) == reason for reason in reasons)


@pytest.mark.parametrize("stream", STREAMS, ids=lambda s: s.id)
def test_a_cut_stream_goes_on_at_every_frame(stream: Native) -> None:
    resuming.check(stream, sdk_says, readable, at=_opens_no_call)


def test_a_call_that_was_cut_off_makes_the_answer_an_error() -> None:
    """A whole call would be a second one to the client, and nothing a rest of the first."""
    begun = {"functionCall": {"name": "f", "willContinue": True}}
    chunk = {"candidates": [{"content": {"parts": [begun]}}], "modelVersion": "gemini-3", "responseId": "r"}
    body = b"data: " + json.dumps(chunk).encode() + b"\n\n"
    stream = native("", GEMINI, "/v1beta/models/m:streamGenerateContent?alt=sse", "text/event-stream", body)
    with pytest.raises(errors.ServerError):
        sdk_says(stream.healed(1, [ToolCall(0, arguments="{}"), Finish("STOP"), END]))
    assert fold(native("", GEMINI, "", "", stream.healed(1, [END])).events).failure is not None


def test_what_the_provider_did_not_name_is_not_named() -> None:
    """Older models give no id: a client would see it change."""
    assert b"responseId" not in stream_of(said("a")).healed(1, [Start("x", "m"), Text("b"), END])


def test_a_json_array_stays_one() -> None:
    for stream in STREAMS:
        if stream.body.lstrip()[:1] == b"[":
            assert all(isinstance(json.loads(stream.healed(cut)), list) for cut in stream.cuts())


PATH = "/v1beta/models/m:streamGenerateContent?alt=sse"


def said(*parts: Any, finish: str | None = None, **more: Any) -> Any:
    shown = [{"text": part} if isinstance(part, str) else part for part in parts]
    candidate = {"content": {"role": "model", "parts": shown}, "index": 0}
    return {
        "candidates": [candidate | ({"finishReason": finish} if finish else {})],
        "modelVersion": "gemini-3",
        **more,
    }


def stream_of(*chunks: Any, path: str = PATH) -> Native:
    body = b"".join(b"data: " + json.dumps(chunk).encode() + b"\r\n\r\n" for chunk in chunks)
    return native("", GEMINI, path, "text/event-stream", body)


def follow(stream: Native, *events: Event) -> list[Any]:
    """What we write behind all of it."""
    body = stream.healed(len(stream.ends), events)[len(stream.body) :].decode()
    return [json.loads(line[6:]) for line in body.splitlines() if line]


def test_what_only_lacked_its_end_gets_its_end() -> None:
    finished = stream_of(said("a", finish="STOP", responseId="r"))
    assert follow(finished, END) == []
    (counted,) = follow(finished, Usage(1, 2), END)
    assert counted["usageMetadata"]["totalTokenCount"] == 3
    assert (counted["candidates"], counted["responseId"]) == ([], "r")


def test_a_reason_on_every_chunk_is_no_end() -> None:
    """Older models repeat it."""
    chunk, last = follow(stream_of(said("a", finish="STOP")), Text("b"), Finish("MAX_TOKENS"), END)
    assert chunk["candidates"][0]["content"]["parts"] == [{"text": "b"}]
    assert last["candidates"][0]["finishReason"] == "MAX_TOKENS"


def test_a_call_that_is_out_is_not_said_again() -> None:
    call = {"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "s"}
    (second, last) = follow(stream_of(said(call)), ToolCall(0, arguments=" "), ToolCall(1, "", "g", "{}"), END)
    assert second["candidates"][0]["content"]["parts"] == [{"functionCall": {"name": "g", "args": {}}}]
    assert "finishReason" in last["candidates"][0]


def test_code_assist_wraps_what_follows_too() -> None:
    stream = stream_of({"response": said("a")}, path="/v1internal:streamGenerateContent?alt=sse")
    assert [list(chunk) for chunk in follow(stream, Text("b"), END)] == [["response"], ["response"]]
