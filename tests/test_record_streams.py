"""What RecordStreams writes: the bytes, edges and pauses that passed, and no credential; what it does to a stream: nothing."""

from __future__ import annotations

import json
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mitmproxy import exceptions, flow, http
from mitmproxy.test import taddons, tflow
from mitmproxy.websocket import WebSocketMessage
from wsproto.frame_protocol import Opcode

from midstream import flows
from midstream.recording import Recording, read
from midstream.replay import recorder
from record_streams import RECORDING_LIMIT, RecordStreams

SECRET = "Zq7secret0123456789abcdefXYZ"
BODY = {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
CHUNKS = [b'data: {"choices":[{"delta":{"content":"\xc3', b'\xa9"}}]}\n\n', b"data: [DONE]\n\n"]


@pytest.fixture
def addon(tmp_path: Path) -> Iterator[RecordStreams]:
    addon = RecordStreams()
    with taddons.context(addon) as context:
        context.configure(addon, midstream_recordings=str(tmp_path))
        yield addon
        addon.done()


def asked(
    body: Any = BODY, *, host: str = "api.openai.com", path: str = "/v1/chat/completions", **headers: str
) -> http.HTTPFlow:
    f = tflow.tflow()
    f.request = http.Request.make("POST", f"https://{host}{path}", json.dumps(body))
    for name, value in headers.items():
        f.request.headers[name.replace("_", "-")] = value
    f.live = True
    return f


def answered(f: http.HTTPFlow, **headers: str) -> None:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    f.response = http.Response.make(200, b"", {"content-type": "text/event-stream", **named})
    f.response.stream = False


def passed(f: http.HTTPFlow, *chunks: bytes) -> list[bytes]:
    """What a client gets when these chunks arrive."""
    assert f.response is not None
    assert callable(f.response.stream)
    got: list[bytes] = []
    for chunk in chunks:
        result = f.response.stream(chunk)
        got += [result] if isinstance(result, bytes) else list(result)
    return got


def record(addon: RecordStreams, f: http.HTTPFlow, *chunks: bytes, **headers: str) -> None:
    addon.request(f)
    answered(f, **headers)
    addon.responseheaders(f)
    assert passed(f, *chunks, b"") == list(chunks)
    addon.response(f)


def recorded(addon: RecordStreams, folder: Path) -> list[tuple[Path, Recording]]:
    addon.done()
    assert not list(folder.rglob("*.part"))
    return [(file, read(file)) for file in sorted(folder.rglob("*.jsonl"))]


def test_bytes_edges_and_order_are_kept(addon: RecordStreams, tmp_path: Path) -> None:
    record(addon, asked(), *CHUNKS)
    [(file, recording)] = recorded(addon, tmp_path)
    assert [chunk.data for chunk in recording.chunks] == CHUNKS
    assert recording.end == "complete"
    assert recording.header.pace == "recorded"
    assert (recording.header.dialect, recording.header.provider) == ("openai_chat", "openai")
    assert recording.header.request.body == BODY
    assert recording.header.request.url == "https://api.openai.com/v1/chat/completions"
    assert recording.header.response.headers["content-type"] == "text/event-stream"
    assert file.parent == tmp_path / "openai_chat"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_pauses_are_those_of_the_clock(addon: RecordStreams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([100.0, 100.35, 100.37, 101.37, 101.5])
    monkeypatch.setattr("record_streams.time.monotonic", lambda: next(now))
    record(addon, asked(), *CHUNKS)
    monkeypatch.undo()
    [(_, recording)] = recorded(addon, tmp_path)
    assert [chunk.pause_ms for chunk in recording.chunks] == pytest.approx([350, 20, 1000])
    assert recording.end_pause_ms == pytest.approx(130)


@pytest.mark.parametrize(
    ("message", "end"),
    [
        ("Client disconnected.", "client_gone"),
        ("stream reset by client (CANCEL)", "client_gone"),  # HTTP/2: the connection stays
        ("server closed", "truncated"),
    ],
)
def test_how_a_broken_stream_ended_is_told(addon: RecordStreams, tmp_path: Path, message: str, end: str) -> None:
    f = asked()
    addon.request(f)
    answered(f)
    addon.responseheaders(f)
    passed(f, CHUNKS[0])
    f.error = flow.Error(message)
    addon.error(f)
    [(_, recording)] = recorded(addon, tmp_path)
    assert recording.end == end
    assert recording.body == CHUNKS[0]


def test_a_stream_still_open_when_mitmdump_stops_is_truncated(addon: RecordStreams, tmp_path: Path) -> None:
    f = asked()
    addon.request(f)
    answered(f)
    addon.responseheaders(f)
    passed(f, CHUNKS[0])
    [(_, recording)] = recorded(addon, tmp_path)
    assert recording.end == "truncated"


def test_an_encoded_body_is_kept_as_it_was_on_the_wire(addon: RecordStreams, tmp_path: Path) -> None:
    import gzip

    record(addon, asked(), gzip.compress(b"data: [DONE]\n\n"), content_encoding="gzip")
    [(_, recording)] = recorded(addon, tmp_path)
    assert gzip.decompress(recording.body) == b"data: [DONE]\n\n"
    assert recording.header.response.headers["content-encoding"] == "gzip"


def test_what_is_no_llm_traffic_is_not_recorded(addon: RecordStreams, tmp_path: Path) -> None:
    f = asked(host="example.com", path="/v1/events", body={"a": 1})
    addon.request(f)
    answered(f)
    addon.responseheaders(f)
    assert f.response is not None
    assert f.response.stream is False
    addon.response(f)
    assert recorded(addon, tmp_path) == []


def test_a_providers_stream_without_a_dialect_is_recorded_as_unknown(addon: RecordStreams, tmp_path: Path) -> None:
    record(addon, asked(path="/v1/threads/runs"), *CHUNKS)
    [(file, recording)] = recorded(addon, tmp_path)
    assert file.parent.name == recording.header.dialect == "unknown"


def test_a_request_that_failed_before_any_response_leaves_no_file(addon: RecordStreams, tmp_path: Path) -> None:
    f = asked()
    addon.request(f)
    f.error = flow.Error("no route")
    addon.error(f)
    assert recorded(addon, tmp_path) == []


@settings(
    max_examples=25,
    suppress_health_check=[*settings().suppress_health_check, HealthCheck.function_scoped_fixture],
)
@given(
    header=st.sampled_from(
        ["authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie", "openai-organization"]
    ),
    query=st.sampled_from(["key", "api_key", "access_token", "X-Amz-Security-Token", "sig"]),
    name=st.sampled_from(["api_key", "apiKey", "client_secret", "authorization", "password", "access_token"]),
    cut=st.integers(1, 60),
    everywhere=st.booleans(),
)
def test_no_credential_survives_anywhere(
    addon: RecordStreams, tmp_path: Path, header: str, query: str, name: str, cut: int, everywhere: bool
) -> None:
    before = set(tmp_path.rglob("*.jsonl"))
    body = {**BODY, "tools": [{"type": "mcp", name: SECRET}], "user": f"I am {SECRET}" if everywhere else "me"}
    f = asked(body, path=f"/v1/chat/completions?a=1&{query}={SECRET}", x_echo=f"for {SECRET}")
    f.request.headers[header] = f"Bearer {SECRET}"
    answer = f'data: {{"error":"no such key {SECRET}","{name}":"{SECRET}"}}\n\n'.encode()
    record(addon, f, answer[:cut], answer[cut:], set_cookie=f"sid={SECRET}; Path=/", x_said=SECRET)
    [(file, recording)] = [(p, r) for p, r in recorded(addon, tmp_path) if p not in before]
    assert SECRET not in file.read_text()
    assert len(recording.body) == len(answer)
    assert recording.header.request.body["model"] == "gpt-4o"


def test_a_websocket_session_is_recorded_by_message_without_credentials(addon: RecordStreams, tmp_path: Path) -> None:
    f = tflow.twebsocketflow(messages=False)
    f.request = http.Request.make("GET", "https://api.openai.com/v1/realtime?model=gpt-realtime")
    f.request.headers["upgrade"] = "websocket"
    f.response, opened = None, http.Response.make(101)
    data, f.websocket = f.websocket, None
    f.live = True
    assert data is not None
    addon.request(f)
    f.response, f.websocket = opened, data
    addon.responseheaders(f)
    addon.response(f)
    tool = {"type": "mcp", "headers": {"X-Any": SECRET}}
    said = [(False, '{"type":"session.created"}'), (True, json.dumps({"tools": [tool]})), (False, f"echo {SECRET}")]
    for from_client, text in said:
        data.messages.append(WebSocketMessage(Opcode.TEXT, from_client, text.encode()))
        addon.websocket_message(f)
    data.messages.append(WebSocketMessage(Opcode.BINARY, True, b"\x00\xff"))
    addon.websocket_message(f)
    data.closed_by_client, data.close_code = True, 1000
    addon.websocket_end(f)
    [(file, recording)] = recorded(addon, tmp_path)
    assert SECRET not in file.read_text()
    sides = [(chunk.sender, chunk.opcode) for chunk in recording.chunks]
    assert sides == [("provider", "text"), ("client", "text"), ("provider", "text"), ("client", "binary")]
    assert recording.chunks[0].data == b'{"type":"session.created"}'
    assert recording.chunks[3].data == b"\x00\xff"
    assert (recording.end, recording.header.dialect) == ("complete", "openai_realtime")


def test_a_disk_that_hangs_gives_up_the_recording_and_not_the_stream(
    addon: RecordStreams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hang = threading.Event()
    monkeypatch.setattr(recorder, "QUEUE_LIMIT", 100_000)
    write = recorder._File.chunk
    monkeypatch.setattr(recorder._File, "chunk", lambda self, chunk: hang.wait(20) and write(self, chunk))
    f = asked()
    addon.request(f)
    answered(f)
    addon.responseheaders(f)
    chunks = [b"x" * 10_000] * 30
    assert passed(f, *chunks) == chunks
    addon.response(f)
    hang.set()
    assert recorded(addon, tmp_path) == []
    assert caplog.text.count("given up: the disk is too slow") == 1


def test_a_folder_taken_away_gives_up_the_recording_and_not_the_stream(
    addon: RecordStreams, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "openai_chat").write_text("in the way")
    record(addon, asked(), *CHUNKS)
    record(addon, asked({**BODY, "input": "x"}, path="/v1/responses"), *CHUNKS)
    assert [file.parent.name for file, _ in recorded(addon, tmp_path)] == ["openai_responses"]
    assert caplog.text.count("given up") == 1


def test_a_recording_over_the_limit_is_given_up(
    addon: RecordStreams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert RECORDING_LIMIT > recorder.QUEUE_LIMIT
    monkeypatch.setattr("record_streams.RECORDING_LIMIT", 1000)
    record(addon, asked(), b"x" * 600, b"y" * 600)
    assert recorded(addon, tmp_path) == []


def test_only_so_many_are_written_at_once(
    addon: RecordStreams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "OPEN_LIMIT", 2)
    several = [asked() for _ in range(3)]
    for f in several:
        addon.request(f)
        answered(f)
        addon.responseheaders(f)
    for f in several:
        assert passed(f, *CHUNKS) == CHUNKS
    for f in several:
        passed(f, b"")
        addon.response(f)
    assert len(recorded(addon, tmp_path)) == 2


def test_the_head_and_the_id_are_those_that_later_addons_gave_the_flow(addon: RecordStreams, tmp_path: Path) -> None:
    """The relay's: it puts the provider's head back once this addon has seen its own."""
    f = asked()
    addon.request(f)
    f.metadata[flows.STREAM] = "its-row"
    answered(f, content_type="application/octet-stream")
    addon.responseheaders(f)
    assert f.response is not None
    f.response.headers["content-type"] = "text/event-stream"
    passed(f, *CHUNKS, b"")
    addon.response(f)
    [(file, recording)] = recorded(addon, tmp_path)
    assert recording.header.response.headers["content-type"] == "text/event-stream"
    assert file.stem.endswith("-its-row")


def test_without_a_folder_nothing_is_touched() -> None:
    addon = RecordStreams()
    with taddons.context(addon) as context:
        context.configure(addon, midstream_recordings="")
        f = asked()
        addon.request(f)
        answered(f)
        addon.responseheaders(f)
        assert f.response is not None
        assert f.response.stream is False


def test_a_path_that_can_be_no_folder_is_quoted(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    addon = RecordStreams()
    with taddons.context(addon) as context, pytest.raises(exceptions.OptionsError, match="file/x"):
        context.configure(addon, midstream_recordings=str(tmp_path / "file" / "x"))
