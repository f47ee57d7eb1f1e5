"""The rows: one of `streams` for each stream, one of `attempts` for each try at a provider."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

ERROR_LENGTH = 300
"""Characters of a provider's error message that a row keeps."""

NAME_LENGTH = 200
"""Characters of a model's or a finish reason's name that a row keeps."""

NEXT_LENGTH = 900
"""Characters that a row keeps of what followed an attempt: who was asked then, and why others could not be."""

_SECRET = re.compile(r"\b(?:(?:sk|rk|pk|gsk|xai|key|mst)[-_]|AIza|eyJ)[\w.*-]{6,}|\b(?:Bearer|Basic)\s+\S+|[\w-]{40,}")

type Outcome = Literal["complete", "client_gone", "truncated", "failed", "interrupted"]
type UsageSource = Literal["provider", "tiktoken", "estimate"]


@dataclass(slots=True, kw_only=True)
class StreamRecord:
    """One row of the table `streams`; the fields are its columns, in order. None is NULL: not known, or not applicable.

    Durations are milliseconds of the monotonic clock, `started_at` is UTC ISO 8601. No prompt, answer, header or credential
    is ever in here.
    """

    id: str
    started_at: str
    client: str = ""
    """The client's address."""
    app: str = ""
    """The program, from its User-Agent."""
    key: str | None = None
    """The name of the gateway key."""
    provider: str = ""
    dialect: str = ""
    model_requested: str = ""
    model_served: str = ""
    delivery: str = "native"
    http_status: int | None = None
    outcome: Outcome | None = None
    finish_reason: str | None = None
    attempts: int = 1
    rerouted: int = 0
    breaks: int = 0
    resumes: int = 0
    ttft_ms: float | None = None
    duration_ms: float | None = None
    tokens_per_s: float | None = None
    gap_p50_ms: float | None = None
    gap_p95_ms: float | None = None
    gap_max_ms: float | None = None
    chunks: int = 0
    """Events that carried content."""
    bytes: int = 0
    """Of the response body, as on the wire."""
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    usage_source: UsageSource | None = None
    cost_usd: float | None = None
    paused_ms: float = 0.0
    error_type: str | None = None
    error: str | None = None


@dataclass(slots=True, kw_only=True)
class AttemptRecord:
    """One row of the table `attempts`: one try at a provider. The fields are its columns, in order; None is NULL."""

    stream_id: str
    n: int
    """Counted from 1."""
    provider: str
    model: str
    """As this provider was asked for it."""
    started_at: str
    http_status: int | None = None
    ttft_ms: float | None = None
    """From the attempt's own start."""
    duration_ms: float | None = None
    output_tokens: int | None = None
    ended: str = ""
    """Why it ended: `complete`, `client_gone`, `interrupted`, or the failure's type."""
    error: str | None = None
    input_tokens: int | None = None
    usage_source: UsageSource | None = None
    cost_usd: float | None = None
    next: str = ""
    """What followed, in a few words; and which targets could not be asked, and why."""


def utc(when: datetime) -> str:
    """A time as rows have it, so that two of them compare as text: UTC ISO 8601 with milliseconds."""
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def clean(text: str, length: int) -> str:
    """Make a stranger's text fit for a row: printable, short, and without what looks like a credential."""
    return _cut(_SECRET.sub("[redacted]", printable(text[: length * 4])), length)


def named(text: str, length: int = NAME_LENGTH) -> str:
    """The same for a name out of an answer (a model, a finish reason): it may be long, and look like anything."""
    return _cut(printable(text[: length * 2]), length)


def printable(text: str) -> str:
    """Without what a terminal would obey, or hide: control characters, marks of direction, NUL, lone surrogates."""
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
