from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midstream.dialects import whole_calls
from midstream.dialects.whole_calls import HELD_LIMIT, WholeCalls
from midstream.events import ToolCall


def test_fragments_of_a_call_given_out_are_ignored() -> None:
    calls = WholeCalls()
    assert calls.add(ToolCall(0, "a", "f", "{}")) == []
    assert [call.name for call in calls.add(ToolCall(1, "b", "g"))] == ["f"]
    assert calls.add(ToolCall(0, arguments="\n")) == []
    assert [call.name for call in calls.take(last=True)] == ["g"]
    assert not calls


def test_calls_keep_their_order_behind_one_that_is_not_whole() -> None:
    calls = WholeCalls()
    calls.add(ToolCall(0, "", "f", '{"a":'))
    calls.add(ToolCall(1, "", "g", "{}"))
    assert calls.take() == []
    calls.add(ToolCall(0, arguments="1}"))
    assert [(call.name, call.arguments) for call in calls.take()] == [("f", {"a": 1}), ("g", {})]


def test_a_name_may_come_late() -> None:
    calls = WholeCalls()
    calls.add(ToolCall(0, "", "", "{}"))
    calls.add(ToolCall(0, "c", "f"))
    (call,) = calls.take()
    assert (call.id, call.name) == ("c", "f")


def test_what_is_held_is_bounded_and_what_was_given_out_does_not_count() -> None:
    calls = WholeCalls()
    half = '{"a":"' + "x" * (HELD_LIMIT // 2) + '"}'
    for index in range(4):
        calls.add(ToolCall(index, "", "f", half))
    assert not calls.overfull
    calls.add(ToolCall(3, arguments="x" * HELD_LIMIT))
    assert calls.overfull


@given(st.data())
def test_calls_split_anywhere_come_out_whole_and_in_order(data: st.DataObject) -> None:
    values = data.draw(st.lists(st.dictionaries(st.text(max_size=3), st.integers(0, 9), max_size=3), max_size=4))
    calls, whole = WholeCalls(), []
    for index, value in enumerate(values):
        text = str(value).replace("'", '"') if all(key.isalnum() for key in value) else "{}"
        cut = data.draw(st.integers(0, len(text)))
        whole += calls.add(ToolCall(index, f"c{index}", "f", text[:cut]))
        whole += calls.add(ToolCall(index, arguments=text[cut:]))
    whole += calls.take(last=True)
    assert [call.id for call in whole] == [f"c{index}" for index in range(len(values))]


def test_the_same_arguments_are_not_parsed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []

    def parse(text: str) -> Any:
        parsed.append(text)
        return json.loads(text)

    monkeypatch.setattr(whole_calls, "parse_json", parse)
    calls = WholeCalls()
    for index in range(9):
        calls.add(ToolCall(index, "", "f", '{"a":'))
    assert parsed == ['{"a":']
