"""Every recording that midstream comes with: parses, has the bytes of its source, and decodes to what it says it should."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import exchanges
from midstream.dialects.answer import AnswerDecoder
from midstream.dialects.registry import DIALECTS, Match, recognise, recognise_websocket
from midstream.events import End, Event, Failure, Start
from midstream.recording import Header, Recording, dump, parse, read
from midstream.redaction import Redactor
from midstream.replay.catalogue import of_header
from midstream.wire import Frame

FOLDER = Path(__file__).parent.parent / "recordings"
FILES = sorted(FOLDER.glob("*/*.jsonl"))
RECORDINGS = {f"{file.parent.name}/{file.stem}": read(file) for file in FILES}
SESSIONS = [name for name, r in RECORDINGS.items() if r.header.websocket]
ANSWERS = [name for name, r in RECORDINGS.items() if not r.header.websocket and r.header.dialect != "unknown"]


def test_there_are_recordings_of_every_dialect_and_of_nothing_else() -> None:
    assert {file.parent.name for file in FILES} == {*(dialect.name for dialect in DIALECTS), "unknown"}


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recording_has_the_bytes_of_its_source_and_says_whose_it_is(name: str) -> None:
    header = RECORDINGS[name].header
    assert hashlib.sha256(RECORDINGS[name].body).hexdigest() == header.more["sha256"]
    assert header.source.startswith("https://github.com/")
    assert header.license in ("MIT", "Apache-2.0", "Apache-2.0 OR BSD-3-Clause")
    assert header.dialect == name.partition("/")[0]
    assert header.pace.startswith("made up")


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recording_dumps_to_its_own_file(name: str) -> None:
    text = (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8")
    assert dump(parse(text.split("\n"))) == text


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recording_holds_no_credential(name: str) -> None:
    recording, redactor = RECORDINGS[name], Redactor()
    request, response = recording.header.request, recording.header.response
    assert redactor.headers(request.headers.items()) == request.headers
    assert redactor.headers(response.headers.items()) == response.headers
    assert redactor.url(request.url) == request.url
    assert redactor.body(request.body) == request.body
    assert redactor.mask(recording.body) == recording.body


@pytest.mark.parametrize("name", [*ANSWERS, *SESSIONS])
def test_a_recorded_request_is_recognised(name: str) -> None:
    header = RECORDINGS[name].header
    assert match_of(header).dialect.name == header.dialect


@pytest.mark.parametrize("name", ANSWERS)
def test_a_recorded_answer_decodes_to_what_is_expected_at_every_chunk_size(name: str) -> None:
    recording = RECORDINGS[name]
    for size in exchanges.sizes(recording.body):
        check(exchanges.fold(decode(recording, size)), recording)


@pytest.mark.parametrize("name", SESSIONS)
def test_a_recorded_session_decodes_to_what_is_expected(name: str) -> None:
    recording = RECORDINGS[name]
    new_session = match_of(recording.header).dialect.session
    assert new_session is not None
    session = new_session()
    events = [e for c in recording.chunks for e in session.feed(Frame(c.data), from_client=c.sender == "client")]
    expect = recording.header.expect or {}
    said = exchanges.fold(events)
    assert said.text == expect["text"]
    assert (said.transcript or None) == expect.get("audio_transcript")
    assert [call["name"] for call in said.tool_calls] == [call["name"] for call in expect["tool_calls"]]
    assert sum(isinstance(event, Start) for event in events) == sum(isinstance(event, End) for event in events) > 0
    assert said.failure is None


def match_of(header: Header) -> Match:
    """What the proxy would have made of its request: a name may be shared by two versions of an API (Cohere's)."""
    wanted = of_header(header)
    if header.websocket:
        match = recognise_websocket(wanted.host, wanted.path)
    else:
        match = recognise(wanted.host, wanted.path, json.dumps(header.request.body).encode())
    assert match is not None
    return match


def decode(recording: Recording, size: int) -> list[Event]:
    response = recording.header.response
    decoder = AnswerDecoder(
        match_of(recording.header).dialect,
        status=response.status,
        content_type=response.headers.get("content-type", ""),
        content_encoding=response.headers.get("content-encoding", ""),
    )
    events: list[Event] = []
    for at in range(0, len(recording.body), size):
        events += decoder.feed(recording.body[at : at + size])
    return events + decoder.close()


def check(said: exchanges.Said, recording: Recording) -> None:
    expect = recording.header.expect
    assert expect is not None
    assert said.malformed == []
    if recording.header.response.status >= 400:
        assert said.failure is not None
        assert said.failure.status == recording.header.response.status
        assert said.failure.message in json.dumps(expect["error"]).replace("\\n", "\n").replace('\\"', '"')
        return
    assert said.text == expect["text"]
    assert (said.reasoning or None) == (expect.get("reasoning") or None)
    assert (said.refusal or None) == (expect.get("refusal") or None)
    assert said.usage == expect.get("usage")
    assert said.finish_reason == expect["finish_reason"]
    asked_for = match_of(recording.header).facts.model  # Bedrock and Cohere say nothing of the model in their answers
    assert (said.model or asked_for) == (expect.get("model") or asked_for)
    # a call with a `kind` is of a tool that the provider runs itself (ServerTool): the client has nothing to do for it
    own = [call for call in expect["tool_calls"] if "kind" not in call]
    assert [calls(call) for call in said.tool_calls] == [calls(call) for call in own]
    assert (said.failure is not None) == (expect.get("error") is not None)
    assert said.ended or isinstance(said.failure, Failure)


def calls(call: Mapping[str, Any]) -> tuple[str, Any]:
    """A tool call, its arguments parsed: some dialects have an object on the wire, some the text of one."""
    arguments = call["arguments"]
    return call["name"], json.loads(arguments or "{}") if isinstance(arguments, str) else arguments


def test_the_table_lists_every_recording_with_its_licence() -> None:
    rows = dict(
        re.findall(r"^\| \[([^\]]+)\.jsonl\].*\| ([^|]+) \| [^|]+ \|$", (FOLDER / "README.md").read_text(), re.M)
    )
    assert rows == {name: recording.header.license for name, recording in RECORDINGS.items()}
