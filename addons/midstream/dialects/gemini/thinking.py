"""How much to think, in the words of each of Gemini's generations.

https://ai.google.dev/gemini-api/docs/thinking
https://ai.google.dev/gemini-api/docs/openai#thinking has Google's own table from OpenAI's words to budgets
"""

from __future__ import annotations

import re
from typing import Literal

from midstream.conversation import ReasoningSettings
from midstream.wire.json_text import Json

type Generation = Literal["none", "budget", "level"]
"""Whether a model thinks at all, takes a budget (2.5), or a level (from 3 on)."""

_NONE = re.compile(r"gemini-(?:1|2\.0)|gemma|learnlm")
_BUDGET = re.compile(r"gemini-2\.5|robotics-er")
_BUDGETS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24_576, "xhigh": 24_576, "max": 24_576}
_LEVELS = {"minimal": "minimal", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}

BUDGET_LIMIT = 24_576
"""Tokens that every model of 2.5 takes."""

PRO_LEAST = 128
"""Tokens that 2.5 Pro thinks at least: it cannot be told not to."""


def generation(model: str) -> Generation:
    """A name nobody here knows (`gemini-flash-latest`) is a new one's."""
    return "none" if _NONE.search(model) else "budget" if _BUDGET.search(model) else "level"


def refuses(settings: ReasoningSettings, model: str) -> bool:
    """Whether a model is known to refuse Gemini's own settings as they are: one without thoughts any, one that takes a budget a
    level, or a budget beyond its own. From 3 on a budget is still taken."""
    kind = generation(model)
    if kind == "budget":
        return bool(settings.effort) or (
            settings.budget is not None and settings.budget != _fitting(settings.budget, model)
        )
    return kind == "none"


def write_thinking(settings: ReasoningSettings, model: str, *, own: bool, dropped: set[str]) -> Json:
    """Return the thinkingConfig. own: these are Gemini's own settings, so that what the model does not refuse stays as it is."""
    kind = generation(model)
    if kind == "none" and not own:
        dropped.add("reasoning")
        return {}
    written: Json = {} if settings.summary is None else {"includeThoughts": settings.summary}
    if settings.budget is not None and (own or kind == "budget"):
        return {**written, "thinkingBudget": settings.budget if own else _fitting(settings.budget, model)}
    if kind == "budget":
        budget = _BUDGETS.get(settings.effort)
        return written if budget is None else {**written, "thinkingBudget": _fitting(budget, model)}
    level = settings.effort or _level(settings.budget)
    if own and level:
        return {**written, "thinkingLevel": level.upper()}
    if level == "none":
        dropped.add("reasoning")  # the newest cannot be told not to think
    level = ("low" if "pro" in model else "minimal") if level in ("none", "minimal") else _LEVELS.get(level, "")
    return {**written, "thinkingLevel": level.upper()} if level else written


def _fitting(budget: int, model: str) -> int:
    least = PRO_LEAST if "pro" in model else 0
    return min(max(budget, least), BUDGET_LIMIT)


def _level(budget: int | None) -> str:
    if budget is None:
        return ""
    return "none" if budget <= 0 else "low" if budget <= 2048 else "medium" if budget <= 12_000 else "high"
