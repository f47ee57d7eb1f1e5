"""Token counts out of a provider's usage object: what is no plausible count is not reported."""

from __future__ import annotations

from typing import Any

from midstream.events import Usage
from midstream.wire.json_text import as_int

TOKEN_LIMIT = 2**53
"""No token count reaches it; a larger number is an attack on whoever stores it (SQLite's integers end at 2**63)."""


def count(*values: Any) -> int | None:
    """Return the first value that is a token count."""
    for value in values:
        if value is not None and (n := as_int(value)) is not None and 0 <= n < TOKEN_LIMIT:
            return n
    return None


def total(first: int | None, *others: int | None) -> int | None:
    """Return the sum; None where the first is not known, for then the others are no answer."""
    return None if first is None else first + sum(other or 0 for other in others)


def plausible(usage: Usage) -> Usage:
    """The usage without what is no token count, whichever dialect read it: one such number would spoil every sum of rows."""
    counts = (
        usage.input_tokens,
        usage.output_tokens,
        usage.cached_tokens,
        usage.cache_write_tokens,
        usage.reasoning_tokens,
    )
    if all(n is None or 0 <= n < TOKEN_LIMIT for n in counts):
        return usage
    given, made, cached, written, reasoning = map(count, counts)
    return Usage(given, made, cached, written, reasoning, usage.raw)
