"""A request for another model of its own dialect: what that is known to refuse is said anew, and nothing else."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest

from midstream.conversation import Inexpressible
from midstream.dialects.gemini.writing import NO_SIGNATURE
from translated import ANTHROPIC, CHAT, DIALECTS, GOOGLE, RESPONSES, Body, body_of, calls_of, read, tools_of, write

OPUS = "claude-opus-5"
THOUGHT = {"type": "thinking", "thinking": "t", "signature": "s"}
SAID = {"type": "text", "text": "x"}
HI = {"role": "user", "content": "hi"}


def adapt(dialect: str, body: Body, model: str, asked: str = OPUS) -> tuple[Body, tuple[str, ...]]:
    """The body for a model, and what is left out; the body that was given stays as it is."""
    function = DIALECTS[dialect].adapt
    assert function is not None
    before = deepcopy(body)
    said = function(body, asked, model)
    assert body == before
    return said


def changed(dialect: str, model: str, asked: str = OPUS, **more: Any) -> tuple[Body, tuple[str, ...]]:
    """The fields that are said anew (None: no more), beside a field nobody knows, which stays."""
    body = body_of(dialect, **more, of_tomorrow={"x": 1})
    said, dropped = adapt(dialect, body, model, asked)
    assert said["of_tomorrow"] == {"x": 1}
    names = sorted(body.keys() | said.keys())
    return {name: said.get(name) for name in names if said.get(name) != body.get(name)}, dropped


EVERYTHING: Body = {
    "max_tokens": 500_000,
    "temperature": 0.5,
    "top_p": 0.5,
    "top_k": 3,
    "thinking": {"type": "adaptive", "of_tomorrow": 1},
    "output_config": {"effort": "newest", "task_budget": 3},
    "tools": [{"name": "f", "input_schema": {}, "strict": True}],
    "messages": [HI, {"role": "system", "content": "s"}, {"role": "assistant", "content": [THOUGHT, SAID]}, HI],
}


@pytest.mark.parametrize("dialect", [CHAT, RESPONSES, ANTHROPIC, GOOGLE])
def test_a_model_nobody_knows_gets_the_words_as_they_are(dialect: str) -> None:
    sampling = {
        "temperature": 0.5,
        "top_p": 0.5,
        "max_tokens": 9,
        "reasoning_effort": "max",
        "reasoning": {"effort": "max"},
    }
    more = EVERYTHING if dialect == ANTHROPIC else {} if dialect == GOOGLE else sampling
    assert changed(dialect, "qwen3", **more) == ({}, ())
    assert changed(dialect, "", **more) == ({}, ())


@pytest.mark.parametrize("dialect", [CHAT, RESPONSES, ANTHROPIC, GOOGLE])
@pytest.mark.parametrize("model", ["gpt-5", "claude-3-haiku", "gemini-2.5-pro"])
def test_a_body_that_cannot_be_read_is_left_to_its_provider(dialect: str, model: str) -> None:
    for body in ({}, {"messages": 3, "contents": 3, "input": 3}, {"model": 3, "messages": [3], "contents": [3]}):
        assert adapt(dialect, body, model) == (body, ())


# --- OpenAI


def test_an_openai_model_without_a_choice_of_sampling_is_offered_none() -> None:
    asked: Body = {"max_tokens": 50, "temperature": 0.2, "top_p": 1, "presence_penalty": 0.5, "frequency_penalty": 0}
    anew = {**dict.fromkeys(asked), "max_completion_tokens": 50}
    assert changed(CHAT, "gpt-5-mini", **asked) == (anew, ("presence_penalty", "temperature"))
    assert changed(CHAT, "o3", max_tokens=5, max_completion_tokens=6) == ({"max_tokens": None}, ())
    assert changed(CHAT, "gpt-4.1-mini", **asked) == ({}, ())
    assert changed(RESPONSES, "openai/gpt-5", temperature=0.2, max_output_tokens=50) == (
        {"temperature": None},
        ("temperature",),
    )
    assert changed(RESPONSES, "gpt-4.1", temperature=0.2) == ({}, ())


@pytest.mark.parametrize(
    ("model", "word", "anew", "dropped"),
    [
        ("gpt-5", "xhigh", "high", ()),
        ("gpt-5", "low", "low", ()),
        ("gpt-5.6", "max", "max", ()),
        ("o3", "none", None, ("reasoning",)),
        ("gpt-4.1", "high", None, ("reasoning",)),
        ("gpt-4.1", "none", None, ()),
    ],
)
def test_an_effort_is_the_nearest_that_an_openai_model_takes(
    model: str, word: str, anew: str | None, dropped: tuple[str, ...]
) -> None:
    said, lost = adapt(CHAT, body_of(CHAT, reasoning_effort=word), model)
    assert (said.get("reasoning_effort"), lost) == (anew, dropped)
    said, lost = adapt(RESPONSES, body_of(RESPONSES, reasoning={"effort": word, "x": 1}), model)
    if model == "gpt-4.1":
        assert ("reasoning" in said, lost) == (False, ("reasoning",))
    else:
        assert (said["reasoning"].get("effort"), said["reasoning"]["x"], lost) == (anew, 1, dropped)


@pytest.mark.parametrize("dialect", [CHAT, RESPONSES])
def test_a_continuation_by_another_openai_model_is_adapted_too(dialect: str) -> None:
    key = {CHAT: "max_tokens", RESPONSES: "max_output_tokens"}[dialect]
    conversation = read(dialect, body_of(dialect, model="gpt-4.1", temperature=0.2, x=1, **{key: 50}))
    said = write(dialect, conversation, "gpt-5-mini")
    assert (said.body.get("temperature"), said.body["x"], said.dropped) == (None, 1, ("temperature",))
    assert said.body[{CHAT: "max_completion_tokens", RESPONSES: "max_output_tokens"}[dialect]] == 50
    assert write(dialect, conversation, "gpt-4.1").body["temperature"] == 0.2


# --- Anthropic


def test_a_smaller_claude_is_not_asked_for_more_than_it_has() -> None:
    asked: Body = {"max_tokens": 30_000, "thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}
    answer = {"role": "assistant", "content": [THOUGHT, SAID]}
    messages = [HI, answer, HI]
    without = [HI, {"role": "assistant", "content": [SAID]}, HI]
    assert changed(ANTHROPIC, "claude-haiku-4-5", **asked, messages=messages) == (
        {"thinking": {"type": "enabled", "budget_tokens": 15_000}, "output_config": None, "messages": without},
        (),
    )
    assert changed(ANTHROPIC, "claude-3-5-haiku", **asked, messages=messages) == (
        {"max_tokens": 8192, "thinking": None, "output_config": None, "messages": without},
        ("max_tokens", "reasoning"),
    )
    assert changed(ANTHROPIC, "claude-sonnet-5", **asked, messages=messages) == ({"messages": without}, ())
    assert changed(ANTHROPIC, f"{OPUS}-20260101", **asked, messages=messages) == ({}, ())


BUDGET = {"type": "enabled", "budget_tokens": 3000, "of_tomorrow": 1}


@pytest.mark.parametrize(
    ("model", "thinking", "anew"),
    [
        ("claude-sonnet-4", BUDGET, BUDGET),
        ("claude-sonnet-4-6", BUDGET, BUDGET),
        ("claude-opus-4-7", BUDGET, {"type": "adaptive"}),
        ("claude-3-haiku", BUDGET, None),
        ("claude-opus-4-7", {"type": "adaptive", "display": "omitted"}, {"type": "adaptive", "display": "omitted"}),
        ("claude-haiku-4-5", {"type": "disabled"}, {"type": "disabled"}),
        ("claude-opus-5-5", {"type": "disabled"}, None),
        ("claude-opus-5", {"type": "between_tools"}, {"type": "disabled"}),
        ("claude-sonnet-5-5", {"type": "between_tools"}, {"type": "between_tools"}),
        ("claude-opus-5", {"type": "of_tomorrow"}, {"type": "of_tomorrow"}),
    ],
)
def test_thinking_is_said_anew_only_where_a_claude_refuses_it(model: str, thinking: Body, anew: Body | None) -> None:
    assert adapt(ANTHROPIC, body_of(ANTHROPIC, thinking=thinking, max_tokens=8000), model)[0].get("thinking") == anew


def test_a_budget_fits_into_the_tokens_that_a_claude_has() -> None:
    asked: Body = {"max_tokens": 60_000, "thinking": {"type": "enabled", "budget_tokens": 40_000}}
    anew = {"max_tokens": 32_000, "thinking": {"type": "enabled", "budget_tokens": 31_999}}
    assert changed(ANTHROPIC, "claude-opus-4-1", **asked) == (anew, ("max_tokens",))


def test_without_its_thought_a_call_is_answered_without_a_budget() -> None:
    body = body_of(ANTHROPIC, **calls_of(ANTHROPIC), max_tokens=8000, thinking=BUDGET)
    body["messages"][1]["content"].insert(0, THOUGHT)
    said, dropped = adapt(ANTHROPIC, body, "claude-haiku-4-5", "claude-sonnet-4")
    assert ("thinking" in said, dropped) == (False, ("reasoning",))
    assert adapt(ANTHROPIC, body, "claude-haiku-4-5", "claude-haiku-4-5-20251001") == (body, ())


@pytest.mark.parametrize(
    ("asked", "model", "effort", "anew", "dropped"),
    [
        (OPUS, "claude-opus-4-6", "xhigh", {"output_config": {"effort": "high", "x": 1}}, ()),
        ("claude-opus-4-6", "claude-haiku-4-5", "low", {"output_config": {"x": 1}}, ("reasoning",)),
        ("claude-opus-4-6", "claude-opus-4-5", "low", {}, ()),
    ],
)
def test_an_effort_alone_makes_no_claude_think(
    asked: str, model: str, effort: str, anew: Body, dropped: tuple[str, ...]
) -> None:
    said = changed(ANTHROPIC, model, asked, max_tokens=9000, output_config={"effort": effort, "x": 1})
    assert said == (anew, dropped)


@pytest.mark.parametrize(
    ("model", "sampling", "left", "dropped"),
    [
        ("claude-opus-4-7", {"temperature": 0.5, "top_p": 1, "top_k": 1}, set(), ("temperature", "top_k")),
        ("claude-haiku-4-5", {"temperature": 0.5, "top_p": 0.5, "top_k": 1}, {"temperature", "top_k"}, ("top_p",)),
        ("claude-haiku-4-5", {"temperature": 1, "top_p": 0.5}, {"top_p"}, ()),
        ("claude-3-5-haiku", {"temperature": 0.5, "top_p": 0.5}, {"temperature", "top_p"}, ()),
    ],
)
def test_a_claude_gets_the_sampling_that_it_takes(
    model: str, sampling: Body, left: set[str], dropped: tuple[str, ...]
) -> None:
    said, lost = changed(ANTHROPIC, model, **sampling)
    assert (set(sampling) - said.keys(), lost) == (left, dropped)


def test_thinking_in_other_words_leaves_no_choice_of_sampling() -> None:
    said, dropped = changed(
        ANTHROPIC, "claude-haiku-4-5", max_tokens=9000, thinking={"type": "adaptive"}, temperature=0.5
    )
    assert said["temperature"] is None
    assert dropped == ("temperature",)


def test_an_older_claude_has_neither_strict_tools_nor_system_messages_later() -> None:
    later = {"role": "system", "content": "later"}
    asked: Body = {**tools_of(ANTHROPIC, strict=True), "system": "first", "messages": [HI, later]}
    said, dropped = changed(ANTHROPIC, "claude-sonnet-4", **asked)
    assert said["tools"] == tools_of(ANTHROPIC)["tools"]
    assert said["messages"] == [HI]
    assert said["system"] == [{"type": "text", "text": "first"}, {"type": "text", "text": "later"}]
    assert dropped == ("strict", "the place of a system message")
    assert changed(ANTHROPIC, OPUS, **asked) == ({}, ())


@pytest.mark.parametrize(
    ("dialect", "model", "more", "why"),
    [
        (ANTHROPIC, "claude-opus-5-5", {**tools_of(ANTHROPIC), "tool_choice": {"type": "any"}}, "tool_choice"),
        (ANTHROPIC, "claude-sonnet-4-6", {"messages": [HI, {"role": "assistant", "content": "so"}]}, "a prefill"),
        (
            ANTHROPIC,
            "claude-sonnet-4",
            {"output_config": {"format": {"type": "json_schema", "schema": {}}}},
            "structured output",
        ),
        (GOOGLE, "gemini-3.6-flash", {"contents": [{"role": "model", "parts": [{"text": "so"}]}]}, "a prefill"),
        (
            GOOGLE,
            "gemini-2.5-flash",
            {**tools_of(GOOGLE), "generationConfig": {"responseMimeType": "application/json"}},
            "tools together",
        ),
    ],
)
def test_what_cannot_be_left_out_rules_a_model_out(dialect: str, model: str, more: Body, why: str) -> None:
    with pytest.raises(Inexpressible, match=why):
        adapt(dialect, body_of(dialect, **more), model)


# --- Gemini


@pytest.mark.parametrize(
    ("model", "thinking", "anew", "dropped"),
    [
        ("gemini-2.5-flash", {"thinkingLevel": "LOW", "includeThoughts": True}, (1024, True), ()),
        ("gemini-2.5-pro", {"thinkingBudget": 0}, (128, None), ()),
        ("gemini-2.5-flash", {"thinkingBudget": 0}, (0, None), ()),
        ("gemini-2.0-flash", {"thinkingBudget": 9}, None, ("reasoning",)),
    ],
)
def test_gemini_is_told_how_much_to_think_in_its_generations_words(
    model: str, thinking: Body, anew: tuple[int, bool | None] | None, dropped: tuple[str, ...]
) -> None:
    for wrap in (lambda body: body, lambda body: {"project": "p", "request": body}):
        said, lost = adapt(
            GOOGLE, wrap(body_of(GOOGLE, generation_config={"thinking_config": thinking, "x": 1})), model
        )
        config = said.get("request", said)["generation_config"]
        known = config.get("thinkingConfig", config.get("thinking_config"))
        assert (known and (known["thinkingBudget"], known.get("includeThoughts"))) == anew
        assert (config["x"], lost, "project" in said) == (1, dropped, "request" in said)


def test_gemini_3_gets_a_signature_for_the_calls_of_older_models() -> None:
    body = body_of(GOOGLE, **calls_of(GOOGLE))
    said, dropped = adapt(GOOGLE, body, "gemini-3-flash")
    assert said["contents"][1]["parts"][0]["thoughtSignature"] == NO_SIGNATURE
    assert dropped == ()
    assert adapt(GOOGLE, said, "gemini-3-pro") == (said, ())
    assert adapt(GOOGLE, body, "gemini-2.5-pro") == (body, ())
    assert json.dumps(said).count(NO_SIGNATURE) == 1


def test_a_continuation_by_another_gemini_is_adapted_too() -> None:
    conversation = read(
        GOOGLE, body_of(GOOGLE, generationConfig={"thinkingConfig": {"thinkingLevel": "LOW"}}), "gemini-3-pro"
    )
    said = write(GOOGLE, conversation, "gemini-2.5-flash").body
    assert said["generationConfig"] == {"thinkingConfig": {"thinkingBudget": 1024}}
    assert write(GOOGLE, conversation, "gemini-3-pro").body["generationConfig"]["thinkingConfig"] == {
        "thinkingLevel": "LOW"
    }
