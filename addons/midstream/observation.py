"""Events and a clock → one stream's record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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
    """One row of the table `attempts`: one try at a provider."""

    stream_id: str
    n: int
    provider: str
    model: str
    started_at: str
    http_status: int | None = None
    ttft_ms: float | None = None
    duration_ms: float | None = None
    output_tokens: int | None = None
    ended: str = ""
    """Why it ended: `complete`, or the failure's type."""
    error: str | None = None
