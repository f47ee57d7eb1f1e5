"""Tool-call arguments sent as JSON values become JSON text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from google_sdk import ANYTHING
from midstream.dialects.arguments import DEPTH_LIMIT, PATH_LIMIT, PartialArguments, arguments_text
from midstream.wire.json_text import Json

LEAVES = (
    st.text(max_size=5) | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.none()
)
KEYS = st.text(min_size=1, max_size=4)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, min_size=1, max_size=3) | st.dictionaries(KEYS, inner, min_size=1, max_size=3),
    max_leaves=12,
)


def written(*partials: Json) -> str:
    arguments = PartialArguments()
    pieces = [arguments.add(partial) for partial in partials]
    assert None not in pieces
    return "".join(piece or "" for piece in pieces) + arguments.close()


def partials_of(value: Any, path: str = "$") -> list[Json]:
    """The partialArgs in which Vertex would stream a value: every string in two pieces and an end."""
    if isinstance(value, dict):
        return [
            partial
            for key, inner in value.items()
            for partial in partials_of(
                inner, f"{path}['{key.replace(chr(92), chr(92) * 2).replace(chr(39), chr(92) + chr(39))}']"
            )
        ]
    if isinstance(value, list):
        return [partial for i, inner in enumerate(value) for partial in partials_of(inner, f"{path}[{i}]")]
    if isinstance(value, str):
        half = len(value) // 2
        pieces = [(value[:half], True), (value[half:], True), ("", False)]
        return [{"jsonPath": path, "stringValue": piece, "willContinue": more} for piece, more in pieces]
    kind = "nullValue" if value is None else "boolValue" if isinstance(value, bool) else "numberValue"
    return [{"jsonPath": path, kind: value}]


def test_whole_arguments_are_compact_text() -> None:
    assert arguments_text({"b": 3, "a": "Grüße"}) == '{"b":3,"a":"Grüße"}'
    assert arguments_text(None) == arguments_text({}) == "{}"
    assert arguments_text('{"a": 1}') == '{"a": 1}'


def test_arguments_nested_too_deep_are_no_text() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert arguments_text(deep) == ""
    while deep:  # so that freeing it does not recurse
        deep = deep[0]


def test_partial_arguments_are_written_as_they_come() -> None:
    arguments = PartialArguments()
    assert arguments.add({"jsonPath": "$.a.b[0].c", "stringValue": "x", "willContinue": True}) == '{"a":{"b":[{"c":"x'
    assert arguments.add({"jsonPath": "$.a.b[0].c", "stringValue": '"y', "willContinue": True}) == '\\"y'
    assert arguments.add({"jsonPath": "$.a.b[0].c", "stringValue": ""}) == '"'
    assert arguments.add({"jsonPath": "$.a.b[1].c", "numberValue": 0.5}) == '},{"c":0.5'
    assert arguments.add({"jsonPath": "$['d e']", "boolValue": True}) == '}]},"d e":true'
    assert arguments.add({"jsonPath": "$.f", "nullValue": "NULL_VALUE"}) == ',"f":null'
    assert arguments.close() == "}"


def test_a_string_left_open_is_closed() -> None:
    open_ = {"jsonPath": "$.a", "stringValue": "x", "willContinue": True}
    assert written(open_) == '{"a":"x"}'
    assert written(open_, {"jsonPath": "$.b", "numberValue": 1}) == '{"a":"x","b":1}'
    assert written() == "{}"


@given(st.dictionaries(KEYS, TREES, min_size=1, max_size=3))
def test_whatever_is_streamed_in_pieces_is_written_whole(value: Json) -> None:
    assert json.loads(written(*partials_of(value))) == value


def test_items_come_in_order() -> None:
    arguments = PartialArguments()
    assert arguments.add({"jsonPath": "$.a[0]", "numberValue": 1}) == '{"a":[1'
    assert arguments.add({"jsonPath": "$.a[2]", "numberValue": 3}) is None
    assert arguments.add({"jsonPath": "$.a[1]", "numberValue": 2}) == ",2"
    assert arguments.add({"jsonPath": "$.a[0]", "numberValue": 1}) is None
    assert arguments.close() == "]}"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "$",
        "a",
        "$.",
        "$..a",
        "$.a[x]",
        "$[0]",
        "$.b[1]",
        "$.a",
        "$.a.b",
        "$.b" + "[0]" * DEPTH_LIMIT,
        "$." + "a" * PATH_LIMIT,
    ],
)
def test_what_makes_no_json_is_refused_and_leaves_the_text_whole(path: str) -> None:
    arguments = PartialArguments()
    text = arguments.add({"jsonPath": "$.a", "numberValue": 1})
    assert arguments.add({"jsonPath": path, "numberValue": 2}) is None
    assert f"{text}{arguments.close()}" == '{"a":1}'


@pytest.mark.parametrize(
    "value", [{}, {"numberValue": "1"}, {"numberValue": True}, {"numberValue": float("inf")}, {"boolValue": 1}]
)
def test_a_value_of_the_wrong_type_is_refused(value: Json) -> None:
    assert PartialArguments().add({"jsonPath": "$.a", **value}) is None


PATHS = st.lists(st.sampled_from([".a", ".b", "[0]", "[1]", "['c']"]), max_size=4).map(
    lambda steps: "$" + "".join(steps)
)
PARTIALS = st.fixed_dictionaries(
    {"jsonPath": PATHS | ANYTHING},
    optional={
        "stringValue": st.text(max_size=3) | ANYTHING,
        "numberValue": ANYTHING,
        "willContinue": st.booleans() | ANYTHING,
    },
)


@given(st.lists(PARTIALS, max_size=12))
def test_whatever_comes_the_text_is_json(partials: list[Json]) -> None:
    arguments = PartialArguments()
    text = "".join(arguments.add(partial) or "" for partial in partials) + arguments.close()
    assert isinstance(json.loads(text), dict)
