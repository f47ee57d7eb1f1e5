"""The only file that opens SQLite: how a database is opened, then the one that writes.

Its tables stand in `schema.py`, what is asked of them in `queries.py`.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import platform
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from midstream import processes
from midstream.records import AttemptRecord, StreamRecord, utc
from midstream.store import retention, rows, sqlite_errors
from midstream.store.batching import Batcher
from midstream.store.chores import Chores
from midstream.store.queries import Reader
from midstream.store.transactions import transaction

if TYPE_CHECKING:
    from sqlite_utils import Database

    from midstream.observation import Observation

DEFAULT_PATH = Path("~/.midstream/streams.db")

BUSY_SECONDS = 1.0
"""How long SQLite waits for another writer before it says so, and we try again."""

FOREIGN_AGE = timedelta(days=1)
"""A stream in flight on another machine (a container's hostname changes) counts as dead after this long without a sign."""

log = logging.getLogger(__name__)


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
            f"{file} cannot be read as a database of midstream: {error}. {sqlite_errors.advice(error, file)}"
        ) from error


@contextmanager
def asking(path: Path, seconds: float = math.inf) -> Iterator[Reader]:
    """A reader for the time of the block. Raises FileNotFoundError, ValueError for whatever cannot be read, and TimeoutError
    once it has taken longer than so many seconds."""
    with open_reader(path) as reader:
        reader.stop_after(seconds)
        try:
            yield reader
        except sqlite3.Error as error:
            if sqlite_errors.code(error) == sqlite3.SQLITE_INTERRUPT:
                raise TimeoutError(f"no answer within {seconds:g} s") from error
            raise ValueError(f"{path}: {error}. {sqlite_errors.advice(error, path)}") from error


def _connect_to_read(file: Path) -> sqlite3.Connection:
    """A database in WAL mode wants its -shm file, which cannot be made in a read-only folder: there, if no writer left a
    -wal behind, the file alone is the whole truth."""
    try:
        return _connect(file, "mode=ro")
    except sqlite3.OperationalError as error:
        if (
            error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
            or Path(f"{file}-wal").exists()
        ):
            raise
        return _connect(file, "immutable=1")


def _connect(file: Path, mode: str) -> sqlite3.Connection:
    uri = f"file:{quote(str(file.absolute()))}?{mode}"
    conn = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, check_same_thread=False)
    try:
        conn.execute("SELECT id FROM streams LIMIT 1").fetchall()
    except BaseException:
        conn.close()
        raise
    return conn


def delete(path: Path, id_: str) -> None:
    """Delete a stream that is over, whoever writes the database at this moment. Raises sqlite3.Error."""
    with contextlib.closing(_connect(path, "mode=rw")) as conn, transaction(conn):
        conn.execute("DELETE FROM attempts WHERE stream_id = ?", (id_,))
        conn.execute("DELETE FROM streams WHERE id = ?", (id_,))


def open_writer(path: Path) -> Database:
    """Open, creating it if need be for this user alone, and bring its tables up to date. Raises OSError, sqlite3.Error."""
    from sqlite_utils import Database  # only who writes needs it: a tenth of a second of every `midstream stats`

    from midstream.store.schema import migrations

    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        # -wal and -shm take their permissions from it. Never open a database that is there but through SQLite: closing it
        # drops the locks that this process's other writer holds, and the next reader deletes the -wal under it
        # (sqlite.org/howtocorrupt.html, 2.2).
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    conn = sqlite3.connect(path, timeout=BUSY_SECONDS, check_same_thread=False)
    try:
        _switch_to_wal(conn)
        conn.execute("PRAGMA synchronous = NORMAL")
        db = Database(conn)
        if migrations.pending(db):
            with transaction(db.conn):  # which another process may be doing at this moment
                migrations.apply(db)
    except BaseException:
        conn.close()
        raise
    return db


def _switch_to_wal(conn: sqlite3.Connection) -> None:
    """SQLite does not wait for a lock here, whatever the timeout: two processes that make the database at once both try."""
    for pause in (0.02, 0.05, 0.1, 0.2, 0.4, 0.8):
        try:
            conn.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if sqlite_errors.code(error) not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise
            time.sleep(pause)
        else:
            return
    conn.execute("PRAGMA journal_mode = WAL")


def settle_the_dead(db: Database) -> int:
    """Make a row, outcome `interrupted`, of each stream in flight whose process is gone; return how many."""
    here = platform.node()
    with transaction(db.conn):
        found = [dict(row) for row in db["in_flight"].rows]
        dead = [row for row in found if not _alive(row, here)]
        db.conn.executemany(rows.INSERT_NEW_STREAM, [rows.interrupted(row) for row in dead])
        db.conn.executemany("DELETE FROM in_flight WHERE id = ?", [(row["id"],) for row in dead])
    return len(dead)


class StoreWriter:
    """Writes rows on a thread of its own: no method blocks the caller (but `close`) or raises, whatever the disk does."""

    def __init__(self, path: Path | str = DEFAULT_PATH) -> None:
        self._tables = _Tables(Path(path).expanduser())
        self._batcher = Batcher(self._tables, "midstream-store", self._tables.idle)

    def follow(self, live: Callable[[], Iterable[Observation]]) -> None:
        """Show every second how far these streams are; called on the store's thread."""
        self._tables.chores.live = live

    def retain(self, keep_days: Callable[[], float]) -> None:
        """Sum up and delete the rows that are older, at the start and every hour; 0 keeps them. Called on the store's thread."""
        chores = self._tables.chores
        if chores.schedule is None:
            chores.schedule = retention.Schedule(keep_days)
        else:  # two addons share this writer; the schedule may be at work
            chores.schedule.keep_days = keep_days

    def started(self, record: StreamRecord) -> None:
        """A stream is in flight."""
        self._batcher.put(record.id, rows.in_flight(record, datetime.now(UTC)))

    def progress(self, record: StreamRecord) -> None:
        """Show how far it is: its first token, its chunks."""
        self.started(record)

    def forgotten(self, record: StreamRecord) -> None:
        """A stream that was started turned out to be somebody else's to measure: it shows no more, and gets no row."""
        self._batcher.put(record.id, rows.forgotten(record))

    def finished(self, record: StreamRecord, attempts: Sequence[AttemptRecord] = ()) -> None:
        """A stream is over; coming again for the same id, this replaces its row."""
        self._batcher.put(record.id, rows.ended(record, attempts))

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
        self._process = (pid, processes.identity(pid) or "", platform.node())
        self.chores = Chores()

    def write(self, batch: dict[str, rows.Rows]) -> None:
        try:
            self._write(self._database(), list(batch.values()))
        except BaseException:
            self.close()
            raise

    def idle(self) -> float | None:
        """Between batches; returns in how many seconds there is something to do again."""
        return None if self._db is None else self.chores.run(self._db.conn)

    def merge(self, old: rows.Rows, new: rows.Rows) -> rows.Rows:
        return old if old.over and not new.over else new

    def explain(self, error: Exception) -> str:
        return f"cannot write the database {self._path}: {error}. {sqlite_errors.advice(error, self._path)}"

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
            dead = settle_the_dead(self._db)
            if dead:
                log.warning("%d streams were open when an earlier run was killed: their outcome is 'interrupted'", dead)
        return self._db

    def _write(self, db: Database, batch: list[rows.Rows]) -> None:
        if not batch:
            return
        shown = [rows.fit((*stream.shown, *self._process, stream.id)) for stream in batch if stream.shown]
        over = [rows.fit(stream.stream) for stream in batch if stream.stream]
        gone = [rows.fit((stream.id,)) for stream in batch if stream.over]
        attempts = [rows.fit(attempt) for stream in batch for attempt in stream.attempts]
        with transaction(db.conn):
            db.conn.executemany(rows.SHOW_IN_FLIGHT, shown)
            db.conn.executemany(rows.INSERT_STREAM, over)
            db.conn.executemany(rows.INSERT_ATTEMPT, attempts)
            db.conn.executemany("DELETE FROM in_flight WHERE id = ?", gone)


def _file_id(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0)
    return (found.st_dev, found.st_ino)


def _alive(row: dict[str, Any], here: str) -> bool:
    if row["host"] == here:
        return processes.is_running(row["pid"], row["process"])
    return (row["updated_at"] or "") > utc(datetime.now(UTC) - FOREIGN_AGE)
