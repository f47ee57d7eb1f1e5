"""What is asked of a database: the questions behind `midstream streams`, `show`, `tail` and `stats`. `database.py` opens it."""

from __future__ import annotations

import platform
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import datetime
from time import monotonic
from types import TracebackType
from typing import Any, Self

from midstream import processes
from midstream.records import AttemptRecord
from midstream.store import survey as surveys
from midstream.store.survey import OUTCOMES, SAMPLE, By, Row

__all__ = ["EVERY", "OUTCOMES", "SAMPLE", "By", "Filter", "Reader", "Row"]

LOOK = 10_000
"""Instructions of SQLite's between two looks at the clock: less than a millisecond of them."""

HOURS_KNOW = {"model", "provider", "since", "until"}
"""What of a Filter can be asked of streams whose rows are gone."""


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
        given = self.given()
        conditions = [_CONDITIONS.get(name, f"{name} GLOB ?") for name in given]
        values = [value for name, value in given.items() for _ in range(2 if name == "model" else 1)]
        return " AND ".join(conditions) or "1", values

    def given(self) -> dict[str, str]:
        """What it filters by."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}


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

    def stop_after(self, seconds: float) -> None:
        """From then on whatever is asked ends as SQLite's error `interrupted`."""
        until = monotonic() + seconds
        self._conn.set_progress_handler(lambda: monotonic() > until, LOOK)

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

    def attempts_since(self, since: datetime, limit: int = 5000) -> list[Row]:
        """The newest attempts begun since then whose streams are over, oldest first: whom they asked, how they ended."""
        if "attempts" not in self._tables:
            return []
        first = (
            f"{int(since.timestamp() * 1000):011x}"  # a stream's id begins with its time, and the table is in its order
        )
        sql = """
            SELECT provider, model, started_at, ended FROM attempts WHERE stream_id >= ?
            ORDER BY stream_id DESC, n DESC LIMIT ?
        """
        return self._ask(sql, (first, limit))[::-1]

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

    def place(self, id_: str) -> int | None:
        """The `rowid` of a stream: deleting and VACUUM may move it."""
        found = self._ask("SELECT rowid AS place FROM streams WHERE id = ?", (id_,))
        return found[0]["place"] if found else None

    def stats(self, by: By = "model", which: Filter = EVERY) -> list[Row]:
        """Per model, provider, app or hour (`2026-01-31T23`, UTC), the largest first (hours: the newest first): the group
        under its own name, `streams`, how many had each of OUTCOMES, `ttft_p50_ms`, `ttft_p95_ms`, `ttft_p99_ms`,
        `tokens_per_s_p50`, `gap_p95_ms` (the 0.95 quantile of the streams' own), `input_tokens`, `output_tokens`,
        `cached_tokens`, `cost_usd`, `priced`: how many streams the cost is of, and `rolled_up`: how many of the streams are
        known from their hour only (retention.py). None: no stream has the value.

        Percentiles are of streams that have rows, exact up to SAMPLE; of more, every group's are those of an even sample.
        """
        return self._survey(by, which, surveys.MEASURES).rows

    def survey(self, by: By = "model", which: Filter = EVERY) -> surveys.Survey:
        """The same with a sample of the streams themselves."""
        return self._survey(by, which, surveys.SAMPLED)

    def _survey(self, by: By, which: Filter, columns: Sequence[str]) -> surveys.Survey:
        with self._at_one_moment():
            found = surveys.survey(self._conn, self._ask, by, which.where(), columns)
            rows = surveys.with_hours(found.rows, self._hours(by, which), by)
        return surveys.Survey(surveys.ordered(rows, by), found.samples)

    def _hours(self, by: By, which: Filter) -> list[Row]:
        """What is left of streams whose rows are gone; nothing where it cannot tell what is asked."""
        given = which.given()
        if "hours" not in self._tables or by == "app" or not given.keys() <= HOURS_KNOW:
            return []
        where = " AND ".join(surveys.conditions(given)) or "1"
        return self._ask(*surveys.hours_of(by, (where, list(given.values()))))

    @contextmanager
    def _at_one_moment(self) -> Iterator[None]:
        """A stream that is summed up between two questions would count twice, or not at all."""
        self._conn.execute("BEGIN")
        try:
            yield
        finally:
            self._conn.rollback()

    def ask(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[Row]:
        """The rows of any question, for those who have questions of their own."""
        return self._ask(sql, values)

    def _ask(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[Row]:
        return [dict(row) for row in self._conn.execute(sql, values)]
