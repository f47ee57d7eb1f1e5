"""A request to one of OpenAI's models, for another of them: what that is known to refuse is said anew, all else stays."""

from __future__ import annotations

from midstream.conversation import ReasoningSettings
from midstream.dialects.openai.effort import NO_REASONING, effort, is_known
from midstream.dialects.openai.parts import FIXED_SAMPLING
from midstream.wire.json_text import Json

_UNLESS_TOLD = {"temperature": 1, "top_p": 1, "presence_penalty": 0, "frequency_penalty": 0}
"""Sampling that a model without a choice of it refuses, and what it is where a request says nothing."""


def adapt_chat(body: Json, asked: str, model: str) -> tuple[Json, tuple[str, ...]]:
    """Return the body of a chat for a model, less what that is known to refuse, and what that leaves out."""
    said, dropped = dict(body), set[str]()
    if FIXED_SAMPLING.search(model):
        most = said.pop("max_tokens", None)
        if most is not None and said.get("max_completion_tokens") is None:
            said["max_completion_tokens"] = most
        _leave_out_sampling(said, dropped)
    _say_effort(said, "reasoning_effort", model, dropped)
    return said, tuple(sorted(dropped))


def adapt_responses(body: Json, asked: str, model: str) -> tuple[Json, tuple[str, ...]]:
    """Return the body of a request to Responses for a model, less what that is known to refuse, and what that leaves out."""
    said, dropped = dict(body), set[str]()
    if FIXED_SAMPLING.search(model):
        _leave_out_sampling(said, dropped)
    reasoning = said.get("reasoning")
    if isinstance(reasoning, dict):
        inner = dict(reasoning)
        _say_effort(inner, "effort", model, dropped)
        if NO_REASONING.search(model):
            dropped |= {"reasoning"} if any(inner.values()) else set()
            del said["reasoning"]
        else:
            said["reasoning"] = inner
    return said, tuple(sorted(dropped))


def _leave_out_sampling(said: Json, dropped: set[str]) -> None:
    for name, plain in _UNLESS_TOLD.items():
        if said.pop(name, None) not in (None, plain):
            dropped.add(name)


def _say_effort(said: Json, key: str, model: str, dropped: set[str]) -> None:
    """Say the nearest effort that the model takes, where that is known."""
    word = said.get(key)
    if not isinstance(word, str) or not word or not is_known(model):
        return
    taken = effort(ReasoningSettings(word), model, dropped, own=False)
    if taken:
        said[key] = taken
    else:
        del said[key]
