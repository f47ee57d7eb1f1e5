"""What each of Anthropic's models takes, by the version in its name. They differ more than the API does.

https://platform.claude.com/docs/en/about-claude/models/overview
https://platform.claude.com/docs/en/build-with-claude/thinking#configuring-thinking
https://platform.claude.com/docs/en/models/opus-5-5/whats-new-opus-5-5
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

type Thinking = Literal["none", "budget", "adaptive"]

_VERSION = re.compile(r"claude[a-z-]*?[-.]?(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")
_FAMILY = re.compile(r"opus|sonnet|haiku|fable|mythos")
_NEWEST = (99, 0)
_ALWAYS_THINK = ("fable", "mythos")

OTHERS_TOKENS = 8192
"""`max_tokens` for a model of another maker behind this API: DeepSeek's refuse more."""

_TOKENS = (((4, 6), 128_000), ((4, 5), 64_000), ((3, 7), 32_000), ((3, 5), 8192), ((0, 0), 4096))
"""`max_tokens` where the client says none, from a version on: the most that the model writes, for no other API has a limit where
none is asked for. From 3.7 to 4.1 half of it: these refuse a prompt that leaves no room for it, newer ones stop early."""

_MOST = (((4, 6), 128_000), ((3, 7), 64_000), ((3, 5), 8192), ((0, 0), 4096))
"""The most that a model takes as `max_tokens`."""


@dataclass(frozen=True, slots=True)
class Claude:
    """A model. version: (0, 0) where it is none of Anthropic's; a Claude without a number is taken for the newest."""

    family: str
    version: tuple[int, int]

    @property
    def known(self) -> bool:
        """Whether it is Anthropic's."""
        return self.version > (0, 0)

    @property
    def default_tokens(self) -> int:
        """`max_tokens` where the client says none."""
        return _from(_TOKENS, self.version) if self.known else OTHERS_TOKENS

    @property
    def most_tokens(self) -> int:
        """The most that it takes as `max_tokens`."""
        if self.family == "opus" and (4, 0) <= self.version < (4, 5):
            return 32_000
        return _from(_MOST, self.version) if self.known else 1 << 31

    @property
    def thinking(self) -> Thinking:
        """Whether it thinks at all, with a budget in tokens, or as much as it likes, guided by an effort."""
        if self.known and self.version < (3, 7):
            return "none"
        return "adaptive" if self.version >= (4, 6) else "budget"

    @property
    def takes_budgets(self) -> bool:
        """Whether it takes a budget for its thinking; 4.6 does still."""
        return not self.known or (3, 7) <= self.version < (4, 7)

    @property
    def unthinking(self) -> str | None:
        """The `thinking.type` that keeps it from thinking; "": it does so unasked; None: nothing does."""
        if self.family in _ALWAYS_THINK or self.version == _NEWEST:
            return None
        if self.version < (5, 0):
            return ""
        if self.version < (5, 5) or self.family == "haiku":
            return "disabled"
        return "between_tools" if self.family == "sonnet" else None

    @property
    def efforts(self) -> tuple[str, ...]:
        """The efforts that it takes; Opus 4.5 was the first, and thinks with a budget."""
        if self.thinking != "adaptive":
            return ("low", "medium", "high") if (self.family, self.version) == ("opus", (4, 5)) else ()
        return ("low", "medium", "high", "max") if self.version < (4, 7) else ("low", "medium", "high", "xhigh", "max")

    @property
    def samples(self) -> bool:
        """Whether it takes temperature, top_p and top_k."""
        return self.version < (4, 7)

    @property
    def samples_once(self) -> bool:
        """Whether it refuses temperature together with top_p."""
        return self.version >= (4, 1)

    @property
    def follows_schemas(self) -> bool:
        """Whether it has structured output, and tools whose arguments surely follow their schema."""
        return self.version >= (4, 5)

    @property
    def can_be_made_to_call(self) -> bool:
        """Whether it takes a tool choice of `any` or `tool`."""
        return self.version < (5, 1) or self.family == "haiku"

    @property
    def takes_system_later(self) -> bool:
        """Whether it takes system messages among the others."""
        return self.version >= ((4, 8) if self.family == "opus" else (5, 0))

    @property
    def omits_thoughts(self) -> bool:
        """Whether a thought that has a signature and no text is one that it does not show; before, it was a redacted one."""
        return self.version >= (4, 7)


def _from(table: tuple[tuple[tuple[int, int], int], ...], version: tuple[int, int]) -> int:
    return next(value for first, value in table if version >= first)


@lru_cache(maxsize=256)
def claude(model: str) -> Claude:
    """Return what is known of a model by any provider's name for it: `claude-3-7-sonnet@20250219`, `claude-opus-4.6`."""
    name = model.lower()[-256:]
    if "claude" not in name:
        return Claude("", (0, 0))
    family = _FAMILY.search(name)
    number = _VERSION.search(name)
    version = (int(number[1]), int(number[2] or 0)) if number else _NEWEST
    return Claude(family[0] if family else "", max(version, (0, 1)))
