"""The only file that opens SQLite: the schema's history on top, then the writer, then what opens it for reading."""

from __future__ import annotations

import logging
import os
import socket
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from sqlite_utils import Database, Migrations

from midstream.observation import AttemptRecord, StreamRecord
from midstream.queries import Reader

BATCH_SECONDS = 0.2
"""How long rows are gathered before they are written: what a kill -9 loses at most."""

BATCH_ROWS = 500
"""Rows written in one transaction at most."""

QUEUE_LIMIT = 20_000
"""Rows that wait while the database cannot be written; beyond it the oldest are dropped, counted and logged."""

BUSY_MS = 1_000
"""How long SQLite itself waits for another process's lock before the batch is retried."""

RETRY_MAX = 5.0
"""Seconds between tries to write at most; they begin at BATCH_SECONDS and double."""

log = logging.getLogger(__name__)

migrations = Migrations("midstream")


@migrations()
def m001_streams(db: Database) -> None:
    db["streams"].create(
        {
            "id": str, "started_at": str, "client": str, "app": str, "key": str, "provider": str, "dialect": str,
            "model_requested": str, "model_served": str, "delivery": str, "http_status": int, "outcome": str,
            "finish_reason": str, "attempts": int, "rerouted": int, "breaks": int, "resumes": int, "ttft_ms": float,
            "duration_ms": float, "tokens_per_s": float, "gap_p50_ms": float, "gap_p95_ms": float, "gap_max_ms": float,
            "chunks": int, "bytes": int, "input_tokens": int, "output_tokens": int, "cached_tokens": int,
            "reasoning_tokens": int, "usage_source": str, "cost_usd": float, "paused_ms": float, "error_type": str,
            "error": str,
        },
        pk="id",
    )  # fmt: skip
    for column in ("started_at", "model_served", "provider", "app"):
        db["streams"].create_index([column])


@migrations()
def m002_attempts(db: Database) -> None:
    db["attempts"].create(
        {
            "stream_id": str, "n": int, "provider": str, "model": str, "started_at": str, "http_status": int,
            "ttft_ms": float, "duration_ms": float, "output_tokens": int, "ended": str, "error": str,
        },
        pk=("stream_id", "n"),
    )  # fmt: skip


@migrations()
def m003_in_flight(db: Database) -> None:
    """Streams that run now, and the process they run in: what a killed one leaves behind is told by it."""
    db["in_flight"].create(
        {
            "id": str, "host": str, "pid": int, "process": str, "started_at": str, "client": str, "app": str,
            "key": str, "provider": str, "dialect": str, "model_requested": str, "model_served": str, "delivery": str,
            "http_status": int, "ttft_ms": float, "chunks": int,
        },
        pk="id",
    )  # fmt: skip


IN_FLIGHT = (
    "id", "started_at", "client", "app", "key", "provider", "dialect", "model_requested", "model_served", "delivery",
    "http_status", "ttft_ms", "chunks",
)  # fmt: skip


def open_reader(path: Path) -> Reader:
    """Open the database to read, also one of a newer schema. Raises FileNotFoundError, or sqlite3.Error."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no database at {path}: `midstream run` makes it with the first stream")
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=BUSY_MS / 1000)
    connection.row_factory = sqlite3.Row
    return Reader(connection)


@dataclass(slots=True)
class _Change:
    kind: Literal["started", "progress", "finished", "forgotten"]
    row: dict[str, Any]
    attempts: list[dict[str, Any]] = field(default_factory=list)


class StoreWriter:
    """Takes rows from any thread and writes them in a thread of its own; never blocks the caller, never raises into it.

    A database that cannot be written (locked, full disk, no permission) is logged once and tried again until it can.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._queue: deque[_Change] = deque()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._idle = threading.Event()
        self._closing = False
        self._dropped = 0
        self._healthy = True
        self._connection: sqlite3.Connection | None = None
        self._thread = threading.Thread(target=self._run, name="midstream-store", daemon=True)
        self._thread.start()

    def started(self, record: StreamRecord) -> None:
        """A stream has begun."""
        self._put(_Change("started", _in_flight(record)))

    def progress(self, record: StreamRecord) -> None:
        """What is known of a stream in flight has changed."""
        self._put(_Change("progress", _in_flight(record)))

    def finished(self, record: StreamRecord, attempts: Sequence[AttemptRecord] = ()) -> None:
        """A stream is settled."""
        self._put(_Change("finished", _columns(record), [_columns(attempt) for attempt in attempts]))

    def forgotten(self, record: StreamRecord) -> None:
        """A stream that was started turned out to be somebody else's to measure."""
        self._put(_Change("forgotten", {"id": record.id}))

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until all rows so far are written; return whether they were, in time."""
        deadline = time.monotonic() + timeout
        self._wake.set()
        while time.monotonic() < deadline:
            with self._lock:
                if not self._queue and self._idle.is_set():
                    return True
            self._idle.wait(0.01)
        return False

    def close(self, timeout: float = 5.0) -> None:
        """Write what waits, for so many seconds at most, and stop."""
        self._closing = True
        self._wake.set()
        self._thread.join(timeout)
        if self._queue:
            log.error("midstream: %d rows could not be written to %s and are lost", len(self._queue), self._path)

    def _put(self, change: _Change) -> None:
        with self._lock:
            self._idle.clear()
            self._queue.append(change)
            while len(self._queue) > QUEUE_LIMIT:
                self._queue.popleft()
                self._dropped += 1
        self._wake.set()

    def _run(self) -> None:
        pause = BATCH_SECONDS
        self._write_batch()  # makes the database, and settles what a killed process left open
        while True:
            self._wake.wait()
            self._wake.clear()
            if not self._closing:
                time.sleep(pause)  # gather a batch; after a failure, wait before the next try
            while self._queue:
                if not self._write_batch():
                    pause = min(pause * 2, RETRY_MAX)
                    self._wake.set()
                    break
                pause = BATCH_SECONDS
            with self._lock:
                if not self._queue:
                    self._idle.set()
            if self._closing and (not self._queue or not self._healthy):
                break
        if self._connection is not None:
            self._connection.close()

    def _write_batch(self) -> bool:
        with self._lock:
            batch = [self._queue[i] for i in range(min(BATCH_ROWS, len(self._queue)))]
        try:
            connection = self._open()
            with connection:
                _write(connection, batch)
        except (sqlite3.Error, OSError) as error:
            self._complain(error)
            return False
        with self._lock:
            for _ in batch:
                if self._queue:
                    self._queue.popleft()
        self._recovered()
        return True

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = open_for_writing(self._path)
        return self._connection

    def _complain(self, error: Exception) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None
        if self._healthy:
            self._healthy = False
            log.error(
                "midstream cannot write %s: %s. Streams go on; their rows wait in memory (%d at most) and are tried again. "
                "`midstream doctor` says more.", self._path, error, QUEUE_LIMIT,
            )  # fmt: skip

    def _recovered(self) -> None:
        if not self._healthy:
            self._healthy = True
            dropped, self._dropped = self._dropped, 0
            log.warning("midstream writes %s again; %d rows were dropped meanwhile", self._path, dropped)


def open_for_writing(path: Path) -> sqlite3.Connection:
    """Open, or make, the database: private to its owner, WAL, migrated, and with what a killed process left open settled."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    connection = sqlite3.connect(path, timeout=BUSY_MS / 1000, check_same_thread=False)
    try:
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = normal")
        migrations.apply(Database(connection))
        with connection:
            _settle_orphans(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _write(connection: sqlite3.Connection, batch: Sequence[_Change]) -> None:
    ending = {change.row["id"] for change in batch if change.kind in ("finished", "forgotten")}
    for change in batch:
        row = change.row
        match change.kind:
            case "started" | "progress" if row["id"] not in ending:
                _insert(connection, "in_flight", row)
            case "finished":
                _insert(connection, "streams", row)
                for attempt in change.attempts:
                    _insert(connection, "attempts", attempt)
    connection.executemany("delete from in_flight where id = ?", [(name,) for name in ending])


def _insert(connection: sqlite3.Connection, table: str, row: dict[str, Any]) -> None:
    columns, values = ", ".join(f'"{name}"' for name in row), ", ".join("?" * len(row))
    text = [_storable(value) for value in row.values()]
    connection.execute(f"insert or replace into {table} ({columns}) values ({values})", text)  # noqa: S608 - our own names


def _storable(value: Any) -> Any:
    """SQLite takes no lone surrogates and no integers over 63 bits: hostile input must not cost its whole batch."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return None
    return value


def _columns(record: StreamRecord | AttemptRecord) -> dict[str, Any]:
    return {f.name: getattr(record, f.name) for f in fields(record)}


def _in_flight(record: StreamRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in IN_FLIGHT} | _this_process()


@cache
def _this_process() -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": os.getpid(), "process": process_of(os.getpid())}


def process_of(pid: int) -> str:
    """What tells a process from a later one with its number: the start time (Linux; "" elsewhere)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _settle_orphans(connection: sqlite3.Connection) -> None:
    """Streams whose mitmdump is gone without a word become rows with the outcome `interrupted`."""
    with closing(connection.cursor()) as cursor:
        cursor.row_factory = sqlite3.Row
        rows = cursor.execute("select * from in_flight where host = ?", (socket.gethostname(),)).fetchall()
    for row in rows:
        if not _is_alive(row["pid"], row["process"]):
            known = {name: row[name] for name in IN_FLIGHT if row[name] is not None}
            record = StreamRecord(**known, outcome="interrupted", error_type="interrupted", error="mitmdump was killed")
            _insert(connection, "streams", _columns(record))
            connection.execute("delete from in_flight where id = ?", (row["id"],))


def _is_alive(pid: int, process: str) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # somebody else's, so alive
    return process_of(pid) == process
