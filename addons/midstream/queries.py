"""What is asked of a database: the questions behind `midstream streams`, `show`, `tail` and `stats`. `store.py` opens it."""

from __future__ import annotations

import platform
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from types import TracebackType
from typing import Any, Literal, Self

from midstream import processes

type Row = dict[str, Any]
type By = Literal["model", "provider", "app", "hour"]

OUTCOMES = ("complete", "client_gone", "truncated", "failed", "interrupted")

_GROUPS: dict[By, str] = {
    "model": "coalesce(nullif(model_served, ''), model_requested)",
    "provider": "provider",
    "app": "app",
    "hour": "substr(started_at, 1, 13)",
}


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


class Reader:
    """Asks one open database; for one thread at a time. Rows are dicts, with the columns that the database has."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn
        conn.row_factory = _as_dict
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
        return self._ask(
            f"SELECT * FROM streams WHERE {where} ORDER BY started_at DESC, id DESC LIMIT ?", (*values, limit)
        )

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
        """The attempts of one stream, in order."""
        if "attempts" not in self._tables:
            return []
        return self._ask("SELECT * FROM attempts WHERE stream_id = ? ORDER BY n", (stream_id,))

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
        """Per group, the largest first (hours: the newest first): `group`, `streams`, a count per outcome, `ttft_p50_ms`,
        `ttft_p95_ms`, `ttft_p99_ms`, `tokens_per_s_p50`, `gap_p95_ms` (of the streams' own p95s the 0.95 quantile),
        `input_tokens`, `output_tokens`, `cached_tokens`, `cost_usd` and `priced`, the number of streams with a known price.
        Percentiles are of the streams that have the value; None where none has."""
        raise NotImplementedError

    def _ask(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        return self._conn.execute(sql, values).fetchall()


def _as_dict(cursor: sqlite3.Cursor, row: Iterable[Any]) -> Row:
    return dict(zip((column[0] for column in cursor.description), row, strict=True))
