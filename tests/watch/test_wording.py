"""A transcript in words: YAML whatever was said, nothing that a terminal would obey, and no `complete` that is not known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from midstream.events import END, Event, Failure, Finish, Media, Reasoning, Refusal, Text, ToolCall, Usage
from midstream.watch.transcript import Transcript
from midstream.watch.wording import WIDTH, Known, outcome_of, scalar, write

TEXTS = st.text(alphabet=st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp", "Cf", "Cn", "Co")) | st.just("\n"))
ODD = "a\x1b[31mred\x07\u202edesrever\u2066\r\x85\u2028\ud83d\ufeff"


def transcript(*events: Event) -> Transcript:
    said = Transcript()
    said.feed(events)
    return said


def parsed(text: str) -> dict[str, object]:
    found: dict[str, object] = YAML(typ="safe", pure=True).load(text)
    return found


@given(TEXTS)
def test_a_text_is_read_back_as_it_was(text: str) -> None:
    written = write(transcript(Text(text or "x"), END), Known(api="openai_chat"))
    assert parsed(written)["said"] == [{"text": text or "x"}]


WORDS = st.lists(
    st.sampled_from(["word", "w" * 60, "", " ", "  indented", "\n", "\n\n", "\t", "# no comment", "- item", "---"])
)


@given(WORDS.map(" ".join) | WORDS.map("".join))
def test_long_lines_are_broken_and_read_back_as_they_were(text: str) -> None:
    text = f"{text} " + "long " * 30 + text + "end"
    written = write(transcript(Text(text), END), Known(api="openai_chat"))
    assert parsed(written)["said"] == [{"text": text}]


def test_paragraphs_fit_the_page() -> None:
    written = write(
        transcript(Text(("word " * 100 + "\n") * 3 + "    code stays as it is " + "x" * 200)), Known(api="x")
    )
    rows = written.partition("said:")[2].splitlines()
    assert max(len(row) for row in rows if "x" * 200 not in row) <= WIDTH + 6


@given(st.text(alphabet="ab c\n:#\"'", min_size=80))
def test_long_facts_are_broken_too(text: str) -> None:
    error, remark = f"it {text} broke", f"healed {text} well"
    found = parsed(write(transcript(Failure(error)), Known(api="x", remark=remark, broke=error)))
    assert (found["error"], found["midstream"], found["connection"]) == (error, remark, error)


@given(st.text())
def test_a_line_is_one_line_whatever_is_in_it(text: str) -> None:
    line = scalar(text)
    assert len(line.splitlines()) <= 1
    assert isinstance(parsed(f"key: {line}")["key"], str)


def test_nothing_that_a_terminal_obeys_gets_through() -> None:
    said = transcript(Text(ODD), Reasoning(ODD), ToolCall(0, ODD, ODD, ODD), Failure(ODD, type=ODD))
    written = write(said, Known(api="x", provider=ODD, asked=ODD, broke=ODD, stream=ODD))
    assert not set(written) & set("\x1b\x07\u202e\u2066\r\x85\u2028\ud83d\ufeff")
    parsed(written)


def test_parts_come_in_the_order_in_which_they_began_and_calls_in_turns_are_kept_apart() -> None:
    said = transcript(
        Reasoning("hm"),
        Text("a"),
        ToolCall(0, "call_1", "f", '{"x":'),
        ToolCall(1, "call_2", "g", "[half"),
        ToolCall(0, arguments="1}"),
        Text("b"),
        Text("other", choice=1),
        Refusal("no"),
        Media("audio", 12, "hello"),
    )
    assert parsed(write(said, Known(api="x")))["said"] == [
        {"reasoning": "hm"},
        {"text": "a"},
        {"tool call": "f", "id": "call_1", "arguments": '{\n  "x": 1\n}'},
        {"tool call": "g", "id": "call_2", "arguments": "[half"},
        {"text": "b"},
        {"text": "other", "choice": 1},
        {"refusal": "no"},
        {"audio": "12 bytes", "transcript": "hello"},
    ]


def test_times_and_tokens_are_told_where_they_are_known() -> None:
    said = Transcript()
    for n, at in enumerate((350.0, 400.0, 2350.0)):
        said.feed([Text(f"{n}")], at)
    said.feed([Usage(input_tokens=7, output_tokens=4, cached_tokens=0), Finish("stop"), END])
    found = parsed(write(said, Known(api="x", head_ms=20, duration_ms=2400)))
    assert found["time"] == {
        "response head": "20 ms",
        "first content": "350 ms",
        "whole": "2.40 s",
        "gaps": "p50 1.00 s, p95 1.85 s, longest 1.95 s",
        "tokens per second": 2.0,
    }
    assert found["tokens"] == {"input": 7, "output": 4, "cached": 0}


@pytest.mark.parametrize(
    ("events", "known", "outcome"),
    [
        ([Text("a"), END], {}, "complete"),
        ([Text("a")], {"live": True}, "running"),
        ([Text("a")], {"cut": "some"}, "not known from the part that is kept"),
        ([Text("a")], {}, "truncated"),
        ([Failure("cut", type="truncated")], {}, "truncated"),
        ([Text("a"), Failure("overloaded")], {}, "failed"),
    ],
)
def test_the_outcome_never_says_more_than_is_known(events: list[Event], known: dict[str, str], outcome: str) -> None:
    assert outcome_of(transcript(*events), Known(api="x", **known)) == outcome  # type: ignore[arg-type]
