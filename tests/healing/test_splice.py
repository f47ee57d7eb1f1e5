"""A later attempt's events, joined to what the client has."""

from __future__ import annotations

import pytest

from midstream.events import (
    END,
    OPAQUE,
    Asked,
    End,
    Event,
    Failure,
    Finish,
    Malformed,
    Media,
    Reasoning,
    Refusal,
    ServerTool,
    Start,
    Text,
    ToolCall,
    Usage,
)
from midstream.healing.splice import SEAM, SEAM_MOST, Seam, Way
from spliced import Policy, joined, noted

OVER: list[Event] = [Finish("stop"), END]
FIND = ToolCall(0, "c1", "find", '{"a": 1}')
FIND_LATER = ToolCall(0, "c1", "find", '{"a": 1}', block=1)
SECOND = ToolCall(1, "c2", "find", '{"b": 2}')


def seam_after(*told: Event, on_break: Policy = "continue", limit: int = SEAM) -> Seam:
    delivered = noted(told)
    way = delivered.way(on_break)
    assert way.kind != "impossible", way
    return Seam(delivered, way, limit=limit, prefilled=False)


TEXT = Text("The quick brown fox jumps")
HELLO = Text("Hello, ")
CONTINUED: dict[str, tuple[list[Event], list[Event], list[Event]]] = {
    # what it shows: (what the client has, the new attempt, what the client gets)
    "goes on": ([TEXT], [Text(" over"), Text(" it."), *OVER], [Text(" over it."), *OVER]),
    "has nothing to add": ([TEXT], OVER, OVER),
    "says all of it again, and no more": ([TEXT], [TEXT, *OVER], OVER),
    "begins anew": ([TEXT], [Text("The quick brown fox"), Text(" jumps over."), *OVER], [Text(" over."), *OVER]),
    "overlaps": ([TEXT], [Text("brown fox jumps over."), *OVER], [Text(" over."), *OVER]),
    "starts again": ([Start("a", "m", 1), TEXT], [Start("b", "n", 2), Text(" on"), *OVER], [Text(" on"), *OVER]),
    "thinks first": ([TEXT], [Reasoning("hm"), Reasoning("", signature="s"), Text(" on"), *OVER], [Text(" on"), *OVER]),
    "counts": ([TEXT], [Usage(1, 1), Text(" on"), Usage(1, 2), *OVER], [Text(" on"), *OVER, Usage(1, 2)]),
    "says what says nothing": ([TEXT], [OPAQUE, Malformed("x"), Asked(), Text(" on"), END], [Text(" on"), END]),
    "says it in the block that the client is in": (
        [Reasoning("hm"), Text("a", block=1), Text("b", block=3)],
        [Text(" on", block=1), Text(" and on", block=1), *OVER],
        [Text(" on and on", block=3), *OVER],
    ),
    "says more in further blocks": (
        [Reasoning("hm"), Text("a", block=1)],
        [Reasoning("hm"), Text(" on", block=1), Text("so", block=2), *OVER],
        [Text(" on", block=1), Text("so", block=4), *OVER],
    ),
    "calls a tool": (
        [Text("I look. ")],
        [Text("Now"), ToolCall(0, "c", "f", block=1), ToolCall(0, arguments="{}", block=1), *OVER],
        [Text("Now"), ToolCall(0, "c", "f", "{}", block=2), *OVER],
    ),
    "calls a tool at once": ([TEXT], [FIND, *OVER], [ToolCall(0, "c1", "find", '{"a": 1}', block=1), *OVER]),
    "calls a tool after what may be a repetition": (
        [TEXT],
        [Text("The qui"), ToolCall(0, "c", "f", "{}"), *OVER],
        [Text("The qui"), ToolCall(0, "c", "f", "{}", block=1), *OVER],
    ),
    "ends after what may be a repetition": ([TEXT], [Text("The qui"), *OVER], [Text("The qui"), *OVER]),
    "ends without a Finish": ([TEXT], [Text("The qui"), END], [Text("The qui"), END]),
    "refuses": ([TEXT], [Refusal("I cannot"), *OVER], [Refusal("I cannot", block=1), *OVER]),
    "has further choices": ([TEXT], [Text(" on"), Text("x", choice=1), Finish("stop", 1), *OVER], [Text(" on"), *OVER]),
    "lets its provider search": (
        [TEXT],
        [ServerTool("s"), Text(" on"), ServerTool("s"), *OVER],
        [Text(" on"), ServerTool("s", block=1), *OVER],
    ),
    "breaks": ([TEXT], [Text(" on"), Failure("f")], [Text(" on"), Failure("f")]),
    "breaks while it may be a repetition": ([TEXT], [Text("The qui"), Failure("f")], [Failure("f")]),
    "makes the call that had begun": (
        [TEXT, ToolCall(0, "c1", "find", block=1)],
        [ToolCall(0, "x9", "find"), ToolCall(0, arguments='{"a'), ToolCall(0, arguments='": 1}'), *OVER],
        [ToolCall(0, arguments='{"a": 1}', block=1), *OVER],
    ),
    "makes the call that had begun, and another": (
        [TEXT, ToolCall(0, "c1", "find", block=1)],
        [ToolCall(0, "x9", "find", "{}", block=0), ToolCall(1, "x8", "f", "{}", block=1), *OVER],
        [ToolCall(0, arguments="{}", block=1), ToolCall(1, "x8", "f", "{}", block=3), *OVER],
    ),
    "repeats the text, and makes the call that had begun": (
        [TEXT, ToolCall(0, "c1", "find", block=1)],
        [TEXT, ToolCall(0, "x9", "find", "{}", block=1), *OVER],
        [ToolCall(0, arguments="{}", block=1), *OVER],
    ),
    "makes the call that had begun, which takes no arguments": (
        [TEXT, ToolCall(0, "c1", "find", block=1)],
        [ToolCall(0, "x9", "find"), *OVER],
        OVER,
    ),
}


@pytest.mark.parametrize(("told", "new", "got"), CONTINUED.values(), ids=CONTINUED)
def test_an_attempt_that_goes_on(told: list[Event], new: list[Event], got: list[Event]) -> None:
    whole, single = seam_after(*told), seam_after(*told)
    assert joined(whole.feed(new)) == joined(got)
    assert joined([said for event in new for said in single.feed([event])]) == joined(got)
    assert not whole.failed
    assert not single.failed


FAILING: dict[str, tuple[Policy, list[Event], list[Event], str]] = {
    # what it shows: (policy, what the client has, the new attempt, why not)
    "begun anew, and another": ("continue", [Text("ab" * 40)], [Text("ab" * 30), Text("x")], "another after 60"),
    "begun anew, and over": (
        "continue",
        [Text("The quick brown fox jumps over the dog")],
        [Text("The quick brown fox jumps over the"), *OVER],
        "over after 34",
    ),
    "begun anew, and a call": (
        "continue",
        [Text("The quick brown fox jumps over the dog")],
        [Text("The quick brown fox jumps over the"), FIND],
        "over after 34",
    ),
    "another call than had begun": (
        "continue",
        [TEXT, ToolCall(0, "c1", "find")],
        [ToolCall(0, "c1", "search")],
        "tool call",
    ),
    "text instead of the call": ("continue", [TEXT, ToolCall(0, "c1", "find")], [Text(" over it."), FIND], "tool call"),
    "a refusal instead of the call": ("continue", [TEXT, ToolCall(0, "c1", "find")], [Refusal("no")], "tool call"),
    "no call": ("continue", [TEXT, ToolCall(0, "c1", "find")], OVER, "tool call"),
    "another text": ("restart", [TEXT], [Text("The quick red")], "is another"),
    "the same text, shorter": ("restart", [TEXT], [Text("The quick"), *OVER], "over too early"),
    "the same text, shorter, without Finish": ("restart", [TEXT], [Text("The quick"), END], "over too early"),
    "a refusal instead": ("restart", [TEXT], [Refusal("The quick")], "otherwise"),
    "a call too early": ("restart", [TEXT, FIND], [Text("The quick"), FIND], "too early"),
    "a call before the text": ("restart", [Text("a"), FIND, Text("b")], [FIND], "too early"),
    "no call again": ("restart", [TEXT, FIND], [TEXT, *OVER], "over too early"),
    "text instead of the call again": ("restart", [TEXT, FIND], [TEXT, Text(" over")], "otherwise"),
    "another tool": ("restart", [FIND], [ToolCall(0, "c1", "search", '{"a": 1}')], "another tool"),
    "other arguments": ("restart", [FIND], [ToolCall(0, "c1", "find", '{"a": 2}'), *OVER], "otherwise"),
    "other arguments, equal for Python": (
        "restart",
        [FIND],
        [ToolCall(0, "c1", "find", '{"a": true}'), *OVER],
        "otherwise",
    ),
    "arguments without end": ("restart", [FIND], [ToolCall(0, "c1", "find", '{"a": "' + "x" * 5000)], "otherwise"),
    "a further call before the first is the same": (
        "restart",
        [FIND],
        [ToolCall(0, "c", "find", '{"a": 2}'), ToolCall(1, "d", "f")],
        "otherwise",
    ),
    "arguments where there were none": (
        "restart",
        [ToolCall(0, "c", "f"), SECOND],
        [ToolCall(0, "c", "f", '{"a": 1}'), SECOND, *OVER],
        "otherwise",
    ),
    "another second choice": (
        "restart",
        [Text("a"), Text("b", choice=1)],
        [Text("a"), Text("c", choice=1)],
        "is another",
    ),
    "a picture before the text": ("restart", [TEXT], [Media("image", 9), TEXT, *OVER], "otherwise"),
}


@pytest.mark.parametrize(("policy", "told", "new", "why"), FAILING.values(), ids=FAILING)
def test_an_attempt_that_cannot_be_joined(policy: Policy, told: list[Event], new: list[Event], why: str) -> None:
    seam = seam_after(*told, on_break=policy)
    got = seam.feed([*new, Usage(1, 2), Text("more"), *OVER])
    assert why in seam.failed
    assert got[-1:] == [Usage(1, 2)], "what it cost is to be known"
    assert not [event for event in got if isinstance(event, Finish | End)]
    assert not seam.joined
    assert seam.feed([Text("x"), END]) == []


def test_arguments_that_cannot_become_the_same_are_not_kept() -> None:
    seam = seam_after(FIND, on_break="restart")
    seam.feed([ToolCall(0, "c1", "find", '{"a": "'), ToolCall(0, arguments="x" * 900)])
    assert not seam.failed
    seam.feed([ToolCall(0, arguments="x" * 900)])
    assert "otherwise" in seam.failed


def test_a_call_that_turns_out_to_be_another_later_fails_before_the_end() -> None:
    seam = seam_after(ToolCall(0, "c", "f"), SECOND, on_break="restart")
    assert seam.feed([ToolCall(0, "c", "f"), SECOND, ToolCall(2, "d", "g", "{}")]) == [
        ToolCall(2, "d", "g", "{}", block=1)
    ]
    assert seam.feed([ToolCall(0, arguments='{"a": 1}'), *OVER]) == []
    assert "otherwise" in seam.failed


RESTARTED: dict[str, tuple[list[Event], list[Event], list[Event]]] = {
    "the same": (
        [TEXT],
        [Start("b"), Text("The quick"), Text(" brown fox jumps over."), *OVER],
        [Text(" over."), *OVER],
    ),
    "the same, and no more": ([TEXT], [TEXT, *OVER], OVER),
    "thinks otherwise": (
        [Reasoning("hm"), Text("a", block=1)],
        [Reasoning("so"), Text("ab", block=1), *OVER],
        [Text("b", block=1), *OVER],
    ),
    "a whole call": (
        [TEXT, FIND],
        [TEXT, ToolCall(0, "x", "find"), ToolCall(0, arguments='{"a"'), ToolCall(0, arguments=": 1}"), *OVER],
        OVER,
    ),
    "a whole call, written otherwise": (
        [ToolCall(0, "c", "find", '{"a":1,"b":[]}')],
        [ToolCall(0, "x", "find", '{ "b": [],\n "a": 1 }'), *OVER],
        OVER,
    ),
    "a whole call, and another": (
        [FIND],
        [ToolCall(0, "x", "find", '{"a": 1}'), ToolCall(1, "y", "f", "{}"), *OVER],
        [ToolCall(1, "y", "f", "{}", block=1), *OVER],
    ),
    "a whole call, and one with the first one's id": (
        [FIND],
        [ToolCall(0, "c0", "find", '{"a": 1}'), ToolCall(1, "c1", "f", "{}"), *OVER],
        [ToolCall(1, "", "f", "{}", block=1), *OVER],
    ),
    "a call without arguments": (
        [ToolCall(0, "c", "f"), SECOND],
        [ToolCall(0, "x", "f", "{"), ToolCall(0, arguments="}"), SECOND, *OVER],
        OVER,
    ),
    "no arguments, said otherwise": ([ToolCall(0, "c", "f", "null")], [ToolCall(0, "x", "f", "{}"), *OVER], OVER),
    "calls side by side": (
        [FIND, SECOND],
        [
            ToolCall(0, "x", "find"),
            ToolCall(1, "y", "find"),
            ToolCall(1, arguments='{"b": 2}'),
            ToolCall(0, arguments='{"a": 1}'),
            Text("So"),
            *OVER,
        ],
        [Text("So", block=1), *OVER],
    ),
    "the name of a call": (
        [ToolCall(0, "c1", "find", block=2)],
        [ToolCall(0, "x9", "find", block=0), ToolCall(0, arguments='{"a": 1}', block=0), *OVER],
        [ToolCall(0, arguments='{"a": 1}', block=2), *OVER],
    ),
    "a refusal": ([Refusal("I can")], [Refusal("I cannot"), *OVER], [Refusal("not"), *OVER]),
    "two choices": (
        [Text("a"), Text("x", choice=1), Text("b")],
        [Text("x", choice=1), Text("abc"), Finish("stop"), Text("y", choice=1), Finish("stop", 1), END],
        [Text("c"), Finish("stop"), Text("y", choice=1), Finish("stop", 1), END],
    ),
    "a choice of which nothing had come": (
        [Text("a")],
        [Text("ab"), Text("x", choice=1), *OVER],
        [Text("b"), Text("x", choice=1, block=1), *OVER],
    ),
    "a search": (
        [Text("a"), ServerTool("s"), Text("b", block=2)],
        [Text("a"), ServerTool("s"), ServerTool("s"), Text("bc", block=2), ServerTool("s", block=3), *OVER],
        [Text("c", block=2), ServerTool("s", block=6), *OVER],
    ),
    "breaks": ([TEXT], [Text("The quick"), Failure("f")], [Failure("f")]),
}


@pytest.mark.parametrize(("told", "new", "got"), RESTARTED.values(), ids=RESTARTED)
def test_an_answer_that_comes_again(told: list[Event], new: list[Event], got: list[Event]) -> None:
    whole, single = seam_after(*told, on_break="restart"), seam_after(*told, on_break="restart")
    assert joined(whole.feed(new)) == joined(got)
    assert joined([said for event in new for said in single.feed([event])]) == joined(got)
    assert not whole.failed
    assert not single.failed


ANEW: dict[str, tuple[list[Event], list[Event], list[Event]]] = {
    "nothing": (
        [],
        [Start("b", "n"), Reasoning("hm", signature="s"), Text("a", block=1), FIND, *OVER],
        [Start("b", "n"), Reasoning("hm", signature="s"), Text("a", block=1), FIND, *OVER],
    ),
    "a name": (
        [Start("a", "m")],
        [Start("b", "m"), Reasoning("hm", signature="s"), Text("a", block=1), *OVER],
        [Reasoning("hm", signature="s"), Text("a", block=1), *OVER],
    ),
    "another model's name": (
        [Start("a", "m")],
        [Start("b", "n"), Reasoning("hm"), Reasoning("", signature="s"), Text("a", block=1), *OVER],
        [Reasoning("hm"), Text("a", block=1), *OVER],
    ),
    "other reasoning": (
        [Start("a", "m"), Reasoning("Let me see. So")],
        [Start("b", "m"), Reasoning("The user asks"), Reasoning("", signature="s"), Text("a", block=1), *OVER],
        [Reasoning("\n\nThe user asks"), Text("a", block=2), *OVER],
    ),
    "reasoning that comes again": (
        [Reasoning("Let me see. So", block=3)],
        [Reasoning("Let me"), Reasoning(" see. So it is"), Text("a", block=1), *OVER],
        [Reasoning(" it is", block=3), Text("a", block=5), *OVER],
    ),
    "reasoning in two blocks": (
        [Reasoning("a"), Reasoning("b", block=1)],
        [Reasoning("c"), Text("d", block=1), *OVER],
        [Reasoning("\n\nc", block=1), Text("d", block=3), *OVER],
    ),
    "reasoning, and the new attempt does not think": (
        [Reasoning("hm")],
        [Text("a"), *OVER],
        [Text("a", block=1), *OVER],
    ),
    "reasoning of which no more comes": (
        [Reasoning("Let me see")],
        [Reasoning("Let"), Text("a", block=1), *OVER],
        [Text("a", block=2), *OVER],
    ),
    "reasoning, and it thinks twice": (
        [Reasoning("Let me see")],
        [Reasoning("Well"), Text("a", block=1), Reasoning("more", block=2), Text("b", block=3), *OVER],
        [Reasoning("\n\nWell"), Text("a", block=2), Reasoning("more", block=3), Text("b", block=4), *OVER],
    ),
    "whole reasoning": (
        [Reasoning("hm"), Reasoning("", signature="s")],
        [Reasoning("so", signature="t"), Text("a", block=1), *OVER],
        [Text("a", block=2), *OVER],
    ),
    "white space": ([Text("\n")], [Reasoning("so"), Text("\n"), Text("\nHi", block=0), *OVER], [Text("\nHi"), *OVER]),
    "white space, and no text": ([Text("\n")], [Text("\n"), FIND, *OVER], [FIND_LATER, *OVER]),
    "reasoning of two choices": (
        [Reasoning("a"), Reasoning("x", choice=1)],
        [Reasoning("ab"), Reasoning("y", choice=1), Text("T"), Text("U", choice=1), *OVER],
        [Reasoning("b"), Reasoning("\n\ny", choice=1), Text("T", block=1), Text("U", choice=1, block=1), *OVER],
    ),
}


@pytest.mark.parametrize(("told", "new", "got"), ANEW.values(), ids=ANEW)
def test_an_attempt_that_may_begin_anew(told: list[Event], new: list[Event], got: list[Event]) -> None:
    whole, single = seam_after(*told), seam_after(*told)
    assert joined(whole.feed(new)) == joined(got)
    assert joined([said for event in new for said in single.feed([event])]) == joined(got)
    assert whole.joined


def test_when_nothing_can_follow_nothing_passes_but_what_it_cost() -> None:
    seam = Seam(noted([Text("a")]), Way("impossible", "the stream broke"))
    assert seam.failed == "the stream broke"
    assert seam.feed([Text("b"), Usage(1, 2), *OVER]) == [Usage(1, 2)]
    assert not seam.joined


SIGNED: list[Event] = [Reasoning("", signature="s"), FIND]


def test_a_signature_of_the_same_model_passes_before_the_call_that_it_signs() -> None:
    """Gemini refuses a call that comes back without."""
    seam = seam_after(Start("a", "g"), HELLO)
    assert seam.feed([Start("b", "g"), Text("I look."), *SIGNED]) == [
        Text("I look."),
        Reasoning("", block=1, signature="s"),
        ToolCall(0, "c1", "find", '{"a": 1}', block=1),
    ]


def test_a_signature_of_another_model_does_not() -> None:
    seam = seam_after(Start("a", "g"), HELLO)
    got = seam.feed([Start("b", "h"), Text("I look."), *SIGNED])
    assert not [event for event in got if isinstance(event, Reasoning)]


@pytest.mark.parametrize("between", [Text("so"), ToolCall(0, "c1", "find", "{}", block=1)])
def test_nor_one_that_signs_something_else(between: Event) -> None:
    seam = seam_after(Start("a", "g"), HELLO)
    got = seam.feed([Start("b", "g"), Text("I look."), Reasoning("", signature="s"), between, FIND])
    assert not [event for event in got if isinstance(event, Reasoning)]


def test_what_was_held_when_an_attempt_broke_is_left_to_the_next() -> None:
    seam = seam_after(TEXT)
    assert seam.feed([Text("The qui")]) == []
    assert seam.flush() == []


def test_new_text_goes_out_at_once_and_then_everything_does() -> None:
    seam = seam_after(TEXT)
    assert not seam.joined
    assert seam.feed([Text(" over")]) == [Text(" over")]
    assert seam.joined
    assert seam.feed([Text("The quick brown fox jumps")]) == [Text("The quick brown fox jumps")]


def test_a_repetition_is_joined_once_it_says_something_new() -> None:
    seam = seam_after(TEXT, on_break="restart")
    assert seam.feed([Text("The quick")]) == []
    assert not seam.joined
    assert seam.feed([Text(" brown fox jumps")]) == []
    assert seam.joined


def test_a_third_attempt_goes_on_from_the_second() -> None:
    delivered = noted([Start("a"), Text("One, ")])
    for piece in ("two, ", "three, ", "four."):
        seam = Seam(delivered, delivered.way("continue"))
        delivered.note(seam.feed([Start("b"), Text(piece, block=7)]))
    assert delivered.events == [Start("a"), Text("One, two, three, four.")]


def test_no_more_is_held_than_can_be_compared_quickly() -> None:
    again = "ab" * 10_000
    seam = seam_after(Text(f"So: {again}"), limit=10**9)
    out = ""
    for fed in range(10, len(again) + 10, 10):
        got = seam.feed([Text(again[fed - 10 : fed])])
        out += "".join(event.text for event in got if isinstance(event, Text))
        assert fed - len(out) <= SEAM_MOST
    assert out == again


def test_negative_block_numbers_are_nothing_special() -> None:
    seam = seam_after(TEXT)
    assert seam.feed([Text("The quick", block=-1)]) == []
