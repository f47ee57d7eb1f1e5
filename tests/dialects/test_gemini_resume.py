from __future__ import annotations

import json
from typing import Any

import pytest
from google.genai import errors

import google_sdk
import resuming
from exchanges import Said, fold
from midstream.dialects.gemini import GEMINI, GeminiDecoder
from midstream.dialects.gemini_words import gemini_finish_reason
from midstream.events import END, Finish, Start, ToolCall
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
    stream = next(s for s in STREAMS if not any(isinstance(e, Start) and e.id for e in s.events))
    assert b"responseId" not in stream.healed(1)


def test_a_json_array_stays_one() -> None:
    for stream in STREAMS:
        if stream.body.lstrip()[:1] == b"[":
            assert all(isinstance(json.loads(stream.healed(cut)), list) for cut in stream.cuts())
