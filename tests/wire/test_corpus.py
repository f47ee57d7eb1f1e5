"""Every recorded body, at every telling chunk size, against an independent reading of the same bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest

import exchanges
from exchanges import Exchange
from midstream.wire import Frame
from midstream.wire.eventstream import EventStreamDecoder, encode_eventstream
from midstream.wire.json_array import JsonArrayDecoder
from midstream.wire.json_text import parse_json
from midstream.wire.ndjson import NdjsonDecoder
from midstream.wire.sse import SseDecoder
from wire.feeding import Make, datas, pieces, whole
from wire.test_eventstream import botocore_reads
from wire.test_sse import by_the_book


def framed(framing: str) -> list[Any]:
    return [pytest.param(e, id=e.id) for e in exchanges.corpus() if e.framing == framing]


def same_at_every_size(make: Make, exchange: Exchange) -> list[Frame]:
    frames = whole(make, exchange.body)
    for size in exchanges.sizes(exchange.body):
        assert pieces(make, exchange.body, size) == frames
    assert len(datas(frames)) == len(frames)
    assert frames[-1].end <= len(exchange.body)
    return [frame for frame in frames if isinstance(frame, Frame)]


@pytest.mark.parametrize("exchange", framed("sse"))
def test_sse_bodies(exchange: Exchange) -> None:
    frames = same_at_every_size(SseDecoder, exchange)
    assert [(f.event, f.data, f.id) for f in frames] == by_the_book(exchange.body)
    assert sum(f.data != b"[DONE]" for f in frames) == exchange.expect["event_count"]


@pytest.mark.parametrize("exchange", framed("ndjson"))
def test_ndjson_bodies(exchange: Exchange) -> None:
    frames = same_at_every_size(NdjsonDecoder, exchange)
    assert [f.data for f in frames] == exchange.body.splitlines()
    assert len(frames) == exchange.expect["event_count"]


@pytest.mark.parametrize("exchange", framed("json-array"))
def test_json_array_bodies(exchange: Exchange) -> None:
    frames = same_at_every_size(JsonArrayDecoder, exchange)
    assert [parse_json(f.data) for f in frames] == json.loads(exchange.body)
    assert len(frames) == exchange.expect["event_count"]


@pytest.mark.parametrize("exchange", framed("eventstream"))
def test_eventstream_bodies_as_botocore_reads_them(exchange: Exchange) -> None:
    frames = same_at_every_size(EventStreamDecoder, exchange)
    read = botocore_reads(exchange.body)
    assert [(f.event, f.data) for f in frames] == [(headers[":event-type"], payload) for headers, payload in read]
    assert len(frames) == exchange.expect["event_count"]
    assert b"".join(encode_eventstream(headers, payload) for headers, payload in read) == exchange.body


@pytest.mark.parametrize("exchange", framed("sse"))
def test_sse_bodies_with_other_line_ends(exchange: Exchange) -> None:
    frames = whole(SseDecoder, exchange.body)
    lf = exchange.body.replace(b"\r\n", b"\n")
    for end in (b"\n", b"\r\n", b"\r"):
        body = lf.replace(b"\n", end)
        assert datas(pieces(SseDecoder, body, 1460)) == datas(frames)
