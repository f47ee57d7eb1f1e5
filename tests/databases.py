"""What the tests of the store share: records, a writer that is in a hurry, and waiting for its thread."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from midstream.observation import StreamRecord
from midstream.store import batching
from midstream.store import database as store
from midstream.store.database import StoreWriter, open_reader
from midstream.store.queries import Reader, Row


def record(id_: str = "s1", **values: Any) -> StreamRecord:
    return StreamRecord(id=id_, **{"started_at": "2026-01-31T10:00:00.000Z", **values})


def finished(id_: str = "s1", **values: Any) -> StreamRecord:
    return record(id_, **{"outcome": "complete", **values})


@contextmanager
def hurried_writers(path: Path) -> Iterator[Callable[[], StoreWriter]]:
    """Make writers that do not pause, and stop them at the end whatever the test did to their database."""
    made: list[StoreWriter] = []

    def make() -> StoreWriter:
        made.append(StoreWriter(path))
        return made[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batching, "BATCH_SECONDS", 0.001)
        patch.setattr(batching, "BACKOFF_SECONDS", (0.001, 0.01))
        patch.setattr(store, "BUSY_SECONDS", 0.01)
        yield make
        for writer in made:
            writer.close(0.1)


def until(condition: Callable[[], bool]) -> None:
    """Wait for another thread's doing; fail after a time that only a hang takes."""
    pause = threading.Event()
    for _ in range(2000):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("this never came true")


def ids(path: Path) -> list[str]:
    with open_reader(path) as reader:
        return sorted(row["id"] for row in reader.streams(limit=10**6))


def ids_so_far(path: Path, table: Callable[[Reader], list[Row]] = Reader.streams) -> list[str] | None:
    """The same while a writer may only be about to make the database: None."""
    try:
        with open_reader(path) as reader:
            return sorted(row["id"] for row in table(reader))
    except (FileNotFoundError, ValueError):
        return None


def in_flight_ids(path: Path) -> list[str]:
    with sqlite3.connect(path) as conn:
        return [id_ for (id_,) in conn.execute("SELECT id FROM in_flight ORDER BY id")]


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [entry.getMessage() for entry in caplog.records if entry.levelno >= logging.ERROR]
