"""Both attempts, joined, are one lifecycle in the client's own dialect; a recorded answer that broke anywhere comes out whole."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

import encoded
import exchanges
from encoded import EVENTS, OPTIONS
from exchanges import Exchange
from midstream.dialects.base import Dialect
from midstream.events import (
    CONTENT,
    END,
    End,
    Event,
    Finish,
    Reasoning,
    Refusal,
    ServerTool,
    Start,
    Text,
    ToolCall,
    Usage,
)
from midstream.healing.splice import Seam, Way
from spliced import POLICIES, READ_AND_WRITTEN, Policy, joined, noted

# What the client's own dialect makes of both attempts is what it makes of one.


def client_of(dialect: Dialect, events: Sequence[Event]) -> list[Event]:
    """What a client of a dialect reads of what its encoder writes."""
    assert dialect.encoder is not None
    assert dialect.decoder is not None
    decoder = dialect.decoder()
    frames = encoded.encode(dialect.encoder(OPTIONS), events)
    return [said for frame in frames for said in decoder.feed(frame)] + decoder.close()


def says(events: Sequence[Event]) -> tuple[object, ...]:
    """What an answer says, however it is cut into pieces and numbered."""
    said = exchanges.fold(list(events))
    calls = [(call["name"], call["arguments"]) for _, call in sorted(said.tools.items())]
    return said.texts, said.refusal, calls, said.finishes, said.ended, said.failure, said.malformed


NUMBERED = st.lists(st.integers(100, 999), min_size=3, max_size=12, unique=True).map(lambda ns: [f"w{n} " for n in ns])
"""Words of which none is like another by chance."""


@pytest.mark.parametrize("dialect", READ_AND_WRITTEN, ids=lambda dialect: dialect.name)
@given(words=NUMBERED, at=st.integers(1, 11), calls=st.booleans(), thinks=st.booleans(), anew=st.booleans())
def test_one_lifecycle_in_every_dialect(
    dialect: Dialect, words: list[str], at: int, calls: bool, thinks: bool, anew: bool
) -> None:
    at = min(at, len(words))
    thought: list[Event] = [Reasoning("Let me see.")] if thinks else []
    call: list[Event] = [ToolCall(0, "c1", "find", block=2), ToolCall(0, arguments="{}", block=2)] if calls else []
    over: list[Event] = [Usage(5, 7), Finish("tool_calls" if calls else "stop"), END]
    texts: list[Event] = [Text(word, block=1) for word in words]
    first: list[Event] = [Start("a", "m", 1), *thought, *texts[:at]]
    rest = texts if anew else texts[at:]
    second: list[Event] = [Start("b", "n", 2), *thought, *rest, *call, *over]
    seam = Seam(noted(first), Way("continue"))
    both = [*first, *seam.feed(second)]
    assert says(client_of(dialect, both)) == says(client_of(dialect, [*first, *texts[at:], *call, *over]))


@given(st.lists(EVENTS, max_size=15), st.lists(EVENTS, max_size=15), st.sampled_from(["continue", "restart"]))
def test_whatever_comes_is_joined_or_fails(told: list[Event], new: list[Event], policy: Policy) -> None:
    delivered = noted(told)
    way = delivered.way(policy)
    seam, single = Seam(delivered, way), Seam(delivered, way)
    got = seam.feed(new)
    pieces = [said for event in new for said in single.feed([event])]
    assert (joined(got), seam.failed) == (joined(pieces), single.failed)
    assert not seam.failed or not [event for event in got if isinstance(event, End)] or END in new
    assert not (delivered.begun and [event for event in got if isinstance(event, Start)])


def called(index: int, arguments: str, cut: int, choice: int) -> list[Event]:
    """A call in three fragments."""
    name = ToolCall(index, f"id{index}", f"f{index}", choice=choice, block=index)
    return [
        name,
        *(ToolCall(index, "", "", said, choice, index) for said in (arguments[:cut], arguments[cut:]) if said),
    ]


@st.composite
def answers(draw: st.DrawFn) -> list[Event]:
    """A well-formed answer: texts, refusals, reasoning and calls of one or two choices."""
    events: list[Event] = [Start("a", "m")]
    counts = {0: 0, 1: 0}
    for _ in range(draw(st.integers(1, 8))):
        choice, kind = (
            draw(st.integers(0, 1)),
            draw(st.sampled_from(["text", "text", "call", "reason", "refuse", "serve"])),
        )
        words = draw(st.sampled_from(["Hello", ", ", "a", "Hello, a", " ", "\n", "see"]))
        if kind == "call":
            arguments = draw(st.sampled_from(["", "{}", '{"a": 1}', '{"b": {}}']))
            events += called(counts[choice], arguments, draw(st.integers(0, 9)), choice)
            counts[choice] += 1
        else:
            said = {"text": Text, "reason": Reasoning, "refuse": Refusal, "serve": ServerTool}[kind]
            events.append(said(words, choice=choice, block=draw(st.integers(0, 2))))
    return [*events, Finish("stop"), *([Finish("stop", 1)] if draw(st.booleans()) else []), END]


@given(answers(), st.integers(0, 30))
def test_an_answer_that_comes_again_is_whole_wherever_it_broke(answer: list[Event], at: int) -> None:
    delivered = noted(answer[:at])
    way = delivered.way("restart")
    if delivered.finished() or way.kind == "impossible":
        return
    seam = Seam(delivered, way)
    got = seam.feed(answer)
    assert not seam.failed
    assert says([*answer[:at], *got]) == says(answer)


# The recordings: every answer, broken at some places, comes again.


def places(events: Sequence[Event]) -> list[int]:
    contents = [at for at, event in enumerate(events) if isinstance(event, CONTENT)]
    return [contents[len(contents) * part // 4] for part in range(4)] if contents else []


@pytest.mark.parametrize("exchange", encoded.recordings(), ids=lambda exchange: exchange.id)
def test_a_recorded_answer_that_comes_again_is_whole(exchange: Exchange) -> None:
    events = encoded.events_of(exchange)
    for at in places(events):
        delivered = noted(events[:at])
        for policy in (
            POLICIES if not any(isinstance(event, CONTENT) and event.choice for event in events) else POLICIES[:1]
        ):
            way = delivered.way(policy)
            if way.kind != "impossible":
                seam = Seam(delivered, way)
                got = seam.feed(events)
                assert not seam.failed
                assert says([*events[:at], *got]) == says(events)


@pytest.mark.parametrize("exchange", encoded.recordings(), ids=lambda exchange: exchange.id)
def test_a_recorded_answer_that_goes_on_exactly_is_whole(exchange: Exchange) -> None:
    events = encoded.events_of(exchange)
    for at in places(events):
        delivered = noted(events[:at])
        way = delivered.way("continue")
        several = any(isinstance(event, CONTENT) and event.choice for event in events)
        if way.kind == "continue" and "inside the text" in way.reason and not several:
            seam = Seam(delivered, way)
            assert says([*events[:at], *seam.feed(events[at:])]) == says(events)
            assert not seam.failed
