"""AnswerDecoder for whoever passes the body on frame by frame."""

from __future__ import annotations

import pytest

import resuming
from midstream.dialects.answer import AnswerDecoder
from midstream.dialects.anthropic.messages import ANTHROPIC_MESSAGES
from midstream.dialects.base import TRUNCATED, Dialect
from midstream.dialects.bedrock.converse import BEDROCK_CONVERSE
from midstream.dialects.gemini.generate import GEMINI
from midstream.dialects.ollama.chat import OLLAMA
from midstream.dialects.openai.chat import OPENAI_CHAT
from midstream.dialects.openai.responses import OPENAI_RESPONSES
from midstream.events import END, Event, Malformed, Start, Text
from midstream.wire.framing import FramingName
from resuming import Native

CHUNK = b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
NAMES = ("openai_chat", "openai_responses", "anthropic_messages", "gemini", "ollama", "bedrock_converse", "cohere")
STREAMS = [stream for name in NAMES for stream in resuming.streams(name) if "/" not in stream.id]


def cut(stream: Native, size: int) -> list[tuple[int, list[Event]]]:
    decoder = AnswerDecoder(stream.dialect, content_type=stream.content_type)
    frames = [f for at in range(0, len(stream.body), size) for f in decoder.feed_frames(stream.body[at : at + size])]
    return frames + decoder.close_frames()


@pytest.mark.parametrize("stream", STREAMS, ids=lambda s: f"{s.dialect.name}/{s.id}")
def test_a_body_cut_at_frames_is_the_same_at_every_chunk_size(stream: Native) -> None:
    whole = AnswerDecoder(stream.dialect, content_type=stream.content_type)
    events = whole.feed(stream.body) + whole.close()
    for size in (1, 7, 64, 1460, len(stream.body)):
        frames = cut(stream, size)
        assert [event for _, said in frames for event in said] == events
        ends = [end for end, _ in frames]
        assert ends == sorted(ends)
        assert [end for end, said in frames[:-1] if said] == list(stream.ends)
        assert ends[-1] == len(stream.body)


@pytest.mark.parametrize("stream", STREAMS, ids=lambda s: f"{s.dialect.name}/{s.id}")
def test_what_stands_before_an_offset_means_the_events_before_it(stream: Native) -> None:
    for number in (1, len(stream.ends) // 2, len(stream.ends)):
        decoder = AnswerDecoder(stream.dialect, content_type=stream.content_type)
        assert decoder.feed(stream.body[: stream.ends[number - 1]]) == [e for s in stream.said[:number] for e in s]


def test_comments_may_be_passed_on_before_the_next_frame() -> None:
    decoder = AnswerDecoder(OPENAI_CHAT)
    comment = b": PROCESSING\n\n"
    assert decoder.feed_frames(comment) == [(len(comment), [])]
    (frame, more) = decoder.feed_frames(CHUNK + comment + b": half")
    assert (frame[0], more) == (len(comment + CHUNK), (len(comment + CHUNK + comment), []))
    assert decoder.feed_frames(b" a comment") == []


def test_half_a_frame_is_no_frame() -> None:
    decoder = AnswerDecoder(OPENAI_CHAT)
    assert decoder.feed_frames(CHUNK[:-1]) == []
    ((end, events),) = decoder.feed_frames(CHUNK[-1:])
    assert (end, events[-1]) == (len(CHUNK), Text("a"))


def test_a_frame_that_cannot_be_read_has_its_place() -> None:
    decoder = AnswerDecoder(OPENAI_CHAT)
    bad = b"data: {\n\n"
    (first, second, third) = decoder.feed_frames(CHUNK + bad + CHUNK)
    assert (second[0], [type(event) for event in second[1]]) == (first[0] + len(bad), [Malformed])
    assert third == (second[0] + len(CHUNK), [Text("a")])


def test_an_end_that_cuts_a_frame_is_truncated() -> None:
    decoder = AnswerDecoder(OPENAI_CHAT)
    decoder.feed_frames(CHUNK + CHUNK[:20])
    (rest, end) = decoder.close_frames()
    assert [type(event) for event in rest[1]] == [Malformed]
    assert end == (len(CHUNK) + 20, [TRUNCATED])


def test_a_last_line_needs_no_end() -> None:
    decoder = AnswerDecoder(OLLAMA)
    line = b'{"model":"m","message":{"content":"a"},"done":true}'
    assert decoder.feed_frames(line) == []
    assert decoder.close_frames() == [(len(line), [Start(model="m"), Text("a"), END]), (len(line), [])]


@pytest.mark.parametrize(
    ("dialect", "start", "content_type", "name"),
    [
        (OPENAI_CHAT, b"data: {}\n\n", "", "sse"),
        (OPENAI_CHAT, b"{", "application/json", "whole"),
        (GEMINI, b"[{}", "application/json", "json_array"),
        (OLLAMA, b"{}\n", "", "ndjson"),
        (BEDROCK_CONVERSE, b"\0\0\0", "", "eventstream"),
    ],
)
def test_the_framing_is_known_from_the_first_byte_on(
    dialect: Dialect, start: bytes, content_type: str, name: FramingName
) -> None:
    decoder = AnswerDecoder(dialect, content_type=content_type)
    assert (decoder.framing, decoder.decoder) == (None, None)
    decoder.feed_frames(start)
    assert decoder.framing == name
    assert decoder.decoder is not None


@pytest.mark.parametrize(
    ("dialect", "path", "name"),
    [
        (OPENAI_CHAT, "/v1/chat/completions", "sse"),
        (OPENAI_RESPONSES, "/v1/responses", "sse"),
        (ANTHROPIC_MESSAGES, "/v1/messages?beta=true", "sse"),
        (GEMINI, "/v1beta/models/m:streamGenerateContent?alt=sse", "sse"),
        (GEMINI, "/v1beta/models/m:streamGenerateContent?key=k&$alt=sse", "sse"),
        (GEMINI, "/v1beta/models/m:streamGenerateContent?key=k", "json_array"),
        (GEMINI, "/v1beta/models/m:streamGenerateContent", "json_array"),
        (OLLAMA, "/api/chat", "ndjson"),
        (BEDROCK_CONVERSE, "/model/m/converse-stream", "eventstream"),
    ],
)
def test_a_client_expects_its_dialects_framing(dialect: Dialect, path: str, name: FramingName) -> None:
    assert dialect.framing(path, {}) == name
