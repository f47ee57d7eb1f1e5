"""What is asked of the database: rows for the command line and the live page. Takes a connection, opens none."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

type Row = dict[str, Any]

MODEL = "coalesce(nullif(model_served, ''), nullif(model_requested, ''), '?')"
"""The model as tables name it: the one that served, else the one asked for."""

GROUPS = {
    "model": MODEL,
    "provider": "provider",
    "app": "app",
    "hour": "substr(started_at, 1, 13) || ':00:00Z'",
}

ERRORS = ("failed", "truncated")

QUANTILES = {
    "ttft_p50_ms": ("ttft_ms", 0.50),
    "ttft_p95_ms": ("ttft_ms", 0.95),
    "ttft_p99_ms": ("ttft_ms", 0.99),
    "tokens_per_s_p50": ("tokens_per_s", 0.50),
    "gap_p95_ms": ("gap_p95_ms", 0.95),
}


class Reader:
    """Read-only questions. Rows are dicts with the columns of `streams` or `attempts`. Raises sqlite3.Error."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def close(self) -> None:
        self._connection.close()

    def streams(
        self,
        *,
        limit: int = 50,
        since: str | None = None,
        model: str | None = None,
        provider: str | None = None,
        app: str | None = None,
        outcome: str | None = None,
    ) -> list[Row]:
        """Streams, newest first. model, provider and app may be globs; since is UTC ISO 8601."""
        wanted = {
            "started_at >= :since": since,
            f"({MODEL} glob :model or model_requested glob :model)": model,
            "provider glob :provider": provider,
            "app glob :app": app,
            "outcome = :outcome": outcome,
        }
        where = " and ".join(clause for clause, value in wanted.items() if value is not None) or "1"
        values = {"since": since, "model": model, "provider": provider, "app": app, "outcome": outcome, "limit": limit}
        sql = f"select * from streams where {where} order by started_at desc, id desc limit :limit"  # noqa: S608 - our clauses
        return [dict(row) for row in self._connection.execute(sql, values)]

    def stream(self, prefix: str) -> Row | None:
        """The stream whose id begins so; None if there is none. Raises LookupError if there are several."""
        sql = "select * from streams where id >= ? and id < ? order by id limit 2"
        found = list(self._rows(sql, prefix, prefix + "\U0010ffff")) if prefix else []
        if len(found) > 1 and found[0]["id"] != prefix:
            raise LookupError(f"several streams begin with {prefix!r}: give more of the id")
        return found[0] if found else None

    def attempts(self, stream_id: str) -> list[Row]:
        """The tries of one stream, in order."""
        return list(self._rows("select * from attempts where stream_id = ? order by n", stream_id))

    def in_flight(self) -> list[Row]:
        """Streams that run now, oldest first."""
        return list(self._rows("select * from in_flight order by started_at, id"))

    def stats(self, by: str = "model", *, since: str | None = None) -> list[Row]:
        """One row a group, by number of streams: counts by outcome, percentiles (nearest rank), sums. Raises KeyError."""
        group = GROUPS[by]
        sums = f"""select {group} as "group", count(*) as streams,
            sum(outcome in ('failed', 'truncated')) as errors, sum(outcome = 'complete') as complete,
            sum(outcome = 'truncated') as truncated, sum(outcome = 'failed') as failed,
            sum(outcome = 'client_gone') as client_gone, sum(outcome = 'interrupted') as interrupted,
            sum(input_tokens) as input_tokens, sum(output_tokens) as output_tokens, sum(cost_usd) as cost_usd
            from streams where started_at >= ? group by 1 order by {"1 desc" if by == "hour" else "2 desc, 1"}"""  # noqa: S608
        rows = list(self._rows(sums, since or ""))
        columns = {column for column, _ in QUANTILES.values()}
        values = {column: self._ordered(group, column, since) for column in columns}
        for row in rows:
            key = row.pop("group")
            for name, (column, q) in QUANTILES.items():
                row[name] = _nearest(values[column].get(key, []), q)
            row["error_rate"] = row["errors"] / row["streams"]
            row[by] = key
        return rows

    def _ordered(self, group: str, column: str, since: str | None) -> dict[Any, list[float]]:
        sql = f"select {group}, {column} from streams where started_at >= ? and {column} is not null"  # noqa: S608 - our own
        found: defaultdict[Any, list[float]] = defaultdict(list)
        for key, value in self._connection.execute(sql, (since or "",)):
            found[key].append(value)
        for ordered in found.values():
            ordered.sort()
        return found

    def _rows(self, sql: str, *values: Any) -> Iterator[Row]:
        return (dict(row) for row in self._connection.execute(sql, values))


def _nearest(ordered: list[float], q: float) -> float | None:
    return ordered[round(q * (len(ordered) - 1))] if ordered else None
