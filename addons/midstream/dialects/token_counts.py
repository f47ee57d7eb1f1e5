"""Token counts out of a provider's usage object: what is no plausible count is not reported."""

from __future__ import annotations

from typing import Any

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
