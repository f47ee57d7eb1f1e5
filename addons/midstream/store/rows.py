"""Records → rows: which columns there are, the SQL that writes them, and values that SQLite takes. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from operator import attrgetter
from typing import Any

from midstream.dialects.token_counts import TOKEN_LIMIT
from midstream.records import AttemptRecord, StreamRecord, utc

STREAM = tuple(f.name for f in fields(StreamRecord))
ATTEMPT = tuple(f.name for f in fields(AttemptRecord))
SHOWN = (
    *("id", "started_at", "client", "app", "key", "provider", "dialect", "model_requested", "model_served", "delivery"),
    *("http_status", "ttft_ms", "chunks", "attempts", "rerouted", "breaks", "resumes", "paused_ms"),
)
"""What a stream in flight shows of its record."""


def _insert(table: str, columns: Sequence[str], instead: str = "REPLACE") -> str:
    marks = ", ".join("?" * len(columns))
    return f"INSERT OR {instead} INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 - names of our own


INSERT_STREAM = _insert("streams", STREAM)
INSERT_NEW_STREAM = _insert("streams", STREAM, instead="IGNORE")
INSERT_ATTEMPT = _insert("attempts", ATTEMPT)
SHOW_IN_FLIGHT = f"""
    INSERT OR REPLACE INTO in_flight ({", ".join(SHOWN)}, updated_at, pid, process, host)
    SELECT {", ".join("?" * len(SHOWN))}, ?, ?, ?, ? WHERE NOT EXISTS (SELECT 1 FROM streams WHERE id = ?)
"""  # noqa: S608 - names of our own. A late sign of life does not bring back a stream that is over.

stream_values = attrgetter(*STREAM)
attempt_values = attrgetter(*ATTEMPT)
_shown_values = attrgetter(*SHOWN)


@dataclass(frozen=True, slots=True)
class Rows:
    """What is to be written of one stream: how it shows in flight, or, once it is over, its row (if it gets one) and its
    attempts'."""

    id: str
    over: bool = False
    shown: tuple[Any, ...] = ()
    stream: tuple[Any, ...] = ()
    attempts: tuple[tuple[Any, ...], ...] = ()


def in_flight(record: StreamRecord, now: datetime) -> Rows:
    """Take down how a stream shows now; the record goes on changing."""
    return Rows(record.id, shown=(*_shown_values(record), utc(now)))


def ended(record: StreamRecord, attempts: Sequence[AttemptRecord]) -> Rows:
    """Take down how a stream ended."""
    tried = tuple(attempt_values(attempt) for attempt in attempts)
    return Rows(record.id, over=True, stream=stream_values(record), attempts=tried)


def forgotten(record: StreamRecord) -> Rows:
    """A stream that gets no row."""
    return Rows(record.id, over=True)


def interrupted(shown: Mapping[str, Any]) -> tuple[Any, ...]:
    """Make the values of INSERT_NEW_STREAM for a stream in flight whose process is gone."""
    error = "the proxy was killed while this stream was open"
    known = {name: shown[name] for name in SHOWN if shown[name] is not None}
    return stream_values(StreamRecord(**known, outcome="interrupted", error_type="interrupted", error=error))


def fit(values: Sequence[Any]) -> tuple[Any, ...]:
    """Make values of a stranger's making bindable, so that no row can hold up the others."""
    return tuple(map(_fit_value, values))


def _fit_value(value: Any) -> Any:
    if value is None or isinstance(value, float):
        return value
    if isinstance(value, int):
        return max(-TOKEN_LIMIT, min(value, TOKEN_LIMIT))  # beyond, sums of rows soon overflow
    return str(value).encode("utf-8", "replace").decode()
