"""Events and a clock → one stream's record."""

from __future__ import annotations

import random
import re
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from midstream.events import (
    Asked,
    End,
    Event,
    Failure,
    Finish,
    Malformed,
    Media,
    Opaque,
    Reasoning,
    Refusal,
    ServerTool,
    Start,
    Text,
    ToolCall,
    Usage,
)

GAPS = 4096
"""Gaps kept exactly; of a longer stream a uniform sample of as many (reservoir sampling, Vitter's algorithm R)."""

ERROR_LENGTH = 300
"""Characters of a provider's error message that a row keeps."""

NAME_LENGTH = 200
"""Characters of a model's or a finish reason's name that a row keeps."""

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


class Observation:
    """One stream as it goes by: `feed` what its decoder says, `settle` when it is over; `record` is its row.

    Clock values are seconds of one monotonic clock, handed in. Of the answer's text only what is not counted yet is held:
    `take_text` hands it over, so that whoever owns the tokenizer bounds the memory.
    """

    def __init__(self, record: StreamRecord, now: float) -> None:
        self.record = record
        self.usage: Usage | None = None
        self.ended = False
        self.failure: Failure | None = None
        self.malformed = 0
        self.text_size = 0
        """Characters that `take_text` would hand over."""
        self.plain_text = True
        """Whether all output so far was text: what a tokenizer counts exactly."""
        self._began = now
        self._first: float | None = None
        self._last = now
        self._text: list[str] = []
        self._gaps = array("d")
        self._gap_count = 0
        self._gap_max = 0.0
        self._together = 0  # content events that came with another one: gaps of nothing, counted but not kept
        self._first_malformed = ""

    def restart(self, now: float) -> None:
        """Measure from here: the client has asked once more before anything came."""
        self._began = self._last = now

    def feed(self, events: Iterable[Event], now: float) -> bool:
        """Take what arrived at once; return whether the first content came with it."""
        content = 0
        for event in events:
            if event.__class__ is Text:  # nearly all are: the match takes four times as long
                content += 1
                self._text.append(event.text)
                self.text_size += len(event.text)
                continue
            match event:
                case Reasoning(text=text) | Refusal(text=text):
                    content += bool(text)  # a signature alone is no content
                    self._keep_other(text)
                case ToolCall(name=name, arguments=arguments):
                    content += 1
                    self._keep_other(name + arguments)
                case Media(transcript=transcript):
                    content += 1
                    self._keep_other(transcript)
                case ServerTool():
                    content += 1
                case _:
                    self._note(event)
        return self._tick(content, now) if content else False

    def _note(self, event: Event) -> None:
        match event:
            case Start(model=model):
                self.record.model_served = model[:NAME_LENGTH] or self.record.model_served
            case Usage():
                self.usage = event
            case Finish(reason=reason, choice=choice):
                if choice == 0 or self.record.finish_reason is None:
                    self.record.finish_reason = reason[:NAME_LENGTH]
            case End():
                self.ended = True
            case Failure():
                self.failure = self.failure or event
            case Malformed(reason=reason):
                self.malformed += 1
                self._first_malformed = self._first_malformed or reason
            case Asked() | Opaque():
                pass
            case _:
                raise AssertionError(f"content reached _note: {event!r}")

    def _keep_other(self, text: str) -> None:
        self.plain_text = False
        self._text.append(text)
        self.text_size += len(text)

    def take_text(self) -> str:
        """Hand over, and forget, the output's text (reasoning, refusal and tool arguments included) since the last call."""
        text = "".join(self._text)
        self._text.clear()
        self.text_size = 0
        return text

    def _tick(self, count: int, now: float) -> bool:
        """So many content events came at once: one gap before the first of them, none between."""
        self.record.chunks += count
        last, self._last = self._last, now
        is_first = self._first is None
        if is_first:
            self._first = now
            self.record.ttft_ms = (now - self._began) * 1000
        else:
            self._gap((now - last) * 1000)
        self._together += count - 1
        return is_first

    def _gap(self, gap: float) -> None:
        self._gap_count += 1
        self._gap_max = max(self._gap_max, gap)
        if self._gap_count <= GAPS:
            self._gaps.append(gap)
        elif (slot := random.randrange(self._gap_count)) < GAPS:  # noqa: S311 - a sample, not a secret
            self._gaps[slot] = gap

    def settle(self, outcome: Outcome, now: float, *, error_type: str = "", error: str = "") -> StreamRecord:
        """The stream is over: fill in what only its end tells.

        outcome: what the connection's end looked like. What the stream itself said goes first: a failure in it makes it
        `failed` (or `truncated`), its terminal event `complete`, whoever hung up afterwards (Codex resets at once).
        """
        record = self.record
        record.outcome = self._outcome(outcome)
        record.duration_ms = (now - self._began) * 1000
        if record.outcome != "complete":
            self._blame(error_type, error)
        elif self.malformed:
            record.error_type, record.error = "malformed", self._malformed_error()
        self._time()
        self._count()
        return record

    def _outcome(self, outcome: Outcome) -> Outcome:
        if self.failure is not None and self.failure.type == "truncated":
            return "truncated" if outcome == "complete" else outcome
        if self.failure is not None:
            return "failed"
        return "complete" if self.ended else outcome

    def _blame(self, error_type: str, error: str) -> None:
        failure = self.failure
        if failure is not None and (failure.type != "truncated" or not error):
            kind = failure.type or failure.code or (str(failure.status) if failure.status else "error")
            error_type, error = kind, failure.message
        if self.malformed:
            error = f"{error}; {self._malformed_error()}" if error else self._malformed_error()
        self.record.error_type = clean(error_type, NAME_LENGTH) or self.record.outcome
        self.record.error = clean(error, ERROR_LENGTH) or None

    def _malformed_error(self) -> str:
        return clean(f"{self.malformed} malformed: {self._first_malformed}", ERROR_LENGTH)

    def _time(self) -> None:
        if self._gap_count or self._together:
            self.record.gap_p50_ms = self._gap_percentile(0.50)
            self.record.gap_p95_ms = self._gap_percentile(0.95)
            self.record.gap_max_ms = self._gap_max

    def _gap_percentile(self, q: float) -> float:
        """Over all gaps: those of nothing come first in their order, the sample stands for the others."""
        at = q * (self._together + self._gap_count - 1) - self._together
        if at < 0 or not self._gap_count:
            return 0.0
        return percentile(sorted(self._gaps), at / max(self._gap_count - 1, 1))

    def _count(self) -> None:
        usage = self.usage
        if usage is not None:
            record = self.record
            record.input_tokens, record.output_tokens = usage.input_tokens, usage.output_tokens
            record.cached_tokens, record.reasoning_tokens = usage.cached_tokens, usage.reasoning_tokens
            record.usage_source = "provider"
        self.rate()

    def rate(self) -> None:
        """Tokens per second over the generation: first content to last. Called again once a tokenizer has counted."""
        tokens = self.record.output_tokens
        if tokens and self._first is not None and self._last > self._first:
            self.record.tokens_per_s = tokens / (self._last - self._first)


def percentile(ordered: list[float], q: float) -> float:
    """The q-quantile of a sorted, non-empty list, by linear interpolation (as numpy's default)."""
    at = q * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def clean(text: str, length: int) -> str:
    """Make a stranger's text fit for a row: printable, short, and without what looks like a credential."""
    text = _SECRET.sub("[redacted]", "".join(c if c.isprintable() else " " for c in text[: length * 4]))
    return text if len(text) <= length else text[: length - 1] + "…"
