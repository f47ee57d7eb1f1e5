"""The recording format: what is dumped parses back, and what is wrong is named by file and line."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midstream.recording import Chunk, Header, RecordedRequest, RecordedResponse, Recording, dump, parse, read

HEADER = json.dumps({"midstream_recording": 1, "request": {"url": "https://h/p"}, "response": {"status": 200}})
END = '{"end": "complete"}'

PAUSES = st.integers(0, 10_000).map(lambda n: n / 8)
TEXTS = st.text(max_size=20)
HEADERS = st.dictionaries(st.sampled_from(("content-type", "x-a")), st.text("ab c;=é", max_size=8))
SIDES = st.sampled_from(("provider", "client"))
OPCODES = st.sampled_from(("text", "binary"))


@st.composite
def recordings(draw: st.DrawFn) -> Recording:
    websocket = draw(st.booleans())
    header = Header(
        source=draw(TEXTS),
        license="MIT",
        pace=draw(TEXTS),
        dialect="openai_chat",
        provider="openai",
        request=RecordedRequest(
            url="https://h/p", headers=draw(HEADERS), body=draw(st.none() | TEXTS | st.lists(st.integers()))
        ),
        response=RecordedResponse(status=101 if websocket else draw(st.integers(200, 599)), headers=draw(HEADERS)),
        expect=draw(st.none() | st.just({"text": "é"})),
        more={"sha256": "x"},
    )
    chunk = st.builds(Chunk, PAUSES, st.binary(max_size=20) | TEXTS.map(str.encode))
    message = st.builds(Chunk, PAUSES, st.binary(max_size=20) | TEXTS.map(str.encode), SIDES, OPCODES)
    chunks = tuple(draw(st.lists(message if websocket else chunk, max_size=5)))
    return Recording(
        header, chunks, draw(st.sampled_from(("complete", "truncated", "client_gone"))), draw(PAUSES), "recording"
    )


@given(recordings())
def test_what_is_dumped_parses_back_the_same(recording: Recording) -> None:
    text = dump(recording)
    assert parse(text.split("\n")) == recording
    text.encode("utf-8")


def test_a_character_cut_in_two_keeps_its_bytes() -> None:
    header = Header(request=RecordedRequest(url="u"), response=RecordedResponse())
    recording = Recording(header, (Chunk(0, "é".encode()[:1]), Chunk(0, "é".encode()[1:] + b"\r")), name="recording")
    lines = dump(recording).splitlines()
    assert json.loads(lines[1]) == {"pause_ms": 0, "base64": "ww=="}
    assert parse(lines).body == "é\r".encode()


def test_line_separators_inside_a_text_end_no_line(tmp_path: Path) -> None:
    header = Header(request=RecordedRequest(url="u"), response=RecordedResponse())
    file = tmp_path / "r.jsonl"
    recording = Recording(header, (Chunk(1, "a\u2028b\x85c".encode()),), name=str(file))
    file.write_text(dump(recording), encoding="utf-8")
    assert read(file) == recording


def test_a_lone_surrogate_in_a_request_is_written_and_read() -> None:
    header = Header(request=RecordedRequest(url="u", body={"content": "\ud83d"}), response=RecordedResponse())
    text = dump(Recording(header, ()))
    assert parse(text.encode("utf-8").decode().split("\n")).header.request.body == {"content": "\ud83d"}


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ([], "some.jsonl, line 1: no header"),
        (["nonsense"], "some.jsonl, line 1: not JSON"),
        (["[1]"], "some.jsonl, line 1: not a JSON object"),
        (["{}"], "some.jsonl, line 1: not a recording"),
        ([HEADER.replace("1", "2", 1)], '"midstream_recording" is 2, not 1'),
        ([HEADER.replace('"url"', '"uri"'), END], 'some.jsonl, line 1: "url" is missing'),
        ([HEADER.replace("200", '"200"'), END], "line 1: \"status\" is '200', not int"),
        ([HEADER.replace("200", "7"), END], 'line 1: "status" is 7'),
        ([HEADER.replace("200", '200, "headers": {"a": 1}'), END], 'the header "a" is 1'),
        ([HEADER.replace("200", '200, "headers": {"a": "b\\r\\nc"}'), END], 'the header "a" has a line break'),
        ([HEADER, '{"pause_ms": 1}', END], 'some.jsonl, line 2: a chunk needs "text"'),
        ([HEADER, '{"pause_ms": -1, "text": "a"}', END], 'line 2: "pause_ms" is -1'),
        ([HEADER, '{"pause_ms": NaN, "text": "a"}', END], 'line 2: "pause_ms" is nan'),
        ([HEADER, '{"base64": "?"}', END], 'line 2: "base64" is not'),
        ([HEADER, '{"text": "\\ud83d"}', END], 'line 2: "text" has half a surrogate'),
        ([HEADER, '{"text": "a", "from": "me"}', END], "line 2: \"from\" is 'me'"),
        ([HEADER, '{"text": "a", "opcode": 1}', END], 'line 2: "opcode" is 1'),
        ([HEADER, '{"end": "maybe"}'], "line 2: \"end\" is 'maybe'"),
        ([HEADER, '{"text": "a"}'], "line 3: no last line"),
        ([HEADER, END, '{"text": "a"}'], "line 3: nothing may follow"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(lines: list[str], complaint: str) -> None:
    with pytest.raises(ValueError, match=r"some\.jsonl") as e:
        parse(lines, name="some.jsonl")
    assert complaint in str(e.value)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(b"\xff")
    with pytest.raises(ValueError, match=r"x\.jsonl: not UTF-8"):
        read(tmp_path / "x.jsonl")


@given(st.lists(st.text(max_size=30) | st.sampled_from((HEADER, END, '{"text":"a"}')), max_size=5))
def test_arbitrary_lines_raise_value_error_or_parse(lines: list[str]) -> None:
    with contextlib.suppress(ValueError):
        parse(lines)
