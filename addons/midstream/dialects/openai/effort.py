"""How much to think, in the words that each of OpenAI's models takes.

https://developers.openai.com/api/docs/guides/reasoning
"""

from __future__ import annotations

import re

from midstream.conversation import ReasoningSettings

NO_REASONING = re.compile(r"(^|/)(gpt-3|gpt-4|chatgpt-|gpt-5.*chat)")
"""OpenAI's models that refuse `reasoning_effort`. Others' servers ignore it where it says nothing to them."""

_RANKS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_EVERY = ("low", "medium", "high")
_BY_MODEL = (
    (re.compile(r"(^|/)gpt-5-pro"), ("high",)),
    (re.compile(r"(^|/)gpt-5(?![.\d])"), ("minimal", *_EVERY)),
    (re.compile(r"(^|/)gpt-5\.1-codex-max"), ("none", *_EVERY, "xhigh")),
    (re.compile(r"(^|/)gpt-5\.1(?!\d)"), ("none", *_EVERY)),
    (re.compile(r"(^|/)gpt-5\.[2-5](?!\d)"), ("none", *_EVERY, "xhigh")),
    (re.compile(r"(^|/)gpt-[5-9]"), ("none", *_EVERY, "xhigh", "max")),
)
"""The first that matches; any other model is taken for one of the o series, or of its kind."""

_O_SERIES = re.compile(r"(^|/)o\d")


def is_known(model: str) -> bool:
    """Whether it is known which efforts a model takes."""
    return any(pattern.search(model) for pattern in (NO_REASONING, _O_SERIES, *(pattern for pattern, _ in _BY_MODEL)))


def effort(reasoning: ReasoningSettings, model: str, dropped: set[str], *, own: bool) -> str:
    """OpenAI's word for how much to think, the nearest that the model takes; "" where there is none. own: these are OpenAI's own
    settings, which the client may know better."""
    said = reasoning.effort or _level(reasoning.budget)
    if own and reasoning.effort:
        return said
    if NO_REASONING.search(model):
        if said != "none":
            dropped.add("reasoning")
        return ""
    taken = next((words for pattern, words in _BY_MODEL if pattern.search(model)), _EVERY)
    if said == "none" and said not in taken:
        dropped.add("reasoning")
        return ""
    return _nearest(said, taken)


def _level(budget: int | None) -> str:
    if budget is None:
        return ""
    return "none" if budget <= 0 else "low" if budget <= 2048 else "medium" if budget <= 12_000 else "high"


def _nearest(said: str, taken: tuple[str, ...]) -> str:
    """Of two that are as near, the one that thinks less. A word that nobody here knows is a newer one of OpenAI's."""
    if said not in _RANKS:
        return said
    return min(taken, key=lambda word: abs(_RANKS.index(word) - _RANKS.index(said)))
