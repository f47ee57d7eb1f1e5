"""What each model takes. The tables of Anthropic's documentation, a line a model."""

from __future__ import annotations

import pytest

from midstream.dialects.anthropic.models import claude

NONE, BUDGET, ADAPTIVE = "none", "budget", "adaptive"


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("claude-2.1", (2, 1)),
        ("claude-instant-1.2", (1, 2)),
        ("anthropic.claude-v2:1", (2, 0)),
        ("claude-3-opus-20240229", (3, 0)),
        ("claude-3-5-sonnet-latest", (3, 5)),
        ("claude-3-7-sonnet@20250219", (3, 7)),
        ("anthropic/claude-3.7-sonnet:thinking", (3, 7)),
        ("claude-sonnet-4-20250514", (4, 0)),
        ("claude-opus-4@20250514", (4, 0)),
        ("us.anthropic.claude-opus-4-1-20250805-v1:0", (4, 1)),
        ("claude-4-5-haiku", (4, 5)),
        ("claude-sonnet-4.5", (4, 5)),
        ("claude-opus-4-8", (4, 8)),
        ("claude-opus-5", (5, 0)),
        ("claude-fable-5-1", (5, 1)),
        ("claude-mythos-preview", (99, 0)),
        ("MiniMax-M2", (0, 0)),
        ("", (0, 0)),
    ],
)
def test_the_version_is_in_the_name(name: str, version: tuple[int, int]) -> None:
    assert claude(name).version == version


@pytest.mark.parametrize(
    ("name", "thinking", "off", "samples", "schemas", "forced", "system"),
    [
        ("claude-3-5-haiku-latest", NONE, "", True, False, True, False),
        ("claude-3-7-sonnet-latest", BUDGET, "", True, False, True, False),
        ("claude-haiku-4-5", BUDGET, "", True, True, True, False),
        ("claude-opus-4-5", BUDGET, "", True, True, True, False),
        ("claude-sonnet-4-6", ADAPTIVE, "", True, True, True, False),
        ("claude-opus-4-7", ADAPTIVE, "", False, True, True, False),
        ("claude-opus-4-8", ADAPTIVE, "", False, True, True, True),
        ("claude-sonnet-5", ADAPTIVE, "disabled", False, True, True, True),
        ("claude-opus-5", ADAPTIVE, "disabled", False, True, True, True),
        ("claude-fable-5", ADAPTIVE, None, False, True, True, True),
        ("claude-fable-5-1", ADAPTIVE, None, False, True, False, True),
        ("claude-opus-5-5", ADAPTIVE, None, False, True, False, True),
        ("claude-sonnet-5-5", ADAPTIVE, "between_tools", False, True, False, True),
        ("claude-haiku-5-5", ADAPTIVE, "disabled", False, True, True, True),
        ("kimi-k2", BUDGET, "", True, False, True, False),
    ],
)
def test_what_a_model_takes(
    name: str, thinking: str, off: str | None, samples: bool, schemas: bool, forced: bool, system: bool
) -> None:
    model = claude(name)
    assert (model.thinking, model.unthinking, model.samples) == (thinking, off, samples)
    assert (model.follows_schemas, model.can_be_made_to_call, model.takes_system_later) == (schemas, forced, system)


@pytest.mark.parametrize(
    ("name", "default", "most"),
    [
        ("claude-3-haiku-20240307", 4096, 4096),
        ("claude-3-5-sonnet-20241022", 8192, 8192),
        ("claude-3-7-sonnet-20250219", 32_000, 64_000),
        ("claude-opus-4-1", 32_000, 32_000),
        ("claude-sonnet-4-0", 32_000, 64_000),
        ("claude-haiku-4-5", 64_000, 64_000),
        ("claude-opus-4-5", 64_000, 64_000),
        ("claude-sonnet-4-6", 128_000, 128_000),
        ("claude-opus-5-5", 128_000, 128_000),
        ("deepseek-chat", 8192, 1 << 31),
    ],
)
def test_how_much_a_model_writes(name: str, default: int, most: int) -> None:
    assert (claude(name).default_tokens, claude(name).most_tokens) == (default, most)


@pytest.mark.parametrize(
    ("name", "efforts"), [("claude-opus-4-6", "low medium high max"), ("claude-opus-4-7", "low medium high xhigh max")]
)
def test_efforts(name: str, efforts: str) -> None:
    assert claude(name).efforts == tuple(efforts.split())
