"""What mitmproxy shows of an LLM's answer: every recording, whole, growing, cut and damaged."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import http, websocket
from mitmproxy.flow import Error
from mitmproxy.io import FlowReader, FlowWriter
from ruamel.yaml import YAML
from wsproto.frame_protocol import Opcode

from midstream.providers import provider_of
from midstream.recording import read
from midstream.watch.readings import NOTES, Readings
from midstream.wire import Frame
from midstream.wire.sse import SseDecoder
from recorded_flows import flow_of, kept

FOLDER = Path(__file__).parents[2] / "recordings"
RECORDINGS = {f"{file.parent.name}/{file.stem}": read(file) for file in sorted(FOLDER.glob("*/*.jsonl"))}
SESSIONS = [name for name, r in RECORDINGS.items() if r.header.websocket]
ANSWERS = [name for name, r in RECORDINGS.items() if not r.header.websocket and r.header.response.status < 400]
ERRORS = [name for name, r in RECORDINGS.items() if r.header.response.status >= 400]
CHAT = RECORDINGS["openai_chat/plain_text"]


def shown(flow: http.HTTPFlow, readings: Readings | None = None) -> dict[str, Any]:
    """What the view says, as a YAML reader takes it."""
    assert flow.response is not None
    text = (readings or Readings(provider_of)).answer(flow, flow.response.get_content(strict=False) or b"")
    parsed: dict[str, Any] = YAML(typ="safe", pure=True).load(text)
    return parsed


def said(parsed: dict[str, Any], kind: str) -> str:
    return "".join(part[kind] for part in parsed["said"] if kind in part and not part.get("choice"))


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_shown_as_what_was_said(name: str) -> None:
    recording = RECORDINGS[name]
    flow = flow_of(recording)
    assert Readings(provider_of).shows_answer(flow)
    parsed, expect = shown(flow), recording.header.expect or {}
    assert parsed["api"] == name.partition("/")[0]
    text = (expect.get("text") or "").replace("\r\n", "\n")
    assert said(parsed, "text") == text or (parsed["api"] == "unknown" and text in said(parsed, "text"))
    assert ("a guess" in parsed.get("note", "")) == (parsed["api"] == "unknown")
    calls = {part.get("tool call") or part.get("server tool") for part in parsed["said"]}
    assert {call["name"] for call in expect.get("tool_calls") or []} <= calls
    assert ("error" in parsed) == bool(expect.get("error"))
    if parsed["said"]:
        assert parsed["time"]["first content"].endswith((" ms", " s"))


@pytest.mark.parametrize("name", ERRORS)
def test_an_http_error_is_left_to_mitmproxys_own_views(name: str) -> None:
    assert not Readings(provider_of).shows_answer(flow_of(RECORDINGS[name]))


def test_what_is_no_llms_is_left_alone() -> None:
    flow = flow_of(CHAT)
    flow.request.path = "/v1/models"
    flow.response = http.Response.make(200, b"{}", {"content-type": "application/json"})
    readings = Readings(provider_of)
    assert not readings.shows_answer(flow)
    assert not readings.shows_message(flow)
    with pytest.raises(ValueError, match="no answer of an LLM provider"):
        readings.answer(flow, b"{}")


@pytest.mark.parametrize("name", SESSIONS)
def test_the_message_that_ends_an_answer_shows_all_of_it(name: str) -> None:
    recording = RECORDINGS[name]
    flow, readings = flow_of(recording), Readings(provider_of)
    assert readings.shows_message(flow)
    assert flow.websocket is not None
    told = [readings.message(flow, message) for message in flow.websocket.messages]
    assert all(told)
    wholes = [YAML(typ="safe", pure=True).load(text) for text in told if text.startswith("api: ")]
    assert wholes
    expect = recording.header.expect or {}
    everything = "".join(said(whole, "text") for whole in wholes)
    assert (expect.get("text") or "") in everything
    assert [readings.message(flow, message) for message in flow.websocket.messages] == told


def test_a_session_that_grows_is_read_on_where_it_was() -> None:
    whole, growing = flow_of(RECORDINGS["openai_realtime/tool_call"]), flow_of(RECORDINGS["openai_realtime/tool_call"])
    assert whole.websocket is not None
    assert growing.websocket is not None
    readings, messages = Readings(provider_of), growing.websocket.messages
    growing.websocket.messages = []
    told = []
    for message in messages:
        growing.websocket.messages.append(message)
        told.append(readings.message(growing, message))
    other = Readings(provider_of)
    assert told == [other.message(whole, message) for message in whole.websocket.messages]


def test_responses_over_a_websocket_are_shown_as_those_over_sse() -> None:
    recording = RECORDINGS["openai_responses/plain_text"]
    asked = {"type": "response.create"} | recording.header.request.body
    frames = [frame for frame in SseDecoder().feed(recording.body) if isinstance(frame, Frame)]
    flow = flow_of(recording)
    flow.request.headers["upgrade"] = "websocket"
    flow.websocket = websocket.WebSocketData()
    for n, data in enumerate((json.dumps(asked).encode(), *(frame.data for frame in frames))):
        flow.websocket.messages.append(websocket.WebSocketMessage(Opcode.TEXT, not n, data, 1_700_000_000.0 + n))
    readings = Readings(provider_of)
    told = [readings.message(flow, message) for message in flow.websocket.messages]
    assert told[0].startswith("asks: ")
    whole = YAML(typ="safe", pure=True).load(told[-1])
    assert said(whole, "text") == (recording.header.expect or {})["text"]
    assert whole["outcome"] == "complete"
    assert whole["time"]["first content"].endswith(" s")


def test_long_strings_in_a_message_are_cut() -> None:
    flow = flow_of(RECORDINGS["openai_realtime/text"])
    assert flow.websocket is not None
    message = flow.websocket.messages[0]
    message.content = b'{"type": "session.updated", "audio": "%s"}' % (b"A" * 5000)
    told = Readings(provider_of).message(flow, message)
    assert "… (5000 characters)" in told
    assert len(told) < 1000


def test_a_flow_that_was_saved_and_loaded_shows_the_same() -> None:
    flow, file = flow_of(CHAT), io.BytesIO()
    FlowWriter(file).add(flow)
    file.seek(0)
    (loaded,) = FlowReader(file).stream()
    assert isinstance(loaded, http.HTTPFlow)
    assert shown(loaded) == shown(flow)


def test_without_notes_the_flows_own_times_are_shown() -> None:
    parsed = shown(flow_of(CHAT, noted=False))
    assert parsed["time"] == {"response head": "250 ms", "whole": "9.00 s"}


def test_notes_that_are_nonsense_do_no_harm() -> None:
    flow, whole = flow_of(CHAT), shown(flow_of(CHAT))
    nonsense: tuple[Any, ...] = (
        None,
        [],
        {"ends": ["x", 9], "ms": [1]},
        {"ends": [5, 3, 10**9], "ms": [1, 2, 3]},
        {"size": "many"},
    )
    for notes in nonsense:
        flow.metadata[NOTES] = notes
        parsed = shown(flow)
        assert parsed["said"] == whole["said"]
        assert parsed["outcome"] == "complete"


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_an_answer_that_grows_is_read_once_and_ends_as_the_whole(step: int) -> None:
    flow, readings, body = flow_of(CHAT), Readings(provider_of), CHAT.body
    assert flow.response is not None
    flow.live, ended, flow.response.timestamp_end = True, flow.response.timestamp_end, None
    for size in range(1, len(body), max(step, len(body) // 40)):
        flow.response.raw_content = body[:size]
        parsed = shown(flow, readings)
        assert parsed["outcome"] in ("running", "complete")
        assert shown(flow)["said"] == parsed["said"]
    flow.live, flow.response.timestamp_end, flow.response.raw_content = False, ended, body
    assert shown(flow, readings) == shown(flow)


def test_a_body_that_is_kept_in_part_is_not_called_truncated() -> None:
    flow = flow_of(CHAT)
    body = kept(CHAT, limit=4000)
    assert flow.response is not None
    flow.response.raw_content, flow.metadata[NOTES] = body.content(), body.notes()
    parsed = shown(flow)
    assert parsed["outcome"] == "not known from the part that is kept"
    assert parsed["kept"] == f"the first 4000 of {len(CHAT.body)} bytes (midstream_body_limit)"
    assert said(parsed, "text").startswith("Sure! Pomeranians")


def test_a_body_that_broke_off_is_truncated_and_says_why() -> None:
    flow = flow_of(CHAT, noted=False)
    assert flow.response is not None
    flow.response.raw_content, flow.response.timestamp_end = CHAT.body[:4000], None
    flow.error = Error("Server disconnected.")
    parsed = shown(flow)
    assert parsed["outcome"] == "truncated"
    assert parsed["connection"] == "Server disconnected."


def test_an_encoded_body_is_read_also_where_mitmproxy_cannot_decode_it() -> None:
    flow = flow_of(CHAT, noted=False)
    assert flow.response is not None
    packed = gzip.compress(CHAT.body)
    flow.response.headers["content-encoding"] = "gzip"
    flow.response.raw_content = packed
    assert shown(flow)["said"] == shown(flow_of(CHAT))["said"]
    flow.response.raw_content = packed[: len(packed) // 2]
    parsed = shown(flow)
    assert parsed["outcome"] == "truncated"
    assert said(parsed, "text").startswith("Sure! Pomeranians")


def test_the_gateways_chats_are_openai_chunks() -> None:
    flow = flow_of(CHAT)
    assert flow.response is not None
    flow.request.host, flow.request.path = "midstream.internal", "/v1/chat/stream?model=gpt-4o&prompt=hi"
    flow.request.method, flow.request.raw_content = "GET", b""
    flow.response.headers["x-stream-id"] = "0199"
    parsed = shown(flow)
    assert parsed["asked for"] == "gpt-4o"
    assert said(parsed, "text") == (CHAT.header.expect or {})["text"]
    flow.response.headers["content-type"] = "text/plain; charset=utf-8"
    assert not Readings(provider_of).shows_answer(flow)
