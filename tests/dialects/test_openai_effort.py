from __future__ import annotations

import pytest

from midstream.conversation import ReasoningSettings
from midstream.dialects.openai.effort import effort


def said(model: str, word: str = "", budget: int | None = None, *, own: bool = False) -> tuple[str, bool]:
    """The word, and whether something was dropped."""
    dropped = set[str]()
    return effort(ReasoningSettings(word, budget), model, dropped, own=own), bool(dropped)


@pytest.mark.parametrize(
    ("budget", "word"), [(None, ""), (0, ""), (1024, "low"), (2048, "low"), (8000, "medium"), (32_000, "high")]
)
def test_a_budget_in_openais_words(budget: int | None, word: str) -> None:
    assert said("o3", budget=budget) == (word, budget == 0)


def test_openais_own_words_are_said_as_they_are() -> None:
    assert said("o3", "minimal", 9, own=True) == ("minimal", False)
    assert said("gpt-4.1", "max", own=True) == ("max", False)


@pytest.mark.parametrize(
    ("model", "asked", "word"),
    [
        ("o4-mini", "minimal", "low"),
        ("o3", "xhigh", "high"),
        ("openai/o3", "max", "high"),
        ("gpt-5", "minimal", "minimal"),
        ("gpt-5-mini-2025-08-07", "max", "high"),
        ("gpt-5-pro", "low", "high"),
        ("gpt-5.1", "minimal", "none"),
        ("gpt-5.1", "xhigh", "high"),
        ("gpt-5.1-codex-max", "max", "xhigh"),
        ("gpt-5.2", "xhigh", "xhigh"),
        ("gpt-5.4-mini", "max", "xhigh"),
        ("gpt-5.6-terra", "max", "max"),
        ("gpt-5.10", "max", "max"),
        ("qwen3", "max", "high"),
        ("o3", "newer", "newer"),
    ],
)
def test_another_dialects_word_is_the_nearest_that_the_model_takes(model: str, asked: str, word: str) -> None:
    assert said(model, asked) == (word, False)


def test_not_to_think_is_said_where_a_model_can_be_told_so() -> None:
    assert said("gpt-5.1", "none") == ("none", False)
    assert said("gpt-5.6", budget=0) == ("none", False)
    assert said("o3", "none") == ("", True)
    assert said("gpt-5", budget=0) == ("", True)


def test_a_model_that_does_not_think_needs_no_word_for_it() -> None:
    assert said("gpt-4.1", "none") == said("gpt-4.1", budget=0) == ("", False)
    assert said("gpt-4.1", "low") == ("", True)
