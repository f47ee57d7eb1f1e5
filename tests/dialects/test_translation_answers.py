"""Every recorded answer that midstream comes with, in the words of each of five clients: its official SDK cannot tell."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
from anthropic.types import StopReason
from google.genai.types import FinishReason
from openai.types.chat.chat_completion import Choice

from encoded import OPTIONS, encode
from exchanges import Said, fold
from midstream.dialects.answer import AnswerDecoder
from midstream.dialects.finish_reasons import openai_finish_reason
from midstream.dialects.registry import recognise
from midstream.events import Event, Finish
from midstream.recording import Recording
from midstream.recording import read as read_recording
from midstream.replay.catalogue import of_header
from sdk_answers import STREAMS, WHOLES, Told, results
from sdk_requests import CHECKS
from translated import ANTHROPIC, CHAT, DIALECTS, GOOGLE, OLLAMAS, RESPONSES, again, body_of, calls, read, write

FOLDER = Path(__file__).parents[2] / "recordings"
LIVE = {"openai_realtime", "gemini_live", "unknown"}
"""What no chat comes from."""


@cache
def recording(name: str) -> Recording:
    return read_recording(FOLDER / f"{name}.jsonl")


@cache
def events_of(name: str) -> tuple[Event, ...]:
    header = recording(name).header
    asked = of_header(header)
    match = recognise(asked.host, asked.path, json.dumps(header.request.body).encode())
    assert match is not None
    response = header.response
    decoder = AnswerDecoder(
        match.dialect,
        status=response.status,
        content_type=response.headers.get("content-type", ""),
        content_encoding=response.headers.get("content-encoding", ""),
    )
    return tuple(decoder.feed(recording(name).body) + decoder.close())


NAMES = sorted(f"{f.parent.name}/{f.stem}" for f in FOLDER.glob("*/*.jsonl") if f.parent.name not in LIVE)
BROKEN = [name for name in NAMES if fold(list(events_of(name))).failure]
WHOLE = [name for name in NAMES if name not in BROKEN]
CALLING = [name for name in WHOLE if fold(list(events_of(name))).tool_calls]
FINISHES: dict[str, set[str]] = {
    CHAT: set(get_args(Choice.model_fields["finish_reason"].annotation)),
    RESPONSES: {"completed", "max_output_tokens", "content_filter"},
    ANTHROPIC: set(get_args(StopReason)),
    GOOGLE: {reason.value for reason in FinishReason},
    OLLAMAS: {"stop", "length", "content_filter"},
}
"""What each SDK's own types know."""


def test_there_are_recordings_of_all_that_can_be_said() -> None:
    said = [fold(list(events_of(name))) for name in WHOLE]
    assert {name.partition("/")[0] for name in WHOLE} >= set(DIALECTS)
    assert any(s.reasoning for s in said)
    assert any(s.refusal for s in said)
    assert any(len(s.tool_calls) > 1 for s in said)
    assert any(s.usage is None for s in said)
    assert len(BROKEN) > 5


def check(told: Told, client: str, name: str) -> None:
    """The SDK has what the recording says."""
    events = list(events_of(name))
    said = fold([event for event in events if getattr(event, "choice", 0) == 0])
    assert told.text == said.text + said.refusal + said.transcript
    assert told.reasoning == said.reasoning
    assert [(n, arguments) for _, n, arguments in told.calls] == [
        (call["name"], json.loads(call["arguments"] or "{}") or {}) for call in said.tool_calls
    ]
    assert told.model == (said.model or OPTIONS.model)
    check_finish(told.finish, client, events, said)
    check_usage(told.usage, client, said)


def check_finish(finish: str, client: str, events: list[Event], said: Said) -> None:
    assert finish in FINISHES[client]
    last = ([Finish(""), *(e for e in events if isinstance(e, Finish) and e.choice == 0)])[-1]
    known = openai_finish_reason(last.reason, last.detail, called=bool(said.tool_calls))
    assert MEANINGS[client].get(finish, finish) in (
        known,
        {"tool_calls": "stop"}.get(known),
        REFUSED[bool(said.refusal)],
    )


MEANINGS = {name: dialect.finish_reasons for name, dialect in DIALECTS.items()} | {
    RESPONSES: {"completed": "stop", "max_output_tokens": "length"}
}
REFUSED = {True: "content_filter", False: None}
"""A refusal is an ending of its own for Anthropic's clients."""


def check_usage(usage: tuple[int | None, int | None], client: str, said: Said) -> None:
    counted = said.usage_events[-1] if said.usage_events else None
    if counted is None or counted.input_tokens is None or counted.output_tokens is None:
        assert usage in ((None, None), (0, 0))
    elif counted.reasoning_tokens is None or counted.reasoning_tokens <= counted.output_tokens or client != GOOGLE:
        assert usage == (counted.input_tokens, counted.output_tokens)


IDS = {
    CHAT: r".{1,40}",
    RESPONSES: r".{1,40}",
    ANTHROPIC: r"toolu_[a-zA-Z0-9_-]{1,58}",
    GOOGLE: r".{0,64}",
    OLLAMAS: r"",
}
"""A tool call's id, as each client's own provider gives it: what it takes back, at least."""


@cache
def streamed(name: str, client: str) -> Told:
    encoder = DIALECTS[client].encoder
    assert encoder is not None
    return STREAMS[client](encode(encoder(OPTIONS), events_of(name)))


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("client", DIALECTS)
def test_an_answer_streamed(client: str, name: str) -> None:
    told = streamed(name, client)
    check(told, client, name)
    ids = [id_ for id_, *_ in told.calls]
    assert all(re.fullmatch(IDS[client], id_) for id_ in ids)
    assert len(set(filter(None, ids))) == len(list(filter(None, ids)))


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("client", DIALECTS)
def test_an_answer_whole(client: str, name: str) -> None:
    write_answer = DIALECTS[client].write_answer
    assert write_answer is not None
    told = WHOLES[client](write_answer(events_of(name), OPTIONS))
    check(told, client, name)
    assert replace(told, turns=[]) == replace(streamed(name, client), turns=[])


@pytest.mark.parametrize("target", DIALECTS)
@pytest.mark.parametrize("client", DIALECTS)
@pytest.mark.parametrize("name", CALLING)
def test_the_results_of_translated_calls_reach_any_target(name: str, client: str, target: str) -> None:
    """The client sends back what it got, with the results: the target takes the ids, and each result has its call."""
    conversation = read(client, {**body_of(client), **results(client, streamed(name, client))})
    expected = [call["name"] for call in fold(list(events_of(name))).tool_calls]
    assert [n for n, *rest in calls(conversation) if len(rest) == 1] == expected
    written = write(target, conversation)
    back = again(target, written)
    assert calls(back) == calls(conversation)
    if client != target:
        CHECKS[target]({key: value for key, value in written.body.items() if key != "stream"})
