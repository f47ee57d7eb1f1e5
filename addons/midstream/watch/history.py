"""What the charts show of the last minutes, hours and days: sums and percentiles by bucket of time, computed by SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from midstream.records import utc
from midstream.store.queries import OUTCOMES, SAMPLE, Filter, Reader, Row
from midstream.store.survey import sum_of


@dataclass(frozen=True, slots=True)
class Span:
    """seconds: how far back. step: seconds of a bucket. digits: of `started_at`, that tell one bucket from another."""

    seconds: int
    step: int
    digits: int


SPANS = {
    "15m": Span(900, 10, 18),
    "1h": Span(3600, 60, 16),
    "6h": Span(6 * 3600, 600, 15),
    "24h": Span(24 * 3600, 600, 15),
    "7d": Span(7 * 86400, 3600, 13),
    "30d": Span(30 * 86400, 86400, 10),
}

MEASURES = (("ttft", "ttft_ms"), ("gap", "gap_p50_ms"), ("gap_tail", "gap_p95_ms"), ("rate", "tokens_per_s"))
"""What the page calls it, and its column."""

QUANTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}

SUMS = ("input_tokens", "output_tokens", "cached_tokens", "cost_usd")

GROUPS = 30
"""Models and targets listed."""


def history(reader: Reader, name: str, now: datetime) -> dict[str, Any]:
    """All that the page shows of a span (a name in SPANS): by bucket, by model and by target."""
    span = SPANS[name]
    since = floor(now, span) - timedelta(seconds=span.seconds - span.step)
    buckets = {key: _empty(start) for key, start in keys(since, now, span)}
    values: dict[str, Any] = {"digits": span.digits, "since": utc(since)}
    _sum_up(reader, buckets, values)
    every = max(-(-sum(bucket["streams"] for bucket in buckets.values()) // SAMPLE), 1)
    for short, column in MEASURES:
        _rank(reader, buckets, (short, column), values | {"every": every})
    return {
        "span": name,
        "step": span.step,
        "since": int(since.timestamp()),
        "buckets": list(buckets.values()),
        "models": reader.stats("model", Filter(since=values["since"]))[:GROUPS],
        "targets": _targets(reader, since),
    }


def floor(when: datetime, span: Span) -> datetime:
    """The start of the bucket that a time falls into."""
    seconds = int(when.timestamp())
    return datetime.fromtimestamp(seconds - seconds % span.step, UTC)


def keys(since: datetime, until: datetime, span: Span) -> Iterator[tuple[str, int]]:
    """Each bucket: how its streams' `started_at` begins, and its start in seconds since 1970."""
    at = since
    while at <= until:
        yield utc(at)[: span.digits], int(at.timestamp())
        at += timedelta(seconds=span.step)


def _empty(start: int) -> Row:
    counts = dict.fromkeys(("streams", "healed", *OUTCOMES, *SUMS), 0)
    return {"t": start, **counts, **{short: None for short, _ in MEASURES}}


def _sum_up(reader: Reader, buckets: dict[str, Row], values: dict[str, Any]) -> None:
    sql = f"""
        SELECT substr(started_at, 1, :digits) AS bucket, outcome, count(*) AS streams,
            sum(outcome = 'complete' AND attempts > 1) AS healed, {", ".join(map(sum_of, SUMS))}
        FROM streams WHERE started_at >= :since GROUP BY bucket, outcome
    """  # noqa: S608 - names of our own
    for row in reader.ask(sql, values):
        bucket = buckets.get(row["bucket"])
        if bucket is None:  # of a clock that is ahead of ours
            continue
        for name in ("streams", "healed", *SUMS):
            bucket[name] += row[name] or 0
        if row["outcome"] in OUTCOMES:
            bucket[row["outcome"]] += row["streams"]


def _rank(reader: Reader, buckets: dict[str, Row], measure: tuple[str, str], values: dict[str, Any]) -> None:
    """Percentiles by nearest rank; of many streams, those of an even sample (`every` nth)."""
    short, column = measure
    picks = ", ".join(
        f"max(CASE WHEN place = cast({q} * (many - 1) + 0.5 AS INTEGER) THEN value END) AS {name}"
        for name, q in QUANTILES.items()
    )
    sql = f"""
        SELECT bucket, {picks} FROM (
            SELECT bucket, value, row_number() OVER (PARTITION BY bucket ORDER BY value) - 1 AS place,
                count(*) OVER (PARTITION BY bucket) AS many
            FROM (
                SELECT substr(started_at, 1, :digits) AS bucket, {column} AS value FROM streams
                WHERE started_at >= :since AND {column} IS NOT NULL AND rowid % :every = 0
            )
        ) GROUP BY bucket
    """  # noqa: S608 - names of our own
    for row in reader.ask(sql, values):
        bucket = buckets.get(row.pop("bucket"))
        if bucket is not None:
            bucket[short] = row


def _targets(reader: Reader, since: datetime) -> list[Row]:
    """Attempts by whom was asked. A stream's id begins with its time in milliseconds, and the table is in its order."""
    sql = f"""
        SELECT provider, model, count(*) AS attempts, sum(ended NOT IN ('complete', 'client_gone', 'interrupted')) AS failed,
            avg(ttft_ms) AS ttft_ms, {sum_of("output_tokens")}, sum(cost_usd) AS cost_usd
        FROM attempts WHERE stream_id >= ? AND started_at >= ?
        GROUP BY provider, model ORDER BY attempts DESC LIMIT ?
    """  # noqa: S608 - names of our own
    first = f"{int((since.timestamp() - 3600) * 1000):011x}"
    return reader.ask(sql, (first, utc(since), GROUPS))
