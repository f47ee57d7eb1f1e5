"""Content encodings as the bytes arrive."""

from __future__ import annotations

import gzip
import hashlib
import tracemalloc
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from midstream.wire import content_encoding
from midstream.wire.content_encoding import OUTPUT_LIMIT, RATIO_GRACE, RATIO_LIMIT, ContentDecoder

type Encode = Callable[[bytes], bytes]


def raw_deflate(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


def brotli_fast(data: bytes) -> bytes:
    return bytes(brotli.compress(data, quality=4))


ENCODINGS: dict[str, tuple[str, Encode]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "br": ("br", brotli_fast),
    "zstd": ("zstd", zstandard.compress),
    "gzip in br": ("gzip, br", lambda data: brotli_fast(gzip.compress(data))),
    "zstd in deflate": ("zstd,deflate", lambda data: zlib.compress(zstandard.compress(data))),
}
EVERY = pytest.mark.parametrize(("name", "encode"), ENCODINGS.values(), ids=ENCODINGS)
TEXT = b"".join(b'data: {"n": %d, "text": "\xc3\xa9"}\n\n' % n for n in range(400))


def decode(encoding: str, body: bytes, size: int) -> tuple[bytes, list[str]]:
    decoder = ContentDecoder(encoding)
    out = b"".join(decoder.feed(body[at : at + size]) for at in range(0, len(body), size)) + decoder.close()
    damaged, damage = decoder.damaged, decoder.take_damage()
    assert damaged == bool(damage)
    assert not decoder.damaged
    assert decoder.take_damage() == []
    return out, damage


@pytest.mark.parametrize("encoding", ["", "identity", " Identity , identity", ","])
def test_identity_returns_its_argument_untouched(encoding: str) -> None:
    decoder = ContentDecoder(encoding)
    assert decoder.feed(TEXT) is TEXT
    assert (decoder.close(), decoder.take_damage()) == (b"", [])


@EVERY
@pytest.mark.parametrize("text", [b"", b"x", TEXT], ids=["empty", "short", "long"])
def test_every_encoding_at_every_size(name: str, encode: Encode, text: bytes) -> None:
    body = encode(text)
    for size in (1, 2, 3, 255, 257, len(body)):
        assert decode(name, body, size) == (text, [])
    assert decode(name.upper(), body, 100) == (text, [])


@EVERY
def test_empty_body_is_no_damage(name: str, encode: Encode) -> None:
    assert decode(name, b"", 1) == (b"", [])


def flushed_gzip(events: list[bytes]) -> list[bytes]:
    deflater = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    return [deflater.compress(event) + deflater.flush(zlib.Z_SYNC_FLUSH) for event in events]


def flushed_br(events: list[bytes]) -> list[bytes]:
    compressor = brotli.Compressor()
    return [compressor.process(event) + compressor.flush() for event in events]


def flushed_zstd(events: list[bytes]) -> list[bytes]:
    compressor = zstandard.ZstdCompressor().compressobj()
    return [compressor.compress(event) + compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK) for event in events]


@pytest.mark.parametrize(("name", "flushed"), [("gzip", flushed_gzip), ("br", flushed_br), ("zstd", flushed_zstd)])
def test_flushed_event_is_there_with_its_last_byte(name: str, flushed: Callable[[list[bytes]], list[bytes]]) -> None:
    events = [b'data: {"n": %d}\n\n' % n for n in range(20)]
    decoder = ContentDecoder(name)
    assert [decoder.feed(part) for part in flushed(events)] == events
    assert decoder.close() == b""
    assert decoder.take_damage() == [f"the {name} body is cut off"]


@pytest.mark.parametrize("size", [1, 5, 10_000])
def test_gzip_members_follow_one_another_and_padding_is_dropped(size: int) -> None:
    body = gzip.compress(b"one ") + gzip.compress(b"") + gzip.compress(b"two") + b"\0" * 20
    assert decode("gzip", body, size) == (b"one two", [])


@pytest.mark.parametrize("size", [1, 5, 10_000])
def test_zstd_frames_follow_one_another_and_skippable_ones_are_skipped(size: int) -> None:
    skippable = b"\x50\x2a\x4d\x18\4\0\0\0abcd"
    body = skippable + zstandard.compress(b"one ") + skippable + zstandard.compress(b"two") + skippable
    assert decode("zstd", body, size) == (b"one two", [])


@pytest.mark.parametrize("name", ["gzip", "deflate"])
def test_bytes_after_the_end_are_damage_and_what_came_before_is_kept(name: str) -> None:
    body = ENCODINGS[name][1](TEXT)
    assert decode(name, body + b"junk", 10_000) == (TEXT, [f"the {name} body is broken"])
    assert decode(name, body + b"junk", 1) == (TEXT, [f"the {name} body is broken"])


def test_raw_deflate_may_begin_with_method_8_too() -> None:
    """A stored block whose padding bits are not zero: only the check over two bytes tells it from zlib's header."""
    assert decode("deflate", b"\x08\x05\0\xfa\xffhello\x03\0", 1) == (b"hello", [])


def test_two_encodings_that_break_at_once_are_one_damage() -> None:
    assert decode("gzip, gzip", gzip.compress(b"no gzip") + b"junk", 1000) == (b"", ["the gzip body is broken"])


@EVERY
def test_body_cut_off_anywhere_is_one_damage(name: str, encode: Encode) -> None:
    body = encode(TEXT)
    for length in {1, 2, 10, len(body) // 2, len(body) - 1}:
        out, damage = decode(name, body[:length], 100)
        assert TEXT.startswith(out)
        assert len(damage) == 1
        assert damage[0].endswith("body is cut off")


@EVERY
def test_broken_body_is_one_damage_and_gives_nothing_after(name: str, encode: Encode) -> None:
    decoder = ContentDecoder(name)
    body = encode(TEXT)
    out = decoder.feed(body[:50]) + decoder.feed(b"\xff" * 20_000)
    assert decoder.damaged
    assert len(decoder.take_damage()) == 1
    assert decoder.feed(body) == decoder.feed(b"x") == decoder.close() == b""
    assert decoder.take_damage() == []
    assert len(out) < len(TEXT)


@pytest.mark.parametrize("name", ["gzip", "br", "zstd", "deflate"])
def test_plain_text_that_claims_to_be_encoded_is_one_damage(name: str) -> None:
    out, damage = decode(name, b"data: hello\n\n" * 50, 100)
    assert damage == [f"the {name} body is broken"]
    assert b"hello" not in out


@pytest.mark.parametrize(
    ("encoding", "reason"),
    [
        ("compress", "unknown content encoding 'compress'"),
        ("gzip, " + "x" * 1000, f"unknown content encoding '{'x' * 40}'"),
        ("gzip, br, zstd", "3 content encodings, over the limit of 2"),
    ],
)
def test_unknown_encoding_is_damage_from_the_start(encoding: str, reason: str) -> None:
    decoder = ContentDecoder(encoding)
    assert decoder.damaged
    assert decoder.take_damage() == [reason]
    assert decoder.feed(b"x") == decoder.close() == b""
    assert decoder.take_damage() == []


# Bombs.


@EVERY
def test_bomb_is_stopped_at_the_ratio(name: str, encode: Encode) -> None:
    body = encode(bytes(30_000_000))
    out, damage = decode(name, body, 4096)
    assert len(out) <= RATIO_GRACE + RATIO_LIMIT * len(body)
    assert len(damage) == 1
    assert "becomes more than" in damage[0]


@EVERY
def test_bomb_in_one_feed_takes_no_memory_beyond_the_limits(name: str, encode: Encode) -> None:
    body = encode(bytes(150_000_000))
    tracemalloc.start()
    try:
        decode(name, body, len(body))
        assert tracemalloc.get_traced_memory()[1] < 2 * OUTPUT_LIMIT + 16 * 1024 * 1024
    finally:
        tracemalloc.stop()


@EVERY
def test_one_feed_gives_no_more_than_its_limit(name: str, encode: Encode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_encoding, "OUTPUT_LIMIT", 1000)
    assert decode(name, encode(TEXT[:1000]), 10_000) == (TEXT[:1000], [])
    out, damage = decode(name, encode(TEXT[:1001]), 10_000)
    assert len(out) <= 1000
    assert len(damage) == 1
    assert damage[0].endswith("becomes more than 1000 bytes")


@EVERY
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_body_becomes_no_more_than_its_own_limit(name: str, encode: Encode, size: int) -> None:
    def fed(text: bytes) -> tuple[bytes, list[str], bool]:
        decoder, body = ContentDecoder(name, 1000), encode(text)
        out = b"".join(decoder.feed(body[at : at + size]) for at in range(0, len(body), size)) + decoder.close()
        return out, decoder.take_damage(), decoder.bomb

    assert fed(TEXT[:1000]) == (TEXT[:1000], [], False)
    out, damage, bomb = fed(TEXT[:1001])
    assert len(out) <= 1000
    assert bomb
    assert damage[0].endswith("becomes more than 1000 bytes")


@EVERY
def test_limits_leave_room_for_real_bodies(name: str, encode: Encode) -> None:
    """40000 chunks of one word for ever, and 20 MB of chunks that differ, compressed in one go."""
    chunk = b'data: {"id":"chatcmpl-1","model":"m","choices":[{"index":0,"delta":{"content":" %s"}}]}\n\n'
    digests = (hashlib.md5(b"%d" % n).hexdigest()[:6].encode() for n in range(200_000))
    for text in (chunk % b"the" * 40_000, b"".join(chunk % digest for digest in digests)):
        assert decode(name, encode(text), 65_536) == (text, [])


def test_zstd_window_over_the_limit_of_rfc_9659_is_damage() -> None:
    for window_log, damage in ((23, []), (24, ["the zstd body is broken"])):
        parameters = zstandard.ZstdCompressionParameters(window_log=window_log)
        compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        body = compressor.compress(TEXT) + compressor.flush()
        assert decode("zstd", body, 100)[1] == damage


# Any bytes.

NAMES = st.sampled_from(sorted({name for name, _ in ENCODINGS.values()}))


@given(NAMES, st.lists(st.binary(max_size=30)))
def test_arbitrary_bytes_never_raise(name: str, chunks: list[bytes]) -> None:
    decoder = ContentDecoder(name)
    for chunk in chunks:
        decoder.feed(chunk)
    decoder.close()
    assert len(decoder.take_damage()) <= 1


@given(st.text())
def test_arbitrary_encoding_names_never_raise(name: str) -> None:
    decoder = ContentDecoder(name)
    decoder.feed(b"x")
    assert len(decoder.take_damage()) <= 1


@given(st.sampled_from(sorted(ENCODINGS)), st.integers(0, 1 << 20), st.integers(1, 255), st.integers(1, 300))
def test_flipped_byte_never_raises_and_damage_is_said_once(key: str, at: int, flip: int, size: int) -> None:
    name, encode = ENCODINGS[key]
    body = bytearray(encode(TEXT))
    body[at % len(body)] ^= flip
    assert len(decode(name, bytes(body), size)[1]) <= 1


@given(st.sampled_from(sorted(ENCODINGS)), st.binary(max_size=2000), st.integers(1, 300))
def test_any_data_comes_back_at_any_size(key: str, data: bytes, size: int) -> None:
    name, encode = ENCODINGS[key]
    assert decode(name, encode(data), size) == (data, [])
