"""JSON from a stranger."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midstream.wire.json_text import (
    COMMA_LIMIT,
    DEPTH_LIMIT,
    LARGE,
    as_dict,
    as_int,
    as_list,
    as_str,
    dump_json,
    parse_json,
)


@pytest.mark.parametrize("depth", [DEPTH_LIMIT + 50, 5_000, 100_000, 2_000_000])
@pytest.mark.parametrize(("left", "right"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")])
@pytest.mark.parametrize("leaf", [b"1", rb'"\ud83d"'])
def test_deep_nesting_is_a_value_error(depth: int, left: bytes, right: bytes, leaf: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # the text is the parser's own
        parse_json(left * depth + leaf + right * depth)
    with pytest.raises(ValueError):  # noqa: PT011
        parse_json(left * depth)


@pytest.mark.parametrize("leaf", ["1", r'"\ud83d"'])
def test_nesting_up_to_the_limit_is_read_and_written_back(leaf: str) -> None:
    text = "[" * (DEPTH_LIMIT - 1) + leaf + "]" * (DEPTH_LIMIT - 1)
    assert dump_json(parse_json(text)) == text


def test_lone_surrogates_are_taken_as_text_and_as_bytes() -> None:
    assert parse_json(rb'{"a":"x\ud83d","\ude00":1}') == {"a": "x\ud83d", "\ude00": 1}
    assert parse_json('"\ud83d"') == "\ud83d"
    assert parse_json(rb'"\ud83d\ude00"') == "😀"


def test_nan_and_infinity_are_numbers() -> None:
    nan, *infinite = parse_json(b"[NaN, Infinity, -Infinity, 1e999]")
    assert math.isnan(nan)
    assert infinite == [math.inf, -math.inf, math.inf]


@pytest.mark.parametrize("text", [b"", b" ", b"{", b"nul", b'{"a":1}x', b'"\xff"', b"[1,]", b"'a'", b"9" * 5000, ""])
def test_bad_json_is_a_value_error(text: bytes | str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        parse_json(text)


@given(st.binary() | st.text() | st.text(st.characters(categories=["Cs"])))
def test_arbitrary_input_parses_or_raises_value_error(text: bytes | str) -> None:
    try:
        value = parse_json(text)
    except ValueError:
        return
    dump_json(value).encode()


@given(st.text(st.sampled_from('[]{}",:\\u0dDef1e+-. \ud83d')))
def test_near_json_parses_or_raises_value_error(text: str) -> None:
    try:
        value = parse_json(text.encode("utf-8", "surrogatepass"))
    except ValueError:
        return
    dump_json(value).encode()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(JSON)
def test_dumped_json_comes_back(value: Any) -> None:
    assert parse_json(dump_json(value)) == json.loads(dump_json(value)) == value


def test_dump_is_compact_and_escapes_only_what_utf8_cannot_hold() -> None:
    assert dump_json({"a": [1, "é😀"]}) == '{"a":[1,"é😀"]}'
    assert dump_json(["\ud83d"]) == r'["\ud83d"]'


def test_only_the_right_type_is_taken() -> None:
    strange: list[Any] = [None, True, 1, 1.5, "x", [1], {"a": 1}]
    assert [as_dict(v) for v in strange] == [{}, {}, {}, {}, {}, {}, {"a": 1}]
    assert [as_list(v) for v in strange] == [[], [], [], [], [], [1], []]
    assert [as_str(v) for v in strange] == ["", "", "", "", "x", "", ""]
    assert [as_int(v) for v in strange] == [None, None, 1, None, None, None, None]
    assert [as_int(v, 0) for v in (2.0, math.inf, math.nan, "2")] == [2, 0, 0, 0]


def test_values_without_end_are_not_parsed() -> None:
    """Twenty times their size in memory; a large text with few values is no matter."""
    empty = b"[" + b"[]," * (COMMA_LIMIT + 1) + b"[]]"
    for text in (empty, empty.decode()):
        with pytest.raises(ValueError, match="too many values"):
            parse_json(text)
    assert len(parse_json(b'["' + b"a" * 2 * LARGE + b'"]')[0]) == 2 * LARGE
    assert len(parse_json(b"[" + b"[]," * 1000 + b"[]]")) == 1001


@pytest.mark.parametrize("text", ["NaN", "1e999", "-1e999", "[Infinity]"])
def test_a_number_that_json_has_no_form_for_is_not_written(text: str) -> None:
    value = parse_json(text)
    assert dump_json(value)
    with pytest.raises(ValueError, match="not finite"):
        dump_json(value, finite=True)
