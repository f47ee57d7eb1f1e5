"""What streams add up to: exact sums, percentiles of an even sample, and what is left of the streams whose rows are gone."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from midstream.dialects.token_counts import TOKEN_LIMIT
from midstream.gaps import percentile

type Row = dict[str, Any]
type By = Literal["model", "provider", "app", "hour"]
type Ask = Callable[[str, Sequence[Any]], list[Row]]

OUTCOMES = ("complete", "client_gone", "truncated", "failed", "interrupted")

GROUPS: dict[By, str] = {
    "model": "coalesce(nullif(model_served, ''), model_requested)",
    "provider": "provider",
    "app": "app",
    "hour": "substr(started_at, 1, 13)",
}

SUMS = ("input_tokens", "output_tokens", "cached_tokens", "cost_usd")
MEASURES = ("ttft_ms", "tokens_per_s", "gap_p95_ms")
SAMPLED = (*MEASURES, "started_at", "output_tokens", "outcome", "cost_usd")

PERCENTILES = {
    "ttft_p50_ms": ("ttft_ms", 0.50),
    "ttft_p95_ms": ("ttft_ms", 0.95),
    "ttft_p99_ms": ("ttft_ms", 0.99),
    "tokens_per_s_p50": ("tokens_per_s", 0.50),
    "gap_p95_ms": ("gap_p95_ms", 0.95),
}
"""By what `stats` calls it: of which column, which quantile."""

SAMPLE = 60_000
"""Streams whose measures are looked at one by one: a million would take seconds."""

SAMPLE_OF_GROUP = 1_000
"""The least of them that a group gets, so that its 0.99 quantile means something."""

SEEKS = 500
"""Smaller models that are looked up in the index one by one: reading all streams for theirs takes a tenth of a second."""

OWN_STEPS = 30
"""Groups, the largest, that are sampled each at its own rate, the others at a common one: SQLite compares names one by one.
More hours than these, all are at the common one."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Single streams of one group, each standing for `weight` of them."""

    weight: int
    streams: list[tuple[Any, ...]] = field(default_factory=list)
    """Values of the columns that were asked for, in their order."""

    def values(self, column: int) -> list[float]:
        """One column's, sorted, without those that a stream does not have."""
        return sorted(stream[column] for stream in self.streams if stream[column] is not None)


@dataclass(frozen=True, slots=True)
class Survey:
    """rows: one a group, as `Reader.stats` has them; samples: by the group's name, with the columns of SAMPLED."""

    rows: list[Row]
    samples: dict[str, Sample]


def survey(conn: sqlite3.Connection, ask: Ask, by: By, where: tuple[str, list[str]], columns: Sequence[str]) -> Survey:
    """Survey the streams of a condition; columns of a sample: MEASURES first. The caller holds a transaction."""
    groups = _totals(ask, by, where)
    samples = _sample(conn, by, where, {name: group["streams"] for name, group in groups.items()}, columns)
    rows = [{by: name, **_summary(group, samples[name])} for name, group in groups.items()]
    return Survey(rows, samples)


def ordered(rows: Iterable[Row], by: By) -> list[Row]:
    """Hours the newest first, others the largest first."""
    return sorted(rows, key=lambda row: row[by] if by == "hour" else row["streams"], reverse=True)


def _totals(ask: Ask, by: By, where: tuple[str, list[str]]) -> dict[str, Row]:
    """Sum up in the order of the index `streams_stats`, which a grouping by what `by` names would have to sort for."""
    finest = GROUPS["hour"] if by == "hour" else "model_served, model_requested, provider, app"
    sql = f"""
        SELECT {GROUPS[by]} AS name, outcome, count(*) AS streams, count(cost_usd) AS priced,
            {", ".join(map(sum_of, SUMS))}
        FROM streams WHERE {where[0]} GROUP BY {finest}, outcome
    """  # noqa: S608 - names of our own
    groups: dict[str, Row] = {}
    for row in ask(sql, where[1]):
        _add(groups.setdefault(row["name"] or "", _empty()), row)
    return groups


def sum_of(column: str) -> str:
    """The SQL for a column's sum, under the column's name. Of tokens, without what is no count of them, which a row of an older
    midstream may hold, and as REAL, exact up to 2**53: a sum of INTEGER that overflows is an error."""
    if not column.endswith("_tokens"):
        return f"sum({column}) AS {column}"
    return f"CAST(sum(CASE WHEN {column} BETWEEN 0 AND {TOKEN_LIMIT} THEN {column} + 0.0 END) AS INTEGER) AS {column}"


def _empty() -> Row:
    return {**dict.fromkeys(("streams", *OUTCOMES), 0), **dict.fromkeys(SUMS), "priced": 0}


def _add(group: Row, part: Row) -> None:
    group["streams"] += part["streams"]
    group["priced"] += part["priced"]
    if part["outcome"] in OUTCOMES:
        group[part["outcome"]] += part["streams"]
    for column in SUMS:
        group[column] = _plus(group[column], part[column])


def _plus(one: Any, other: Any) -> Any:
    return other if one is None else one if other is None else one + other


def _sample(
    conn: sqlite3.Connection, by: By, where: tuple[str, list[str]], sizes: dict[str, int], columns: Sequence[str]
) -> dict[str, Sample]:
    """Single streams: all, or of each group too large for its share of SAMPLE every nth."""
    few = by != "hour" or len(sizes) <= OWN_STEPS
    own, common = _steps(sizes) if few else ({}, _common(sum(sizes.values())))
    rest = [name for name in sizes if name not in own]
    parts: list[tuple[str, list[str], str]] = [("1", [], str(common))]
    if own and (not rest or (by == "model" and len(rest) <= SEEKS)):
        base = min(own.values())
        own = {name: step // base * base for name, step in own.items()}
        parts = [(f"rowid % {base} = 0", [], "NULL")]  # which SQLite can tell sooner than what a stream's group is
        if rest:
            named = f"model_served IN ({', '.join('?' * len(rest))}, '')"
            parts += [(named, rest, str(common)), ("model_served IS NULL", [], str(common))]
    samples = {name: Sample(own.get(name, common)) for name in sizes}
    for number, (condition, values, otherwise) in enumerate(parts):
        steps = own if number == 0 else dict.fromkeys(own)
        sql = _one_by_one(by, f"{where[0]} AND {condition}", columns, steps, otherwise)
        _take(conn, sql, [*where[1], *values, *(value for step in steps.items() for value in step)], samples)
    return samples


def _one_by_one(by: By, where: str, columns: Sequence[str], steps: Iterable[str], otherwise: str) -> str:
    """The question for every nth stream of each group, a question mark for each name and its n; `otherwise`: of the others."""
    case = f"CASE name {'WHEN ? THEN ? ' * len(list(steps))} ELSE {otherwise} END" if steps else otherwise
    return f"""
        SELECT name, {", ".join(columns)} FROM (
            SELECT coalesce({GROUPS[by]}, '') AS name, rowid AS number, {", ".join(columns)} FROM streams WHERE {where}
        ) WHERE number % ({case}) = 0
    """  # noqa: S608 - names of our own


def _take(conn: sqlite3.Connection, sql: str, values: list[Any], samples: dict[str, Sample]) -> None:
    cursor = conn.cursor()
    cursor.row_factory = None
    taken = {name: sample.streams for name, sample in samples.items()}
    for row in cursor.execute(sql, values):
        taken[row[0]].append(row[1:])


def _steps(sizes: dict[str, int]) -> tuple[dict[str, int], int]:
    """Of which groups every how manieth stream is looked at, and of all others."""
    share = max(SAMPLE // max(len(sizes), 1), SAMPLE_OF_GROUP)
    large = sorted((name for name, size in sizes.items() if size > share), key=lambda name: sizes[name], reverse=True)
    own = {name: -(-sizes[name] // share) for name in large[:OWN_STEPS]}
    rest = sum(size for name, size in sizes.items() if name not in own)
    return own, _common(rest)


def _common(size: int) -> int:
    return max(-(-size // (2 * SAMPLE)), 1)


def _summary(group: Row, sample: Sample) -> Row:
    values = {column: sample.values(place) for place, column in enumerate(MEASURES)}
    quantiles = {name: _quantile(values[column], q) for name, (column, q) in PERCENTILES.items()}
    counts = {name: group[name] for name in ("streams", *OUTCOMES)}
    return {**counts, **quantiles, **{name: group[name] for name in SUMS}, "priced": group["priced"], "rolled_up": 0}


def _quantile(values: list[float], q: float) -> float | None:
    return percentile(values, q) if values else None


def with_hours(rows: list[Row], hours: Iterable[Row], by: By) -> list[Row]:
    """Add what is left of streams whose rows are gone. Their percentiles, means of the hours', stand only where a group has
    nothing else."""
    known = {row[by]: row for row in rows}
    for hour in hours:
        row = known.get(hour[by])
        if row is None:
            known[hour[by]] = hour
            continue
        for name in ("streams", *OUTCOMES, *SUMS, "priced", "rolled_up"):
            row[name] = _plus(row[name], hour[name])
    return list(known.values())


def hours_of(by: By, where: tuple[str, list[str]]) -> tuple[str, list[str]]:
    """The question for what is left of older streams, by hour, provider or model."""
    means = (
        f"sum({measure}_p{q * 100:.0f} * {measure}_count) / sum({measure}_count) AS {name}"
        for name, (measure, q) in PERCENTILES.items()
    )
    sums = ", ".join(f"sum({name}) AS {name}" for name in ("streams", *OUTCOMES))
    rest = ", ".join(map(sum_of, (*SUMS, "priced")))
    sql = f"""
        SELECT {by}, {sums}, {", ".join(means)}, {rest}, sum(streams) AS rolled_up
        FROM hours WHERE {where[0]} GROUP BY {by}
    """  # noqa: S608 - names of our own
    return sql, where[1]


def conditions(given: dict[str, str]) -> Iterator[str]:
    """The conditions on `hours`, each with one question mark; given: those of a Filter that is about nothing else."""
    known = {
        "model": "model GLOB ?",
        "provider": "provider GLOB ?",
        "since": "hour || ':00:00.000Z' >= ?",
        "until": "hour || ':59:59.999Z' < ?",
    }
    yield from (known[name] for name in given)
