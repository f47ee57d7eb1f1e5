"""What holds for every dialect that can go on behind a provider's own frames."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import resuming
from encoded import EVENTS, OPTIONS, arbitrary, encode, until_over
from exchanges import fold
from midstream.dialects.base import Dialect
from midstream.dialects.registry import DIALECTS
from midstream.events import END, OPAQUE, Event, Failure, Finish, Reasoning, Start, Text, Usage
from midstream.wire.framing import Framing
from resuming import Native, coalesced, native

RESUMABLE = [dialect for dialect in DIALECTS if dialect.resume is not None]
PATH = {"gemini": "/v1beta/models/m:streamGenerateContent?alt=sse", "ollama": "/api/chat"}


def written(dialect: Dialect, events: list[Event]) -> Native:
    """These events as a stream of the dialect's."""
    assert dialect.encoder is not None
    path = PATH.get(dialect.name, "")
    framing = Framing(dialect.framing(path, {}))
    body = framing.write(encode(dialect.encoder(OPTIONS), events)) + framing.close()
    return native("", dialect, path, framing.content_type, body)


def test_these_five_can_be_resumed() -> None:
    names = {"openai_chat", "openai_responses", "anthropic_messages", "gemini", "ollama"}
    assert {dialect.name for dialect in RESUMABLE} == names


@pytest.mark.parametrize("blind", [False, True])
@pytest.mark.parametrize("dialect", RESUMABLE, ids=lambda d: d.name)
@given(data=st.data())
def test_any_answer_of_ours_goes_on_at_any_frame(dialect: Dialect, blind: bool, data: st.DataObject) -> None:
    """blind: the events alone do for texts and reasons; how many blocks there were, only the decoder knows."""
    stream = written(dialect, data.draw(arbitrary()))
    cut = data.draw(st.integers(0, len(stream.ends)))
    again = native("", dialect, stream.path, stream.content_type, stream.healed(cut, blind=blind))
    before, after = fold(stream.events), fold(again.events)
    assert (after.texts, after.reasoning, after.refusal) == (before.texts, before.reasoning, before.refusal)
    assert (after.ended, after.failure is None) == (before.ended, before.failure is None)
    assert not after.malformed
    if not blind:
        assert resuming.told(after, before)[3:] == resuming.told(before, before)[3:]


@pytest.mark.parametrize("dialect", RESUMABLE, ids=lambda d: d.name)
@given(before=st.lists(EVENTS, max_size=15), after=arbitrary())
def test_whatever_is_said_to_have_been_written_an_encoder_goes_on(
    dialect: Dialect, before: list[Event], after: list[Event]
) -> None:
    assert dialect.resume is not None
    encode(dialect.resume(OPTIONS, coalesced(before), None), after)
    decoder = dialect.decoder() if dialect.decoder else None
    frames = encode(dialect.resume(OPTIONS, coalesced(before), decoder), after)
    over = until_over(before) != before or (before and until_over(before)[-1] in (END,))
    assert frames == [] or not over


@pytest.mark.parametrize("dialect", RESUMABLE, ids=lambda d: d.name)
def test_nothing_follows_an_answer_that_was_whole(dialect: Dialect) -> None:
    stream = written(dialect, [Start(), Text("a"), Finish("stop"), Usage(1, 2), END])
    body = stream.healed(len(stream.ends), [Text("b"), END])
    assert body == stream.body[: stream.ends[-1]]


@pytest.mark.parametrize("dialect", RESUMABLE, ids=lambda d: d.name)
def test_usage_that_was_summed_has_no_providers_own_words(dialect: Dialect) -> None:
    """Of several attempts: `raw` is empty, and the last usage wins."""
    stream = written(
        dialect, [Start(), Text("a"), Usage(1, 2, raw={"prompt_tokens": 1}), Text("b"), Finish("stop"), END]
    )
    rest: list[Event] = [OPAQUE, Text("c"), Finish("stop"), Usage(30, 20, 10), END]
    cut = next(n for n, said in enumerate(stream.said, 1) if Text("a") in said or Text("a", block=0) in said)
    said = fold(native("", dialect, stream.path, stream.content_type, stream.healed(cut, rest)).events)
    assert said.text == "ac"
    usage = said.usage_events[-1]
    assert (usage.input_tokens, usage.output_tokens) == (30, 20)


@pytest.mark.parametrize("dialect", RESUMABLE, ids=lambda d: d.name)
def test_another_attempts_names_and_blocks_change_nothing(dialect: Dialect) -> None:
    """A second attempt numbers its blocks anew, and has an id and a model of its own."""
    first: list[Event] = [Start("", "one"), Reasoning("t"), Text("a", block=1), Text("b", block=1), END]
    stream = written(dialect, first)
    cut = next(n for n, said in enumerate(stream.said, 1) if any(getattr(event, "text", "") == "a" for event in said))
    rest: list[Event] = [
        Start("chatcmpl-other", "other", 5),
        Text("c", block=0),
        Text("d", block=0),
        Finish("stop"),
        END,
    ]
    body = stream.healed(cut, rest)
    assert b"other" not in body
    again = native("", dialect, stream.path, stream.content_type, body).events
    assert fold(again).text == "acd"
    assert len({event.block for event in again if isinstance(event, Text)}) == 1


@pytest.mark.parametrize("dialect", RESUMABLE, ids=lambda d: d.name)
def test_a_failure_ends_it(dialect: Dialect) -> None:
    stream = written(dialect, [Start(), Text("a"), Text("b"), END])
    body = stream.healed(len(stream.ends) // 2, [Failure("gone"), END])
    said = fold(native("", dialect, stream.path, stream.content_type, body).events)
    assert said.failure is not None
    assert said.failure.message == "gone"
    assert not said.ended
