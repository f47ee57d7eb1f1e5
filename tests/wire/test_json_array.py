"""A JSON array as it grows."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midstream.wire import Damage, Frame
from midstream.wire.json_array import JsonArrayDecoder
from wire.feeding import CUTS, cut, datas, joined, pieces, searched_in, whole

PARTS = (b"[", b"]", b"{", b"}", b'"', b"\\", b"\\\\", b'\\"', b",", b":", b" ", b"\r\n", b"12", b"null", b'{"a":[1]}')
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def test_gemini_shape() -> None:
    """As Google writes it: pretty-printed, the comma on a line of its own."""
    body = b'[{\n  "a": [\n    1\n  ]\n}\n,\r\n{\n  "b": "}"\n}\n]\n'
    assert datas(whole(JsonArrayDecoder, body)) == [b'{\n  "a": [\n    1\n  ]\n}', b'{\n  "b": "}"\n}']


def test_element_is_there_with_its_closing_brace() -> None:
    decoder = JsonArrayDecoder()
    assert decoder.feed(b'[{"a":1') == []
    assert decoder.feed(b"}") == [Frame(b'{"a":1}', 8)]
    assert decoder.feed(b',{"b":{}}') == [Frame(b'{"b":{}}', 17)]


@pytest.mark.parametrize(
    "element",
    [
        rb'{"a":"}]{["}',
        rb'{"a":"\"}"}',
        rb'{"a":"\\"}',
        rb'{"a":"\\\"}"}',
        rb'{"\\\\":"\\\\\\"}',
        rb'{"a\"}":{"b":["]"]}}',
        b'{"a":"\xff\n\r"}',
        b"[[],{}]",
        rb'"a string, \"]"',
    ],
)
def test_brackets_and_quotes_in_strings_do_not_count(element: bytes) -> None:
    body = b"[" + element + b"," + element + b"]"
    for size in range(1, len(body) + 1):
        assert datas(pieces(JsonArrayDecoder, body, size)) == [element, element]


def test_scalars_end_at_whatever_follows() -> None:
    assert datas(whole(JsonArrayDecoder, b'[1, -2.5e3\n"a"null true{}false]')) == [
        *(b"1", b"-2.5e3", b'"a"', b"null", b"true", b"{}", b"false")
    ]


@pytest.mark.parametrize("body", [b"[]", b" [ ] ", b"\xef\xbb\xbf[\n]\n", b"", b" \n"])
def test_empty_array_and_empty_body_give_nothing(body: bytes) -> None:
    assert whole(JsonArrayDecoder, body) == pieces(JsonArrayDecoder, body, 1) == []


def test_commas_are_not_insisted_on() -> None:
    assert datas(whole(JsonArrayDecoder, b"[,{}{},,{},]")) == [b"{}"] * 3


@pytest.mark.parametrize("rest", [b"", b",", b" \n", b"{", b'{"a', b'"', b"12", b'{"a\\'])
def test_array_that_never_closes_is_one_damage_at_the_end(rest: bytes) -> None:
    body = b"[{}" + rest
    for size in (1, 2, 100):
        frames = pieces(JsonArrayDecoder, body, size)
        assert [(type(f), f.end) for f in frames] == [(Frame, 3), (Damage, len(body))]


@pytest.mark.parametrize(("body", "before"), [(b'{"a":[{}]}', 0), (b"x[{}]", 0), (b"[{}]{}[{}]", 1), (b"[{}]]]]", 1)])
def test_bytes_outside_the_array_are_one_damage_and_nothing_after_is_read(body: bytes, before: int) -> None:
    for size in (1, 3, 100):
        frames = pieces(JsonArrayDecoder, body, size)
        assert [type(frame) for frame in frames] == [Frame] * before + [Damage]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
@pytest.mark.parametrize(
    "long", [b'{"a":"' + b'\\\\\\"}' * 9 + b'"}', b"[" * 30 + b"]" * 30, b"1" * 30, b'"' + b"\\\\" * 19 + b'"']
)
def test_element_over_the_limit_is_one_damage_and_decoding_goes_on(long: bytes, size: int) -> None:
    body = b'[{"a":1},' + long + b',{"b":2}]'
    frames = pieces(lambda: JsonArrayDecoder(limit=20), body, size)
    assert [type(frame) for frame in frames] == [Frame, Damage, Frame]
    assert [frame.end for frame in frames] == [8, 9 + len(long), len(body) - 1]


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_element_over_the_limit_that_never_ends_is_one_damage(size: int) -> None:
    body = b'[{"a":"' + b"x" * 90
    frames = pieces(lambda: JsonArrayDecoder(limit=20), body, size)
    assert [(type(f), f.end) for f in frames] == [(Damage, len(body))]


def test_large_string_in_small_chunks_is_searched_once() -> None:
    body = b'[{"a":"' + b"x" * 3_000_000 + b'"}]'
    assert searched_in(JsonArrayDecoder, body, 1024) <= 2 * len(body)


@given(st.lists(JSON), st.sampled_from([None, 2]), CUTS)
def test_any_array_comes_back_element_by_element(values: list[Any], indent: int | None, cuts: list[int]) -> None:
    for ascii_only in (True, False):
        body = json.dumps(values, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
        assert [json.loads(data) for data in datas(cut(JsonArrayDecoder, body, cuts))] == values


@given(joined(*PARTS), CUTS)
def test_any_split_of_any_bytes_gives_the_same(body: bytes, cuts: list[int]) -> None:
    body = b"[" + body
    frames = cut(JsonArrayDecoder, body, cuts)
    assert frames == whole(JsonArrayDecoder, body) == pieces(JsonArrayDecoder, body, 1)
    assert all(body[: f.end].endswith(f.data) for f in frames if isinstance(f, Frame))


@given(joined(*PARTS), CUTS, st.integers(0, 8))
def test_any_split_gives_the_same_damage_and_memory_stays_bounded(body: bytes, cuts: list[int], limit: int) -> None:
    body = b"[" + body
    frames = cut(lambda: JsonArrayDecoder(limit), body, cuts, held=limit + 1)
    assert frames == whole(lambda: JsonArrayDecoder(limit), body)
    assert frames == pieces(lambda: JsonArrayDecoder(limit), body, 1)


@given(st.lists(st.binary(max_size=20)))
def test_arbitrary_bytes_never_raise(chunks: list[bytes]) -> None:
    decoder = JsonArrayDecoder(limit=30)
    frames = [frame for chunk in chunks for frame in decoder.feed(chunk)] + decoder.close()
    assert all(frame.end <= sum(map(len, chunks)) for frame in frames)
