"""Rows grow old: their sums per hour, provider and model stay in `hours`, they go. Works in small steps, each a transaction.

A step leaves the database whole, so it may be the last one; a proxy may write meanwhile, and another be at the same work.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from midstream.dialects.token_counts import TOKEN_LIMIT
from midstream.gaps import percentile
from midstream.records import utc
from midstream.store.survey import OUTCOMES

STEP_ROWS = 4_000
"""Streams a step takes at most: some 80 ms, in which no other process can write. An hour that has fewer is one step."""

KEYS = ("hour", "provider", "model")
ADDED = (
    *("attempts", "rerouted", "breaks", "resumes", "chunks", "bytes"),
    *("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "cost_usd", "paused_ms"),
)
"""Columns of `streams` that are summed up; NULL where no stream has a value."""

FAILED = ("failed_attempts", "failed_attempts_cost_usd")
MEASURES = ("ttft_ms", "duration_ms", "tokens_per_s", "gap_p95_ms")
"""Columns of `streams` of which the hour keeps count, sum, range and percentiles."""

QUANTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
KINDS = ("count", "sum", "min", "max", *QUANTILES)

SUMS = ("streams", *OUTCOMES, "healed", *ADDED, "priced", *FAILED)
COLUMNS = (*KEYS, *SUMS, *(f"{measure}_{kind}" for measure in MEASURES for kind in KINDS))

NOT_FAILED = "('complete', 'client_gone', 'interrupted')"
"""How an attempt ends that is not its provider's fault."""

OLD = """
    SELECT coalesce(sum(streams), 0) AS streams, count(*) AS hours FROM (
        SELECT count(*) AS streams FROM streams WHERE started_at < ?
        GROUP BY substr(started_at, 1, 13), provider, coalesce(nullif(model_served, ''), model_requested)
    )
"""
"""How many streams there are to sum up, and in how many rows of `hours`."""

type Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """What a step did. more: whether there is something left to do."""

    streams: int
    more: bool


def cutoff(keep_days: float, now: datetime) -> str:
    """Streams begun before this are old: a whole hour, as `started_at` has it."""
    hour = (now.astimezone(UTC) - timedelta(days=keep_days)).replace(minute=0, second=0, microsecond=0)
    return utc(hour)


def step(conn: sqlite3.Connection, before: str) -> Step:
    """Sum up the oldest streams and delete them, inside a transaction that the caller opened for writing."""
    found = _rows(
        conn,
        f"""SELECT rowid AS number, id, substr(started_at, 1, 13) AS hour, coalesce(provider, '') AS provider,
            coalesce(nullif(model_served, ''), model_requested, '') AS model, outcome, {", ".join(_taken())}
        FROM streams WHERE started_at < ? ORDER BY started_at LIMIT ?""",  # noqa: S608 - names of our own
        (before, STEP_ROWS),
    )
    rows = _whole_hours(found) if len(found) == STEP_ROWS else found
    if rows:
        _add_failed(conn, rows)
        conn.executemany(_ADD, summed(rows))
        ids, numbers = (json.dumps([row[name] for row in rows]) for name in ("id", "number"))
        conn.execute("DELETE FROM attempts WHERE stream_id IN (SELECT value FROM json_each(?))", (ids,))
        conn.execute("DELETE FROM streams WHERE rowid IN (SELECT value FROM json_each(?))", (numbers,))
    return Step(len(rows), more=len(found) == STEP_ROWS)


def _taken() -> Iterator[str]:
    yield from dict.fromkeys((*ADDED, *MEASURES))


def _rows(conn: sqlite3.Connection, sql: str, values: Sequence[Any]) -> list[Row]:
    cursor = conn.execute(sql, values)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def _whole_hours(rows: list[Row]) -> list[Row]:
    """Leave the last hour to the next step, unless it is all there is: an hour in one piece has exact percentiles."""
    last = rows[-1]["hour"]
    return [row for row in rows if row["hour"] != last] or rows


def _add_failed(conn: sqlite3.Connection, rows: list[Row]) -> None:
    """What the attempts cost that failed, also of streams that were healed."""
    found = _rows(
        conn,
        f"""SELECT stream_id, count(*) AS failed_attempts, sum(cost_usd) AS failed_attempts_cost_usd FROM attempts
        WHERE stream_id IN (SELECT value FROM json_each(?)) AND ended NOT IN {NOT_FAILED} GROUP BY stream_id""",  # noqa: S608
        (json.dumps([row["id"] for row in rows]),),
    )
    failed = {row["stream_id"]: row for row in found}
    nothing = {"failed_attempts": 0, "failed_attempts_cost_usd": None}
    for row in rows:
        row.update(failed.get(row["id"], nothing))


def summed(rows: Iterable[Row]) -> list[tuple[Any, ...]]:
    """The values of COLUMNS, for each hour, provider and model among these streams."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in KEYS), []).append(row)
    return [(*key, *_sums(group), *_spread(group)) for key, group in groups.items()]


def _sums(group: list[Row]) -> Iterator[Any]:
    yield len(group)
    for outcome in OUTCOMES:
        yield sum(row["outcome"] == outcome for row in group)
    yield sum(row["outcome"] == "complete" and (row["attempts"] or 0) > 1 for row in group)
    for column in ADDED:
        yield _sum(_plausible(column, row[column]) for row in group)
    yield sum(row["cost_usd"] is not None for row in group)
    for column in FAILED:
        yield _sum(row[column] for row in group)


def _sum(values: Iterable[Any]) -> Any:
    known = [value for value in values if value is not None]
    total = sum(known) if known else None
    return min(total, TOKEN_LIMIT) if isinstance(total, int) else total


def _plausible(column: str, value: Any) -> Any:
    """A row of an older midstream may hold what is no token count."""
    return None if column.endswith("_tokens") and value is not None and not 0 <= value <= TOKEN_LIMIT else value


def _spread(group: list[Row]) -> Iterator[float | None]:
    for measure in MEASURES:
        values = sorted(row[measure] for row in group if row[measure] is not None)
        yield len(values)
        yield from (sum(values), values[0], values[-1]) if values else (None, None, None)
        yield from (percentile(values, q) if values else None for q in QUANTILES.values())


def _joined(column: str) -> str:
    """How a column of an hour that is there already takes in what came late. Percentiles become the mean of both, by count."""
    measure, _, kind = column.rpartition("_")
    if measure not in MEASURES or kind in ("count", "sum"):
        return f"coalesce(hours.{column} + excluded.{column}, hours.{column}, excluded.{column})"
    both = f"hours.{column}, excluded.{column}"
    if kind in ("min", "max"):
        return f"coalesce({kind}({both}), {both})"
    old, new = f"hours.{measure}_count", f"excluded.{measure}_count"
    mean = f"(hours.{column} * {old} + excluded.{column} * {new}) / ({old} + {new})"
    return f"coalesce({mean}, {both})"


def _add() -> str:
    later = ", ".join(f"{column} = {_joined(column)}" for column in COLUMNS if column not in KEYS)
    marks = ", ".join("?" * len(COLUMNS))
    return f"""
        INSERT INTO hours ({", ".join(COLUMNS)}) VALUES ({marks})
        ON CONFLICT (hour, provider, model) DO UPDATE SET {later}
    """  # noqa: S608 - names of our own


_ADD = _add()


class Schedule:
    """When to sum up: at the start, then every hour; `keep_days` is asked each time, 0 means for ever. Times are monotonic."""

    EVERY = 3600.0
    PAUSE = 0.1
    """Seconds between two steps: the others' turn."""
    AGAIN = 60.0
    """Seconds after a step that could not be done."""

    def __init__(self, keep_days: Callable[[], float]) -> None:
        self.keep_days = keep_days
        self._due = 0.0
        self.done = 0
        """Streams summed up since the last time all was done."""

    def wait(self, now: float) -> float:
        """Seconds until the next step."""
        return max(self._due - now, 0.0)

    def before(self, wall: datetime) -> str | None:
        """What the next step takes; None: nothing is to go."""
        days = self.keep_days()
        return cutoff(days, wall) if days > 0 else None

    def stepped(self, did: Step, now: float) -> int:
        """A step was done; return how many streams were summed up, once it was the last one."""
        self.done += did.streams
        self._due = now + (self.PAUSE if did.more else self.EVERY)
        if did.more:
            return 0
        total, self.done = self.done, 0
        return total

    def failed(self, now: float) -> None:
        self._due = now + self.AGAIN
