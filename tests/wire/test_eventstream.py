"""AWS event-stream, with botocore's own buffer as the oracle."""

from __future__ import annotations

import struct
from binascii import crc32
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from midstream.wire import Damage, Frame
from midstream.wire.eventstream import EventStreamDecoder, encode_eventstream, read_headers
from wire.feeding import CUTS, Frames, cut, datas, pieces, whole

EVENT = encode_eventstream(
    {":message-type": "event", ":event-type": "chunk", ":content-type": "application/json"}, b'{"a":1}'
)

# The event-stream specification's own test vectors, as botocore's and smithy's tests carry them.
EMPTY_MESSAGE = bytes.fromhex("000000100000000005c248eb7d98c8ff")
INT32_HEADER = bytes.fromhex(
    "0000002d0000001041c424b80a6576656e742d74797065040000a00c7b27666f6f273a27626172277d36f480a0"
)
ALL_HEADERS = {
    **{"0": True, "1": False, "2": -1, "3": -2, "4": -3, "5": -(1 << 40), "8": 1_700_000_000_000},
    **{"6": b"\xff\0", "7": "é", "9": bytes(range(16))},
}


def message(headers: bytes, payload: bytes) -> bytes:
    lengths = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    start = lengths + struct.pack("!I", crc32(lengths)) + headers + payload
    return start + struct.pack("!I", crc32(start))


def string_header(name: str, value: str) -> bytes:
    return bytes((len(name),)) + name.encode() + b"\7" + struct.pack("!H", len(value)) + value.encode()


def botocore_reads(body: bytes) -> list[tuple[dict[str, Any], bytes]]:
    buffer = EventStreamBuffer()
    buffer.add_data(body)
    return [(event.headers, event.payload) for event in buffer]


def test_spec_vector_empty_message() -> None:
    assert whole(EventStreamDecoder, EMPTY_MESSAGE) == [Frame(b"", 16)]


def test_spec_vector_int32_header() -> None:
    assert whole(EventStreamDecoder, INT32_HEADER) == [Frame(b"{'foo':'bar'}", 45)]


def test_event_has_its_type_and_payload() -> None:
    assert whole(EventStreamDecoder, EVENT * 2) == [
        Frame(b'{"a":1}', len(EVENT), "chunk"),
        Frame(b'{"a":1}', 2 * len(EVENT), "chunk"),
    ]


def test_exception_has_its_exception_type() -> None:
    body = encode_eventstream(
        {":message-type": "exception", ":exception-type": "throttlingException"}, b'{"message":"slow"}'
    )
    assert whole(EventStreamDecoder, body) == [Frame(b'{"message":"slow"}', len(body), "throttlingException")]


def test_error_has_its_code_and_its_message_as_json() -> None:
    headers = {":message-type": "error", ":error-code": "InternalError", ":error-message": 'a "bad" day'}
    body = encode_eventstream(headers, b"")
    assert whole(EventStreamDecoder, body) == [Frame(b'{"message":"a \\"bad\\" day"}', len(body), "InternalError")]
    body = encode_eventstream(headers, b"<own>")
    assert datas(whole(EventStreamDecoder, body)) == [b"<own>"]


def test_every_header_type_is_read_past() -> None:
    raw = b"\x010\0" + b"\x011\1" + b"\x012\2\xff" + b"\x013\3\xff\xfe" + b"\x014\4\xff\xff\xff\xfd"
    raw += b"\x015\5" + struct.pack("!q", -(1 << 40)) + b"\x018\x08" + struct.pack("!q", 1_700_000_000_000)
    raw += b"\x016\6\0\2\xff\0" + b"\x017\7\0\2\xc3\xa9" + b"\x019\x09" + bytes(range(16))
    assert read_headers(raw) == ALL_HEADERS
    body = message(raw + string_header(":event-type", "last"), b"p")
    assert {**botocore_reads(body)[0][0]} == {**ALL_HEADERS, ":event-type": "last"}
    assert whole(EventStreamDecoder, body) == [Frame(b"p", len(body), "last")]


def test_event_type_that_is_no_string_is_none() -> None:
    assert whole(EventStreamDecoder, message(b"\x0b:event-type\0", b"p")) == [Frame(b"p", 30)]


@pytest.mark.parametrize(
    "headers",
    [
        b"\x05ab",  # a name that is cut off
        b"\x01a",  # no type
        b"\x01a\x0a",  # an unknown type
        b"\x01a\4\0\0",  # an integer cut off
        b"\x01a\7\0\x05ab",  # a string cut off
        b"\x01a\7\0",  # its length cut off
        b"\x01a\x09abc",  # a UUID cut off
        b"\x01\xff\0",  # a name that is not UTF-8
        b"\x01a\7\0\1\xff",  # a value that is not UTF-8
        b"\x01a\0\x01a\1",  # twice the same name
    ],
)
def test_broken_headers_are_one_damage_and_decoding_goes_on(headers: bytes) -> None:
    body = EVENT + message(headers, b"") + EVENT
    for size in (1, 7, len(body)):
        frames = pieces(EventStreamDecoder, body, size)
        assert [type(frame) for frame in frames] == [Frame, Damage, Frame]


def test_wrong_message_checksum_is_one_damage_and_decoding_goes_on() -> None:
    wrong = EVENT[:-6] + b"X" + EVENT[-5:]
    frames = whole(EventStreamDecoder, EVENT + wrong + EVENT)
    assert [(type(frame), frame.end) for frame in frames] == [
        (Frame, len(EVENT)),
        (Damage, 2 * len(EVENT)),
        (Frame, 3 * len(EVENT)),
    ]


@pytest.mark.parametrize(
    "prelude",
    [
        EVENT[:8] + b"\0\0\0\0",  # a wrong checksum
        message(b"", b"")[:3] + b"\x0f" + EVENT[4:12],
        *(
            struct.pack("!III", total, headers, crc32(struct.pack("!II", total, headers)))
            for total, headers in ((15, 0), (0, 0), (16, 1), (100, 85), (100, 0xFFFFFFFF))
        ),
    ],
)
def test_lying_prelude_is_one_damage_and_the_rest_is_ignored(prelude: bytes) -> None:
    body = EVENT + prelude + b"x" * 100 + EVENT
    for size in (1, 5, len(body)):
        frames = pieces(EventStreamDecoder, body, size)
        assert [(type(f), f.end) for f in frames] == [(Frame, len(EVENT)), (Damage, len(EVENT) + 12)]


@pytest.mark.parametrize("cut_off", range(1, len(EVENT)))
def test_message_cut_off_by_the_end_is_one_damage(cut_off: int) -> None:
    frames = whole(EventStreamDecoder, EVENT + EVENT[:cut_off])
    assert [(type(f), f.end) for f in frames] == [(Frame, len(EVENT)), (Damage, len(EVENT) + cut_off)]


@pytest.mark.parametrize("size", [1, 5, 13, 10_000])
def test_message_over_the_limit_is_one_damage_and_decoding_goes_on(size: int) -> None:
    long = encode_eventstream({}, b"x" * 1000)
    body = EVENT + long + EVENT
    frames = pieces(lambda: EventStreamDecoder(limit=200), body, size)
    assert [(type(f), f.end) for f in frames] == [
        (Frame, len(EVENT)),
        (Damage, len(EVENT) + len(long)),
        (Frame, len(body)),
    ]


def test_largest_length_holds_no_memory() -> None:
    lengths = struct.pack("!II", 0xFFFFFFFF, 0)
    decoder = EventStreamDecoder(limit=200)
    assert [type(f) for f in decoder.feed(lengths + struct.pack("!I", crc32(lengths)))] == [Damage]
    for _ in range(50):
        assert decoder.feed(bytes(1000)) == []
        assert sum(len(v) for v in vars(decoder).values() if isinstance(v, bytearray)) == 0
    assert decoder.close() == []


def test_large_message_in_small_chunks_is_copied_twice_at_most() -> None:
    body = encode_eventstream({}, b"x" * 3_000_000)
    decoder = EventStreamDecoder()
    scanned: list[int] = []
    scan = decoder._scan

    def counted(data: bytes) -> Frames:
        scanned.append(len(data))
        return scan(data)

    vars(decoder)["_scan"] = counted
    frames = [frame for at in range(0, len(body), 1024) for frame in decoder.feed(body[at : at + 1024])]
    assert [frame.end for frame in frames] == [len(body)]
    assert sum(scanned) <= 2 * len(body)


def test_too_long_header_is_refused() -> None:
    assert datas(whole(EventStreamDecoder, encode_eventstream({"a" * 255: "b" * 65535}, b""))) == [b""]
    for name, value in (("a" * 256, ""), ("a", "b" * 65536)):
        with pytest.raises(ValueError, match="too long"):
            encode_eventstream({name: value}, b"")


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
VALUES = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)


@given(st.lists(st.tuples(st.dictionaries(NAMES, VALUES, max_size=4), st.binary())), CUTS)
def test_encoded_messages_come_back_here_and_in_botocore(
    messages: list[tuple[dict[str, str], bytes]], cuts: list[int]
) -> None:
    body = b"".join(encode_eventstream({**headers, ":event-type": "e"}, payload) for headers, payload in messages)
    assert botocore_reads(body) == [({**headers, ":event-type": "e"}, payload) for headers, payload in messages]
    frames = cut(EventStreamDecoder, body, cuts)
    assert [(f.event, f.data) for f in frames if isinstance(f, Frame)] == [("e", payload) for _, payload in messages]
    assert len(frames) == len(messages)


@given(st.integers(0, 3 * len(EVENT) - 1), st.integers(1, 255), CUTS, st.integers(0, 150))
def test_any_flipped_byte_is_noticed_and_any_split_gives_the_same(
    at: int, flip: int, cuts: list[int], limit: int
) -> None:
    body = bytearray(EVENT * 3)
    body[at] ^= flip
    frames = cut(EventStreamDecoder, bytes(body), cuts)
    assert frames == whole(EventStreamDecoder, bytes(body)) == pieces(EventStreamDecoder, bytes(body), 1)
    assert sum(isinstance(frame, Damage) for frame in frames) == 1
    bounded = cut(lambda: EventStreamDecoder(limit), bytes(body), cuts, held=max(limit, 12))
    assert bounded == whole(lambda: EventStreamDecoder(limit), bytes(body))


@given(st.lists(st.binary(max_size=20) | st.just(EVENT)))
def test_arbitrary_bytes_never_raise(chunks: list[bytes]) -> None:
    decoder = EventStreamDecoder()
    frames = [frame for chunk in chunks for frame in decoder.feed(chunk)] + decoder.close()
    assert frames == whole(EventStreamDecoder, b"".join(chunks))


@given(st.binary(max_size=60), st.binary(max_size=20))
def test_arbitrary_headers_never_raise(headers: bytes, payload: bytes) -> None:
    body = message(headers, payload)
    assert len(whole(EventStreamDecoder, body)) == 1
    assert len(whole(EventStreamDecoder, body + EVENT)) == 2
