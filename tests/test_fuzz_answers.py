"""Recorded answers, damaged: no decoder raises, none keeps what it has not named, and time grows with the bytes alone."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midstream import recording
from midstream.dialects.answer import AnswerDecoder
from midstream.dialects.base import AnswerOptions, Dialect, Unwritable
from midstream.dialects.registry import DIALECTS
from midstream.dialects.unknown import UNKNOWN
from midstream.events import END, Event, Failure
from midstream.observation import Observation, StreamRecord
from midstream.wire import FRAME_LIMIT

FOLDER = Path(__file__).parent.parent / "recordings"
BY_NAME: dict[str, Dialect] = {dialect.name: dialect for dialect in (*DIALECTS, UNKNOWN)}
RECORDINGS = [r for file in sorted(FOLDER.glob("*/*.jsonl")) if not (r := recording.read(file)).header.websocket]
OPTIONS = AnswerOptions(id="x", model="m", created=1, path="/api/chat")

VALUE = re.compile(rb'(?<=[:\[,])\s*("(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|true|false|null|\{\}|\[\])')
WRONG = (
    b"null", b"true", b"1e400", b"-1", b"NaN", b"1.5", b"[]", b"{}", b'""', b'"x"', b'"\\ud800"', b'"\\u0000"', b"[[[[",
    b"18446744073709551616", b"9" * 400, b'{"a":' * 210, b"\xff", b"\r\n\r\n", b"\n\n", b"data:", b"event: error\n",
)  # fmt: skip
"""Values of another type than was meant, and bytes that mean something to a framing."""


def damaged(body: bytes, blows: Sequence[tuple[int, int, bytes]]) -> bytes:
    """A body with some of its JSON values replaced, and bytes overwritten, removed or inserted."""
    for how, where, what in blows:
        at = where % (len(body) + 1)
        if how == 0 and (found := VALUE.search(body, at)):
            body = body[: found.start(1)] + what + body[found.end(1) :]
        elif how == 1:
            body = body[:at] + what + body[at + len(what) :]
        elif how == 2:
            body = body[:at] + body[at + 1 + len(what) :]
        else:
            body = body[:at] + what + body[at:]
    return body


BLOWS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 1 << 20), st.sampled_from(WRONG) | st.binary(min_size=1, max_size=4)),
    min_size=1,
    max_size=6,
)


@settings(max_examples=300)
@given(st.sampled_from(RECORDINGS), BLOWS, st.sampled_from((7, 100, 1 << 20)), st.sampled_from([None, *BY_NAME]))
def test_a_damaged_answer_raises_nothing(
    recorded: recording.Recording, blows: list[tuple[int, int, bytes]], size: int, other: str | None
) -> None:
    """Read in its own dialect or in any other; measured; and said again in every dialect that is written."""
    head = recorded.header
    dialect = BY_NAME[other or head.dialect]
    body = damaged(recorded.body[:6_000], blows)
    content_type = head.response.headers.get("content-type", "")
    by_bytes, by_frames = (AnswerDecoder(dialect, status=head.response.status, content_type=content_type) for _ in "ab")
    events: list[Event] = []
    framed: list[Event] = []
    for at in range(0, len(body), size):
        events += by_bytes.feed(body[at : at + size])
        framed += [event for _, some in by_frames.feed_frames(body[at : at + size]) for event in some]
    events += by_bytes.close()
    framed += [event for _, some in by_frames.close_frames() for event in some]
    assert repr(events) == repr(framed)  # not by ==: there may be a NaN in it
    measured = Observation(StreamRecord(id="x", started_at="2026-11-26T00:00:00Z"), 0.0)
    measured.feed(events, 1.0)
    assert measured.settle("complete", 2.0).outcome in ("complete", "truncated", "failed")
    for target in BY_NAME.values():
        said_again(target, events)


def said_again(target: Dialect, events: list[Event]) -> None:
    if target.encoder is None or target.write_answer is None:
        return
    encoder = target.encoder(OPTIONS)
    for event in events:
        for frame in encoder.feed(event):
            frame.data.decode()
        if event is END or isinstance(event, Failure):
            break
    with contextlib.suppress(Unwritable):
        target.write_answer(events, OPTIONS)


BEGINNINGS = {
    "sse": (b"data: ", "text/event-stream"),
    "sse comment": (b":", "text/event-stream"),
    "sse lines": (b"data: x\ndata: ", "text/event-stream"),
    "sse CRs": (b"data: x\r", "text/event-stream"),
    "ndjson": (b'{"a":"', "application/x-ndjson"),
    "array string": (b'[{"a":"', "application/json"),
    "array of backslashes": (b'["\\\\', "application/json"),
    "array nesting": (b"[{", "application/json"),
    "whole": (b'{"a":"', "application/json"),
    "event-stream": (b"\0\0\0\x10", "application/vnd.amazon.eventstream"),
    "white space": (b" " * 2000, ""),
}


@pytest.mark.parametrize("what", BEGINNINGS)
def test_what_never_ends_is_held_up_to_a_limit(what: str) -> None:
    begin, content_type = BEGINNINGS[what]
    decoder = AnswerDecoder(BY_NAME["openai_chat"], content_type=content_type)
    decoder.feed(begin)
    piece = b"x" * (1 << 20)
    for _ in range(20):
        decoder.feed(piece)
    assert kept(decoder) <= FRAME_LIMIT + (2 << 20)


def kept(thing: object, depth: int = 0) -> int:
    """Bytes in this object's fields, and in theirs."""
    if isinstance(thing, bytes | bytearray | str):
        return len(thing)
    if isinstance(thing, list | tuple):
        return sum(kept(one, depth + 1) for one in thing) if depth < 6 else 0
    fields = getattr(thing, "__dict__", None)
    return sum(kept(one, depth + 1) for one in fields.values()) if fields is not None and depth < 6 else 0
