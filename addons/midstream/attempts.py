"""One attempt at a provider: its row, what its row still lacks when it is over, and how attempts add up to a stream."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from midstream.events import Usage
from midstream.records import NEXT_LENGTH, AttemptRecord, UsageSource, clean

NOT_BROKEN = frozenset(("complete", "client_gone", "interrupted"))
"""Values of `ended` that are no provider's failure."""


@dataclass(slots=True, kw_only=True)
class Attempt(AttemptRecord):
    """The row of an attempt, and what counting and pricing it takes.

    began: on the stream's clock. prices: the provider's id in the price list. served: the model that the answer named.
    usage: the provider's last word. chunks: content events. text: output that no tokenizer has seen yet; plain_text: whether
    all output was text. reasoned: whether the model's reasoning, or its summary, was sent.
    """

    began: float
    prices: str = ""
    served: str = ""
    usage: Usage | None = None
    chunks: int = 0
    plain_text: bool = True
    reasoned: bool = False
    text: list[str] = field(default_factory=list)

    @property
    def answered_by(self) -> str:
        """The model to count and to price by."""
        return self.served or self.model

    @property
    def uncounted(self) -> bool:
        """Whether a tokenizer has yet to say what it was billed. An attempt that failed without content was billed what its
        provider says: mostly nothing."""
        if self.chunks:
            return self.output_tokens is None or self.input_tokens is None
        return self.ended == "complete" and self.input_tokens is None

    @property
    def hidden(self) -> int:
        """Tokens of reasoning within `output_tokens` that nobody saw come: their time is the wait for the first content."""
        usage = self.usage
        if self.reasoned or usage is None or usage.output_tokens is None or usage.output_tokens != self.output_tokens:
            return 0
        return min(max(usage.reasoning_tokens or 0, 0), usage.output_tokens)

    def note(self, said: str) -> None:
        """What followed, in a few words, behind what is noted already."""
        self.next = clean("; ".join(filter(None, (self.next, said))), NEXT_LENGTH)

    def take_text(self) -> str:
        """Hand over, and forget, the text that is not counted yet."""
        text = "".join(self.text)
        self.text.clear()
        return text

    def report(self, usage: Usage, *, partial: bool) -> None:
        """Take down what the provider reported. partial: more content came after it, and then no end: Anthropic's message_start
        tells the input, and of the output only its first token."""
        self.usage = usage
        self.input_tokens = usage.input_tokens
        self.output_tokens = None if partial else usage.output_tokens
        self.usage_source = "provider"

    def counted_output(self, count: int, *, exact: bool) -> None:
        """A tokenizer has counted the output: at least what the provider itself had reported."""
        reported = self.usage.output_tokens if self.usage else None
        self.output_tokens = max(count, reported or 0)
        self._counted(exact)

    def counted_input(self, count: int, *, exact: bool) -> None:
        self.input_tokens = count
        self._counted(exact)

    def _counted(self, exact: bool) -> None:
        self.usage_source = "tiktoken" if exact and self.usage_source != "estimate" else "estimate"

    def billed(self) -> Usage:
        """The row's counts (of which a tokenizer may have made some), with what only the provider's usage holds.

        Where the tokenizer has not come to it yet, a content event is taken for a token, which it mostly is: a part of a sum
        is no sum."""
        usage = self.usage or Usage()
        output = self.output_tokens
        if output is None and (self.chunks or self.input_tokens is not None):
            output = self.chunks
        return Usage(
            input_tokens=self.input_tokens,
            output_tokens=output,
            cached_tokens=usage.cached_tokens,
            cache_write_tokens=usage.cache_write_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            raw=usage.raw,
        )


def add_up(usages: Iterable[Usage]) -> Usage:
    """The sum of what is known; None where nobody knows. Without `raw`, which nobody sent so."""
    known = list(usages)
    return Usage(
        input_tokens=_sum([usage.input_tokens for usage in known]),
        output_tokens=_sum([usage.output_tokens for usage in known]),
        cached_tokens=_sum([usage.cached_tokens for usage in known]),
        cache_write_tokens=_sum([usage.cache_write_tokens for usage in known]),
        reasoning_tokens=_sum([usage.reasoning_tokens for usage in known]),
    )


def _sum(counts: list[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def tokens(attempts: Sequence[Attempt], column: Literal["input_tokens", "output_tokens"]) -> int | None:
    """A column's sum; None where that of an attempt with content is not known: part of a sum is none."""
    counts: list[int | None] = [getattr(attempt, column) for attempt in attempts]
    unknown = any(attempt.chunks and count is None for attempt, count in zip(attempts, counts, strict=True))
    return None if unknown else _sum(counts)


def rate(attempts: Sequence[Attempt], seconds: float) -> float | None:
    """Tokens per second of what came, over the time from the first content to the last; None where that is not known."""
    billed = tokens(attempts, "output_tokens")
    if billed is None or seconds <= 0:
        return None
    seen = billed - sum(attempt.hidden for attempt in attempts)
    return seen / seconds if seen > 0 else None


def source(attempts: Sequence[Attempt]) -> UsageSource | None:
    """Who counted, of all attempts together: a sum is as uncertain as its most uncertain part."""
    sources = {attempt.usage_source for attempt in attempts if attempt.usage_source or attempt.chunks}
    order: tuple[UsageSource | None, ...] = (None, "estimate", "tiktoken", "provider")
    return next((one for one in order if one in sources), None)


def cost(attempts: Sequence[Attempt]) -> float | None:
    """US dollars of all attempts together; None where one that was billed has no known price."""
    costs = [attempt.cost_usd for attempt in attempts if attempt.usage_source]
    known = [one for one in costs if one is not None]
    return sum(known) if known and len(known) == len(costs) else None
