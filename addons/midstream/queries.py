"""What is asked of a database: the questions behind `midstream streams`, `show`, `tail` and `stats`. `store.py` opens it."""

from __future__ import annotations

import platform
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from types import TracebackType
from typing import Any, Literal, Self

from midstream import processes
from midstream.gaps import percentile
from midstream.records import AttemptRecord

type Row = dict[str, Any]
type By = Literal["model", "provider", "app", "hour"]

OUTCOMES = ("complete", "client_gone", "truncated", "failed", "interrupted")

_GROUPS: dict[By, str] = {
    "model": "coalesce(nullif(model_served, ''), model_requested)",
    "provider": "provider",
    "app": "app",
    "hour": "substr(started_at, 1, 13)",
}

_SUMS = ("input_tokens", "output_tokens", "cached_tokens", "cost_usd")
_MEASURES = ("ttft_ms", "tokens_per_s", "gap_p95_ms")

SAMPLE = 100_000
"""Streams whose measures `stats` looks at one by one: a million would take seconds."""

SAMPLE_OF_GROUP = 1_000
"""The least of them that a group gets, so that its 0.99 quantile means something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which streams. Names are globs (`gpt-4o*`); since and until are UTC ISO 8601, until not included."""

    model: str | None = None
    provider: str | None = None
    app: str | None = None
    client: str | None = None
    key: str | None = None
    dialect: str | None = None
    outcome: str | None = None
    since: str | None = None
    until: str | None = None

    def where(self) -> tuple[str, list[str]]:
        """The condition in SQL, and what its question marks stand for."""
        given = [(f.name, value) for f in fields(self) if (value := getattr(self, f.name)) is not None]
        conditions = [_CONDITIONS.get(name, f"{name} GLOB ?") for name, _ in given]
        values = [value for name, value in given for _ in range(2 if name == "model" else 1)]
        return " AND ".join(conditions) or "1", values


_CONDITIONS = {
    "model": "(model_served GLOB ? OR model_requested GLOB ?)",
    "since": "started_at >= ?",
    "until": "started_at < ?",
}

EVERY = Filter()

_NO_ATTEMPT: Row = dict.fromkeys(field.name for field in fields(AttemptRecord))


class Reader:
    """Asks one open database; for one thread at a time. Rows are dicts, with the columns that the database has."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn
        conn.row_factory = sqlite3.Row
        self._tables = {row["name"] for row in self._ask("SELECT name FROM sqlite_master WHERE type = 'table'")}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._conn.close()

    def streams(self, which: Filter = EVERY, limit: int = 50) -> list[Row]:
        """The rows of `streams`, newest first."""
        where, values = which.where()
        sql = f"SELECT * FROM streams WHERE {where} ORDER BY started_at DESC, id DESC LIMIT ?"  # noqa: S608 - names of our own
        return self._ask(sql, (*values, limit))

    def stream(self, prefix: str) -> Row:
        """The stream whose id is, or alone begins with, this. Raises LookupError with what to tell the user."""
        upper = prefix + "\U0010ffff"
        found = self._ask("SELECT * FROM streams WHERE id >= ? AND id < ? ORDER BY id LIMIT 5", (prefix, upper))
        if not found or not prefix:
            raise LookupError(f"no stream has an id that begins with {prefix!r}")
        if len(found) > 1 and found[0]["id"] != prefix:
            ids = ", ".join(row["id"] for row in found)
            raise LookupError(f"more than one stream has an id that begins with {prefix!r}: {ids}")
        return found[0]

    def attempts(self, stream_id: str) -> list[Row]:
        """The attempts of one stream, in order. What an older midstream did not write down is None."""
        if "attempts" not in self._tables:
            return []
        rows = self._ask("SELECT * FROM attempts WHERE stream_id = ? ORDER BY n", (stream_id,))
        return [_NO_ATTEMPT | row for row in rows]

    def in_flight(self) -> list[Row]:
        """The streams that run now, oldest first; those of a killed process are left out."""
        if "in_flight" not in self._tables:
            return []
        here = platform.node()
        rows = self._ask("SELECT * FROM in_flight ORDER BY started_at, id")
        return [row for row in rows if row["host"] != here or processes.is_running(row["pid"], row["process"])]

    def last(self) -> int:
        """The `rowid` of the newest row, for `after`."""
        found: int = self._ask("SELECT coalesce(max(rowid), 0) AS last FROM streams")[0]["last"]
        return found

    def after(self, rowid: int, limit: int = 1000) -> list[Row]:
        """The streams that were over after the one with this `rowid`, in that order, each with its `rowid`: for `tail`."""
        return self._ask("SELECT rowid, * FROM streams WHERE rowid > ? ORDER BY rowid LIMIT ?", (rowid, limit))

    def stats(self, by: By = "model", which: Filter = EVERY) -> list[Row]:
        """Per model, provider, app or hour (`2026-01-31T23`, UTC), the largest first (hours: the newest first): the group
        under its own name, `streams`, how many had each of OUTCOMES, `ttft_p50_ms`, `ttft_p95_ms`, `ttft_p99_ms`,
        `tokens_per_s_p50`, `gap_p95_ms` (the 0.95 quantile of the streams' own), `input_tokens`, `output_tokens`,
        `cached_tokens`, `cost_usd`, and `priced`: how many streams the cost is of. None: no stream has the value.

        Percentiles are exact up to SAMPLE streams; of more, every group's are those of an even sample.
        """
        groups = self._totals(by, which)
        for name, *measures in self._sample(by, which, {name: group["streams"] for name, group in groups.items()}):
            for values, value in zip(groups[name]["measures"], measures, strict=True):
                values.append(value)
        rows = [{by: name, **_summary(group)} for name, group in groups.items()]
        return sorted(rows, key=lambda row: row[by] if by == "hour" else row["streams"], reverse=True)

    def _totals(self, by: By, which: Filter) -> dict[str, Row]:
        """Sum up in the order of the index `streams_stats`, which a grouping by what `by` names would have to sort for."""
        where, values = which.where()
        finest = _GROUPS["hour"] if by == "hour" else "model_served, model_requested, provider, app"
        sql = f"""
            SELECT {_GROUPS[by]} AS name, outcome, count(*) AS streams, count(cost_usd) AS priced,
                {", ".join(f"sum({column}) AS {column}" for column in _SUMS)}
            FROM streams WHERE {where} GROUP BY {finest}, outcome
        """  # noqa: S608 - names of our own
        groups: dict[str, Row] = {}
        for row in self._ask(sql, values):
            _add(groups.setdefault(row["name"] or "", _empty_group()), row)
        return groups

    def _sample(self, by: By, which: Filter, sizes: dict[str, int]) -> Iterable[sqlite3.Row]:
        """The measures of single streams: all, or of each group too large for its share of SAMPLE every nth."""
        share = max(SAMPLE // max(len(sizes), 1), SAMPLE_OF_GROUP)
        steps = {name: -(-size // share) for name, size in sizes.items() if size > share}
        case = f"CASE name {'WHEN ? THEN ? ' * len(steps)} ELSE 1 END" if steps else "1"
        where, values = which.where()
        sql = f"""
            SELECT name, {", ".join(_MEASURES)} FROM (
                SELECT coalesce({_GROUPS[by]}, '') AS name, rowid AS number, {", ".join(_MEASURES)} FROM streams WHERE {where}
            ) WHERE number % ({case}) = 0
        """  # noqa: S608 - names of our own
        return self._conn.execute(sql, [*values, *(value for step in steps.items() for value in step)])

    def ask(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[Row]:
        """The rows of any question, for those who have questions of their own."""
        return self._ask(sql, values)

    def _ask(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[Row]:
        return [dict(row) for row in self._conn.execute(sql, values)]


def _empty_group() -> Row:
    counts = dict.fromkeys(("streams", "priced", *OUTCOMES), 0)
    return {**counts, **dict.fromkeys(_SUMS), "measures": tuple([] for _ in _MEASURES)}


def _add(group: Row, part: Row) -> None:
    group["streams"] += part["streams"]
    group["priced"] += part["priced"]
    if part["outcome"] in OUTCOMES:
        group[part["outcome"]] += part["streams"]
    for column in _SUMS:
        if part[column] is not None:
            group[column] = (group[column] or 0) + part[column]


def _summary(group: Row) -> Row:
    ttft, rate, gap = (sorted(v for v in values if v is not None) for values in group.pop("measures"))
    return {
        "streams": group.pop("streams"),
        **{outcome: group.pop(outcome) for outcome in OUTCOMES},
        "ttft_p50_ms": _quantile(ttft, 0.50),
        "ttft_p95_ms": _quantile(ttft, 0.95),
        "ttft_p99_ms": _quantile(ttft, 0.99),
        "tokens_per_s_p50": _quantile(rate, 0.50),
        "gap_p95_ms": _quantile(gap, 0.95),
        **{column: group.pop(column) for column in _SUMS},
        "priced": group.pop("priced"),
    }


def _quantile(ordered: list[float], q: float) -> float | None:
    return percentile(ordered, q) if ordered else None
