"""The only file that opens SQLite: the table's history on top, then how a database is opened, then the one that writes.

What is asked of it stands in `queries.py`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlite_utils import Database, Migrations

from midstream import processes
from midstream.batching import Batcher
from midstream.observation import AttemptRecord, StreamRecord
from midstream.queries import Reader

DEFAULT_PATH = Path("~/.midstream/streams.db")

BUSY_SECONDS = 1.0
"""How long SQLite waits for another writer before it says so, and we try again."""

FOREIGN_AGE = timedelta(days=1)
"""A stream in flight on another machine (a container's hostname changes) counts as dead after this long without a sign."""

log = logging.getLogger(__name__)

migrations = Migrations("midstream")


@migrations()
def m001_streams(db: Database) -> None:
    db.execute("""
        CREATE TABLE streams (
            id TEXT PRIMARY KEY, started_at TEXT, client TEXT, app TEXT, key TEXT,
            provider TEXT, dialect TEXT, model_requested TEXT, model_served TEXT, delivery TEXT,
            http_status INTEGER, outcome TEXT, finish_reason TEXT,
            attempts INTEGER, rerouted INTEGER, breaks INTEGER, resumes INTEGER,
            ttft_ms REAL, duration_ms REAL, tokens_per_s REAL, gap_p50_ms REAL, gap_p95_ms REAL, gap_max_ms REAL,
            chunks INTEGER, bytes INTEGER,
            input_tokens INTEGER, output_tokens INTEGER, cached_tokens INTEGER, reasoning_tokens INTEGER,
            usage_source TEXT, cost_usd REAL, paused_ms REAL, error_type TEXT, error TEXT
        )
    """)
    for column in ("started_at", "model_requested", "model_served", "provider"):
        db.table("streams").create_index([column])


@migrations()
def m002_attempts(db: Database) -> None:
    db.execute("""
        CREATE TABLE attempts (
            stream_id TEXT, n INTEGER, provider TEXT, model TEXT, started_at TEXT,
            http_status INTEGER, ttft_ms REAL, duration_ms REAL, output_tokens INTEGER, ended TEXT, error TEXT,
            PRIMARY KEY (stream_id, n)
        )
    """)


@migrations()
def m003_in_flight(db: Database) -> None:
    db.execute("""
        CREATE TABLE in_flight (
            id TEXT PRIMARY KEY, pid INTEGER, process TEXT, host TEXT,
            started_at TEXT, client TEXT, app TEXT, provider TEXT, dialect TEXT, model_requested TEXT,
            ttft_ms REAL, chunks INTEGER, updated_at TEXT
        )
    """)


STREAM = tuple(f.name for f in fields(StreamRecord))
ATTEMPT = tuple(f.name for f in fields(AttemptRecord))
SHOWN = ("started_at", "client", "app", "provider", "dialect", "model_requested", "ttft_ms", "chunks")
"""What a stream in flight shows of its record."""

_stream_values = attrgetter(*STREAM)
_attempt_values = attrgetter(*ATTEMPT)
_shown_values = attrgetter("id", *SHOWN)


def _insert(table: str, columns: Sequence[str], or_: str = "REPLACE") -> str:
    marks = ", ".join("?" * len(columns))
    return f"INSERT OR {or_} INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 - names of our own


def open_reader(path: Path | str) -> Reader:
    """Open a database for questions; it may be of a newer midstream, and written at the same time.

    Raises FileNotFoundError where there is none, and ValueError for a file that is no database of midstream's.
    """
    file = Path(path).expanduser()
    if not file.exists():
        raise FileNotFoundError(
            f"no database at {file}: nothing has been recorded yet. `midstream run` starts recording."
        )
    try:
        return Reader(_connect_to_read(file))
    except sqlite3.DatabaseError as error:
        raise ValueError(
            f"{file} cannot be read as a database of midstream: {error}. {_advice(error, file)}"
        ) from error


def _connect_to_read(file: Path) -> sqlite3.Connection:
    """A database in WAL mode wants its -shm file, which cannot be made in a read-only folder: there, if no writer left a
    -wal behind, the file alone is the whole truth."""
    modes = ["mode=ro"] if Path(f"{file}-wal").exists() else ["mode=ro", "immutable=1"]
    for mode in modes:
        uri = f"file:{quote(str(file.absolute()))}?{mode}"
        conn = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, check_same_thread=False)
        try:
            conn.execute("SELECT id FROM streams LIMIT 1").fetchall()
            return conn
        except sqlite3.DatabaseError:
            conn.close()
            if mode == modes[-1]:
                raise
    raise AssertionError("unreachable")


def open_writer(path: Path) -> Database:
    """Open, creating it if need be for this user alone, and bring its tables up to date. Raises OSError, sqlite3.Error."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # -wal and -shm take their permissions from it
    conn = sqlite3.connect(path, timeout=BUSY_SECONDS, check_same_thread=False)
    try:
        conn.execute("PRAGMA journal_mode = WAL")
        conn.execute("PRAGMA synchronous = NORMAL")
        db = Database(conn)
        if migrations.pending(db):
            with transaction(db):  # which another process may be doing at this moment
                migrations.apply(db)
    except BaseException:
        conn.close()
        raise
    return db


@contextlib.contextmanager
def transaction(db: Database) -> Iterator[None]:
    """Take the write lock at the start: a transaction that begins by reading cannot wait for it later (SQLITE_BUSY)."""
    db.conn.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.conn.commit()
    except BaseException:
        db.conn.rollback()
        raise


def settle_the_dead(db: Database) -> int:
    """Make a row, outcome `interrupted`, of each stream in flight whose process is gone; return how many."""
    here = platform.node()
    with transaction(db):
        found = [dict(row) for row in db["in_flight"].rows]
        dead = [row for row in found if not _alive(row, here)]
        rows = [_stream_values(_interrupted(row)) for row in dead]
        db.conn.executemany(_insert("streams", STREAM, "IGNORE"), rows)
        db.conn.executemany("DELETE FROM in_flight WHERE id = ?", [(row["id"],) for row in dead])
    return len(dead)


@dataclass(slots=True)
class _Rows:
    """What waits to be written of one stream: how it is shown in flight, or, once it is over, its row and its attempts'."""

    shown: tuple[Any, ...] = ()
    stream: tuple[Any, ...] = ()
    attempts: tuple[tuple[Any, ...], ...] = ()


class StoreWriter:
    """Writes rows on a thread of its own: no method blocks the caller (but `close`) or raises, whatever the disk does."""

    def __init__(self, path: Path | str = DEFAULT_PATH) -> None:
        self._batcher = Batcher(_Tables(Path(path).expanduser()), "midstream-store")

    def started(self, record: StreamRecord) -> None:
        """A stream is in flight."""
        self._batcher.put(record.id, _Rows(shown=(*_shown_values(record), _utc(datetime.now(UTC)))))

    def progress(self, record: StreamRecord) -> None:
        """Show how far it is: its first token, its chunks."""
        self.started(record)

    def finished(self, record: StreamRecord, attempts: Sequence[AttemptRecord] = ()) -> None:
        """A stream is over; coming again for the same id, this replaces its row."""
        rows = _Rows(stream=_stream_values(record), attempts=tuple(_attempt_values(attempt) for attempt in attempts))
        self._batcher.put(record.id, rows)

    def close(self, timeout: float = 5.0) -> bool:
        """Write what waits and stop; return whether all was written in this time (seconds)."""
        return self._batcher.close(timeout)


class _Tables:
    """The sink: one database, opened at the first batch, and anew after a failure or once the file was moved away."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: Database | None = None
        self._file: tuple[int, int] = (0, 0)
        pid = os.getpid()
        self._process = (pid, processes.identity(pid), platform.node())

    def write(self, batch: dict[str, _Rows]) -> None:
        try:
            self._write(self._database(), list(batch.values()))
        except BaseException:
            self.close()
            raise

    def merge(self, old: _Rows, new: _Rows) -> _Rows:
        return new if new.stream or not old.stream else old

    def explain(self, error: Exception) -> str:
        return f"cannot write the database {self._path}: {error}. {_advice(error, self._path)}"

    def close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with contextlib.suppress(sqlite3.Error):
                db.conn.close()

    def _database(self) -> Database:
        if self._db is not None and self._file != _file_id(self._path):
            self.close()
        if self._db is None:
            self._db = open_writer(self._path)
            self._file = _file_id(self._path)
            settle_the_dead(self._db)
        return self._db

    def _write(self, db: Database, batch: list[_Rows]) -> None:
        over = [rows for rows in batch if rows.stream]
        shown = [_fit((*rows.shown, *self._process, rows.shown[0])) for rows in batch if rows.shown]
        if not batch:
            return
        with transaction(db):
            db.conn.executemany(_SHOW, shown)
            db.conn.executemany(_insert("streams", STREAM), [_fit(rows.stream) for rows in over])
            db.conn.executemany(_insert("attempts", ATTEMPT), [_fit(a) for rows in over for a in rows.attempts])
            db.conn.executemany("DELETE FROM in_flight WHERE id = ?", [_fit(rows.stream[:1]) for rows in over])


_SHOW = f"""
    INSERT OR REPLACE INTO in_flight (id, {", ".join(SHOWN)}, updated_at, pid, process, host)
    SELECT {", ".join("?" * (len(SHOWN) + 5))} WHERE NOT EXISTS (SELECT 1 FROM streams WHERE id = ?)
"""  # noqa: S608 - names of our own. A late sign of life does not bring back a stream that is over.


def _file_id(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0)
    return (found.st_dev, found.st_ino)


def _alive(row: dict[str, Any], here: str) -> bool:
    if row["host"] == here:
        return processes.is_running(row["pid"], row["process"])
    return str(row["updated_at"]) > _utc(datetime.now(UTC) - FOREIGN_AGE)


def _interrupted(row: dict[str, Any]) -> StreamRecord:
    known = {name: row[name] for name in ("id", *SHOWN)}
    error = "the proxy was killed while this stream was open"
    return StreamRecord(**known, outcome="interrupted", error_type="interrupted", error=error)


def _utc(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _fit(values: Sequence[Any]) -> tuple[Any, ...]:
    """Make values of a stranger's making bindable, so that no row can hold up the others."""
    return tuple(_fit_value(value) for value in values)


def _fit_value(value: Any) -> Any:
    if value is None or isinstance(value, float):
        return value
    if isinstance(value, int):
        return max(-(2**63), min(value, 2**63 - 1))
    return str(value).encode("utf-8", "replace").decode()


def _advice(error: Exception, path: Path) -> str:
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return "Another program holds it locked: end that."
        case sqlite3.SQLITE_FULL:
            return "Make room on the disk, or choose another file with --set midstream_db=PATH."
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return (
                f"It is damaged or no SQLite database: move it away (mv {path} {path}.damaged), and a new one is made."
            )
    return "Check that you may write to it and its folder, or choose another file with --set midstream_db=PATH."
