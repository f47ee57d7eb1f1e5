"""Lines of JSON: https://github.com/ndjson/ndjson-spec"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midstream.wire import Damage, Frame
from midstream.wire.ndjson import NdjsonDecoder
from wire.feeding import CUTS, cut, datas, joined, pieces, searched_in, whole

PARTS = (b"\n", b"\r\n", b"\r", b'{"a":1}', b"[1]", b" ", b"\t", b"\xff", b"\xef\xbb\xbf", b'"\\n"')


def test_spec_example() -> None:
    body = b'{"some":"thing"}\n{"foo":17,"bar":false,"quux":true}\n{"may":{"include":"nested","objects":["and","arrays"]}}\n'
    assert datas(whole(NdjsonDecoder, body)) == body.splitlines()


def test_line_is_there_with_its_line_feed() -> None:
    decoder = NdjsonDecoder()
    assert decoder.feed(b'{"a":1}') == []
    assert decoder.feed(b"\n{") == [Frame(b'{"a":1}', 8)]


def test_carriage_returns_and_white_space_are_dropped_and_blank_lines_skipped() -> None:
    assert whole(NdjsonDecoder, b"\r\n {1} \r\n\n\t\n{2}\n") == [Frame(b"{1}", 9), Frame(b"{2}", 16)]


def test_last_line_needs_no_line_feed() -> None:
    decoder = NdjsonDecoder()
    assert decoder.feed(b"{1}\n{2}") == [Frame(b"{1}", 4)]
    assert decoder.close() == [Frame(b"{2}", 7)]
    assert decoder.close() == []


def test_byte_order_mark_is_dropped_at_the_start_alone() -> None:
    body = b"\xef\xbb\xbf{1}\n\xef\xbb\xbf{2}\n"
    assert datas(whole(NdjsonDecoder, body)) == [b"{1}", b"\xef\xbb\xbf{2}"]
    assert datas(pieces(NdjsonDecoder, body, 1)) == [b"{1}", b"\xef\xbb\xbf{2}"]


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize("end", [b"\n", b""])
def test_line_over_the_limit_is_one_damage_and_decoding_goes_on(size: int, end: bytes) -> None:
    body = b"{1}\n" + b"a" * 21 + b"\n" + b"b" * 20 + b"\n" + b"c" * 90 + end
    frames = pieces(lambda: NdjsonDecoder(limit=20), body, size)
    assert [type(frame) for frame in frames] == [Frame, Damage, Frame, Damage]
    assert [frame.end for frame in frames] == [4, 26, 47, len(body)]


def test_large_line_in_small_chunks_is_never_searched_again() -> None:
    assert searched_in(NdjsonDecoder, b"x" * 3_000_000 + b"\n", 1024) == 0


@given(joined(*PARTS), CUTS)
def test_any_body_is_its_lines_at_any_split(body: bytes, cuts: list[int]) -> None:
    lines = [line.strip() for line in body.removeprefix(b"\xef\xbb\xbf").split(b"\n")]
    assert datas(cut(NdjsonDecoder, body, cuts)) == [line for line in lines if line]
    assert cut(NdjsonDecoder, body, cuts) == whole(NdjsonDecoder, body)


@given(joined(*PARTS), CUTS, st.integers(0, 12))
def test_any_split_gives_the_same_damage_and_memory_stays_bounded(body: bytes, cuts: list[int], limit: int) -> None:
    frames = cut(lambda: NdjsonDecoder(limit), body, cuts, held=limit)
    assert frames == whole(lambda: NdjsonDecoder(limit), body)
    assert frames == pieces(lambda: NdjsonDecoder(limit), body, 1)
