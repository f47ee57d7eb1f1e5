"""A stream that is over as OpenTelemetry's span, with a child for each attempt where there were several. Pure.

https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/gen-ai/gen-ai-spans.md
Neither prompts, answers nor the providers' error messages are in it, for those may quote a prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from midstream import attempts as tries
from midstream.attempts import Attempt, add_up
from midstream.config import Config
from midstream.ledger import Account
from midstream.watch import names
from midstream.watch.accounting import LENGTH, call_labels, error_of, labels, provider_name, streamed

type Value = str | bool | int | float | Sequence[str]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Span:
    """began, ended: nanoseconds since 1970. error: its error.type, "" where nothing failed."""

    name: str
    began: int
    ended: int
    attributes: dict[str, Value]
    error: str = ""
    children: list[Span] = field(default_factory=list)


def span_of(account: Account, config: Config) -> Span:
    """The whole stream."""
    observation, record = account.observation, account.observation.record
    known: dict[str, Value] = dict(call_labels(record, config))
    name = f"{known[names.OPERATION]} {known.get(names.ASKED, '')}".strip()
    began = _nanoseconds(record.started_at)
    ended = began + _length(record.duration_ms)
    span = Span(name, began, ended, known | _call(account) | _ours(account), error_of(record))
    if len(observation.attempts) > 1:
        span.children = [_attempt(attempt) for attempt in observation.attempts]
    return span


def _call(account: Account) -> dict[str, Value]:
    """What the conventions know of one."""
    observation, record = account.observation, account.observation.record
    billed = add_up(attempt.usage for attempt in observation.attempts if attempt.usage)
    asked_for_stream = streamed(account)
    first = record.ttft_ms if asked_for_stream else None
    finish = labels(("", record.finish_reason))
    return _known(
        {
            "gen_ai.request.stream": asked_for_stream,
            "gen_ai.response.finish_reasons": [str(value) for _, value in finish] or None,
            "gen_ai.response.time_to_first_chunk": None if first is None else first / 1000,
            "gen_ai.usage.input_tokens": record.input_tokens,
            "gen_ai.usage.output_tokens": record.output_tokens,
            "gen_ai.usage.cache_read.input_tokens": record.cached_tokens,
            "gen_ai.usage.cache_creation.input_tokens": billed.cache_write_tokens,
            "gen_ai.usage.reasoning.output_tokens": record.reasoning_tokens,
            "http.response.status_code": record.http_status,
            names.ERROR: error_of(record)[:LENGTH] or None,
        }
    )


def _ours(account: Account) -> dict[str, Value]:
    record, malformed = account.observation.record, account.observation.malformed
    told: dict[str, Value | None] = {
        "midstream.stream.id": record.id,
        names.OUTCOME: record.outcome,
        names.DELIVERY: record.delivery,
        "midstream.attempts": record.attempts,
        "midstream.reroutes": record.rerouted,
        "midstream.breaks": record.breaks,
        "midstream.resumes": record.resumes,
        "midstream.malformed": malformed,
        "midstream.paused": record.paused_ms / 1000,
        "midstream.cost": record.cost_usd,
        "midstream.usage.source": record.usage_source,
    }
    return _known(told) | dict(labels((names.APP, record.app), (names.KEY, record.key)))


def _attempt(attempt: Attempt) -> Span:
    """Without gen_ai.operation.name and gen_ai.usage: whoever adds up the spans of calls shall not count it twice."""
    error = attempt.ended if attempt.ended not in tries.NOT_BROKEN else ""
    began = _nanoseconds(attempt.started_at)
    who = labels(
        (names.PROVIDER, provider_name(attempt.provider)),
        (names.ASKED, attempt.model),
        (names.SERVED, attempt.served),
        (names.ERROR, error),
    )
    told: dict[str, Value | None] = {
        "midstream.attempt.n": attempt.n,
        "midstream.attempt.next": attempt.next or None,
        "midstream.attempt.time_to_first_chunk": None if attempt.ttft_ms is None else attempt.ttft_ms / 1000,
        "midstream.attempt.input_tokens": attempt.input_tokens,
        "midstream.attempt.output_tokens": attempt.output_tokens,
        "midstream.attempt.cost": attempt.cost_usd,
        "http.response.status_code": attempt.http_status,
    }
    ended = began + _length(attempt.duration_ms)
    return Span("midstream.attempt", began, ended, dict(who) | _known(told), error[:LENGTH])


def _known(told: dict[str, Value | None]) -> dict[str, Value]:
    return {name: value for name, value in told.items() if value is not None}


def _nanoseconds(iso: str) -> int:
    try:
        since = datetime.fromisoformat(iso) - _EPOCH
    except (ValueError, TypeError):
        return 0
    return since // timedelta(microseconds=1) * 1000


def _length(milliseconds: float | None) -> int:
    return round((milliseconds or 0) * 1_000_000)
