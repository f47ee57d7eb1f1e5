"""A database that cannot be written: logged once, kept in bounded memory, and made good when it can."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlite_utils import Database

from databases import complaints, finished, hurried_writers, ids, ids_so_far, until
from midstream.store import batching
from midstream.store import database as store
from midstream.store.database import StoreWriter, open_reader, open_writer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "streams.db"


@pytest.fixture
def write(path: Path) -> Iterator[Callable[[], StoreWriter]]:
    with hurried_writers(path) as make:
        yield make


def locked(path: Path) -> sqlite3.Connection:
    conn = sqlite3.connect(path, isolation_level=None)
    conn.execute("BEGIN EXCLUSIVE")
    return conn


def test_a_locked_database_is_logged_once_and_written_when_the_lock_goes(
    path: Path, write: Callable[[], StoreWriter], caplog: pytest.LogCaptureFixture
) -> None:
    open_writer(path).conn.close()
    lock = locked(path)
    writer = write()
    for n in range(20):
        writer.finished(finished(f"{n:02}"))
    until(lambda: writer._batcher._failures >= 3)
    assert len(complaints(caplog)) == 1
    assert "locked" in complaints(caplog)[0]
    assert str(path) in complaints(caplog)[0]
    lock.execute("ROLLBACK")
    until(lambda: len(ids(path)) == 20)
    assert writer.close()
    assert "rows are written again" in caplog.text


def test_a_second_outage_is_logged_again(
    path: Path, write: Callable[[], StoreWriter], caplog: pytest.LogCaptureFixture
) -> None:
    writer = write()
    for n in range(2):
        writer.finished(finished(f"before {n}"))
        until(lambda: f"before {n}" in (ids_so_far(path) or []))  # noqa: B023 - called at once
        lock = locked(path)
        writer.finished(finished(f"during {n}"))
        until(lambda: writer._batcher._failures >= 2)
        lock.execute("ROLLBACK")
    assert writer.close()
    assert ids(path) == ["before 0", "before 1", "during 0", "during 1"]
    assert len(complaints(caplog)) == 2


def test_close_waits_for_a_lock_to_go(path: Path, write: Callable[[], StoreWriter]) -> None:
    open_writer(path).conn.close()
    lock = locked(path)
    writer = write()
    writer.finished(finished("a"))
    until(lambda: writer._batcher._failures >= 1)
    with ThreadPoolExecutor(1) as pool:
        closed = pool.submit(writer.close, 60)
        until(lambda: writer._batcher._deadline is not None)
        lock.execute("ROLLBACK")
        assert closed.result(60)
    assert ids(path) == ["a"]


def test_close_gives_up_in_time_and_says_so(
    path: Path, write: Callable[[], StoreWriter], caplog: pytest.LogCaptureFixture
) -> None:
    open_writer(path).conn.close()
    lock = locked(path)
    writer = write()
    writer.finished(finished("a"))
    assert not writer.close(0.05)
    assert "at least 1 are lost" in caplog.text
    lock.execute("ROLLBACK")


def test_a_full_disk_is_logged_once_and_written_when_there_is_room(
    path: Path, write: Callable[[], StoreWriter], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_writer(path).conn.close()
    real = store.open_writer

    def on_a_full_disk(at: Path) -> Database:
        db = real(at)
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {pages}")  # SQLITE_FULL, as from a full disk
        return db

    monkeypatch.setattr(store, "open_writer", on_a_full_disk)
    writer = write()
    for n in range(200):
        writer.finished(finished(f"{n:03}", error="x" * 300))
    until(lambda: writer._batcher._failures >= 2)
    assert len(complaints(caplog)) == 1
    assert "full" in complaints(caplog)[0]
    assert "Make room" in complaints(caplog)[0]
    monkeypatch.setattr(store, "open_writer", real)
    assert writer.close(30)
    assert len(ids(path)) == 200


def test_a_file_that_is_no_database_is_left_alone_until_it_is_moved_away(
    path: Path, write: Callable[[], StoreWriter], caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    path.write_bytes(b"these are my notes, not a database" * 100)
    writer = write()
    writer.finished(finished("a"))
    until(lambda: writer._batcher._failures >= 2)
    assert len(complaints(caplog)) == 1
    assert f"mv {path} {path}.damaged" in complaints(caplog)[0]
    assert path.read_bytes().startswith(b"these are my notes")
    with pytest.raises(ValueError, match="cannot be read as a database of midstream"):
        open_reader(path)
    path.rename(f"{path}.damaged")
    until(lambda: ids_so_far(path) == ["a"])


def test_a_folder_that_cannot_be_made_is_logged_once(
    path: Path, write: Callable[[], StoreWriter], caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.write_text("a file where the folder should be")
    writer = write()
    writer.finished(finished("a"))
    until(lambda: writer._batcher._failures >= 2)
    assert len(complaints(caplog)) == 1
    assert "midstream_db" in complaints(caplog)[0]


def test_a_read_only_folder_is_logged_once_and_can_be_read(
    path: Path, write: Callable[[], StoreWriter], caplog: pytest.LogCaptureFixture
) -> None:
    writer = write()
    writer.finished(finished("a"))
    assert writer.close()
    path.chmod(0o400)
    path.parent.chmod(0o500)
    try:
        if os.access(path.parent, os.W_OK):
            pytest.skip("root may write anywhere")
        assert ids(path) == ["a"]
        writer = write()
        until(lambda: writer._batcher._failures >= 2)
        assert len(complaints(caplog)) == 1
    finally:
        path.parent.chmod(0o700)
        path.chmod(0o600)


def test_a_database_moved_away_meanwhile_is_made_anew(path: Path, write: Callable[[], StoreWriter]) -> None:
    writer = write()
    writer.finished(finished("a"))
    until(lambda: ids_so_far(path) == ["a"])
    for file in list(path.parent.iterdir()):
        file.unlink()
    writer.finished(finished("b"))
    assert writer.close()
    assert ids(path) == ["b"]


def test_while_nothing_can_be_written_memory_is_bounded_and_the_oldest_go(
    path: Path, write: Callable[[], StoreWriter], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "QUEUE_LIMIT", 50)
    monkeypatch.setattr(batching, "BATCH_ITEMS", 20)
    open_writer(path).conn.close()
    lock = locked(path)
    writer = write()
    for n in range(500):
        writer.finished(finished(f"{n:03}"))
        assert len(writer._batcher._waiting) <= 50
    until(lambda: writer._batcher._failures >= 3)
    assert len([text for text in complaints(caplog) if "the oldest are dropped" in text]) == 1
    lock.execute("ROLLBACK")
    assert writer.close(30)
    kept = ids(path)
    assert kept[-1] == "499"
    assert len(kept) <= 50 + 20  # a batch may have been on its way
    assert "were lost" in caplog.text
