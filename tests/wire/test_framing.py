from __future__ import annotations

import json

import pytest

from midstream.wire import Frame, FrameDecoder
from midstream.wire.eventstream import EventStreamDecoder
from midstream.wire.framing import CONTENT_TYPES, Framing, FramingName
from midstream.wire.json_array import JsonArrayDecoder
from midstream.wire.ndjson import NdjsonDecoder
from midstream.wire.sse import SseDecoder

DECODERS: dict[FramingName, type[FrameDecoder]] = {
    "sse": SseDecoder,
    "ndjson": NdjsonDecoder,
    "json_array": JsonArrayDecoder,
    "eventstream": EventStreamDecoder,
}
FRAMES = [Frame(b'{"a":1}'), Frame('{"b":"é,]"}'.encode()), Frame(b"[3]")]


@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_reads_the_frames_back(name: FramingName) -> None:
    framing, decoder = Framing(name), DECODERS[name]()
    body = framing.write(FRAMES[:1]) + framing.write(FRAMES[1:]) + framing.close()
    frames = decoder.feed(body) + decoder.close()
    assert [frame.data for frame in frames if isinstance(frame, Frame)] == [frame.data for frame in FRAMES]


def test_sse_names_an_event_where_it_has_a_name() -> None:
    frames = [Frame(b"{}"), Frame(b"{}", event="message_stop")]
    assert Framing("sse").write(frames) == b"data: {}\n\nevent: message_stop\ndata: {}\n\n"


def test_a_line_end_breaks_out_of_no_sse_field() -> None:
    body = Framing("sse").write([Frame(b"a\ndata: b\r\r", event="x\n\ndata: y")])
    (frame,) = SseDecoder().feed(body)
    assert isinstance(frame, Frame)
    assert (frame.data, frame.event) == (b"a\ndata: b\n\n", "xdata: y")


def test_a_json_array_is_one_however_it_is_written() -> None:
    framing = Framing("json_array")
    assert json.loads(framing.write(FRAMES[:1]) + framing.write(FRAMES[1:]) + framing.close()) == [
        {"a": 1},
        {"b": "é,]"},
        [3],
    ]
    assert Framing("json_array").close() == b"[]"


def test_a_json_array_goes_on_behind_an_element_of_somebody_elses() -> None:
    framing = Framing("json_array", begun=True)
    assert json.loads(b'[ {"a":1}' + framing.write(FRAMES[1:]) + framing.close()) == [{"a": 1}, {"b": "é,]"}, [3]]
    assert json.loads(b'[ {"a":1}' + Framing("json_array", begun=True).close()) == [{"a": 1}]


def test_a_json_array_closes_once() -> None:
    framing = Framing("json_array")
    assert (framing.close(), framing.close()) == (b"[]", b"")


@pytest.mark.parametrize("name", ["sse", "ndjson", "eventstream", "whole"])
def test_no_other_framing_has_anything_to_close(name: FramingName) -> None:
    assert Framing(name).close() == b""


def test_a_whole_answer_is_its_frame() -> None:
    assert Framing("whole").write(FRAMES[:1]) == b'{"a":1}'


@pytest.mark.parametrize("name", CONTENT_TYPES)
def test_the_content_type_is_the_framings(name: FramingName) -> None:
    assert Framing(name).content_type == CONTENT_TYPES[name]
