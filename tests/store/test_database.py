from __future__ import annotations

import os
import platform
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from databases import complaints, finished, hurried_writers, ids, ids_so_far, in_flight_ids, record, until
from midstream import processes
from midstream.observation import AttemptRecord, StreamRecord
from midstream.records import utc
from midstream.store import database as store
from midstream.store import rows
from midstream.store.database import StoreWriter, open_reader, open_writer
from midstream.store.queries import Reader
from midstream.store.schema import migrations

ADDONS = Path(store.__file__).parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "streams.db"


@pytest.fixture
def write(path: Path) -> Iterator[Callable[[], StoreWriter]]:
    with hurried_writers(path) as make:
        yield make


# The schema


def test_the_columns_are_the_records_fields_in_their_order(path: Path) -> None:
    db = open_writer(path)
    assert [c.name for c in db.table("streams").columns] == [f.name for f in fields(StreamRecord)]
    assert [c.name for c in db.table("attempts").columns] == [f.name for f in fields(AttemptRecord)]
    assert db.table("streams").pks == ["id"]
    assert db.table("attempts").pks == ["stream_id", "n"]
    indexed = {index.columns[0] for index in db.table("streams").indexes}
    assert {"started_at", "model_requested", "model_served", "provider"} <= indexed


def test_a_database_of_the_first_migration_is_brought_up_to_date_with_its_rows(
    path: Path, write: Callable[[], StoreWriter]
) -> None:
    path.parent.mkdir()
    old = Database(path)
    migrations.apply(old, stop_before="m002_attempts")
    old.table("streams").insert({"id": "old", "started_at": "2025-01-01T00:00:00.000Z", "outcome": "complete"})
    old.conn.close()
    with open_reader(path) as reader:  # as it is, before anything brings it up to date
        assert reader.stream("old")["outcome"] == "complete"
        assert reader.attempts("old") == []
        assert reader.in_flight() == []
        assert reader.stats()[0]["streams"] == 1
    writer = write()
    writer.finished(finished("new"), [AttemptRecord(stream_id="new", n=1, provider="p", model="m", started_at="")])
    assert writer.close()
    assert ids(path) == ["new", "old"]
    assert len(open_reader(path).attempts("new")) == 1


def test_attempts_of_an_older_midstream_are_read_as_they_are_and_kept(
    path: Path, write: Callable[[], StoreWriter]
) -> None:
    path.parent.mkdir()
    old = Database(path)
    migrations.apply(old, stop_before="m006_what_an_attempt_cost")
    old.table("streams").insert({"id": "old", "started_at": "2025-01-01T00:00:00.000Z"})
    old.table("attempts").insert({"stream_id": "old", "n": 1, "provider": "p", "ended": "truncated"})
    old.conn.close()
    with open_reader(path) as reader:
        [row] = reader.attempts("old")
    assert set(row) == set(rows.ATTEMPT)
    assert (row["ended"], row["cost_usd"], row["next"]) == ("truncated", None, None)
    writer = write()
    new = AttemptRecord(stream_id="new", n=1, provider="p", model="m", started_at="", cost_usd=0.5, next="gives up")
    writer.finished(finished("new"), [new])
    assert writer.close()
    with open_reader(path) as reader:
        assert reader.attempts("old") == [row]
        assert reader.attempts("new") == [{name: getattr(new, name) for name in rows.ATTEMPT}]


def test_a_database_of_a_newer_midstream_is_read_and_written(path: Path, write: Callable[[], StoreWriter]) -> None:
    db = open_writer(path)
    db.execute("ALTER TABLE streams ADD COLUMN mood TEXT")
    db.execute("INSERT INTO _sqlite_migrations (migration_set, name) VALUES ('midstream', 'm999_mood')")
    db.execute("INSERT INTO streams (id, started_at, mood) VALUES ('new', '2027', 'good')")
    db.conn.commit()
    db.conn.close()
    writer = write()
    writer.finished(finished("ours"))
    assert writer.close()
    with open_reader(path) as reader:
        assert reader.stream("new")["mood"] == "good"
        assert reader.stream("ours")["mood"] is None


def test_the_database_is_in_wal_mode(path: Path) -> None:
    db = open_writer(path)
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert db.execute("PRAGMA synchronous").fetchone() == (1,)


def test_two_that_create_the_database_at_once_both_succeed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BUSY_SECONDS", 30)
    start = threading.Barrier(4)
    errors: list[BaseException] = []

    def create() -> None:
        start.wait(10)
        try:
            open_writer(path).conn.close()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert ids(path) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_folder_and_files_are_the_users_alone(path: Path) -> None:
    before = os.umask(0)
    try:
        db = open_writer(path)
        db.table("streams").insert({"id": "s1"})
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
    assert Path(f"{path}-wal").exists()


# Writing


def test_a_finished_stream_has_its_row_and_its_attempts(path: Path, write: Callable[[], StoreWriter]) -> None:
    stream = finished(
        app="curl",
        provider="openai",
        model_requested="gpt-4o",
        ttft_ms=12.5,
        input_tokens=3,
        cost_usd=0.25,
        error="é\n",
    )
    tries = [
        AttemptRecord(
            stream_id="s1", n=n, provider="openai", model="m", started_at="t", http_status=500 + n, ended="failed"
        )
        for n in (1, 2)
    ]
    writer = write()
    writer.started(stream)
    writer.finished(stream, tries)
    assert writer.close()
    with open_reader(path) as reader:
        assert reader.stream("s1") == {name: getattr(stream, name) for name in rows.STREAM}
        assert [row["http_status"] for row in reader.attempts("s1")] == [501, 502]
        assert reader.in_flight() == []


def test_a_row_holds_what_the_record_was_when_it_was_handed_over(path: Path, write: Callable[[], StoreWriter]) -> None:
    stream = finished(chunks=1)
    writer = write()
    writer.finished(stream)
    stream.chunks = 99
    assert writer.close()
    assert open_reader(path).stream("s1")["chunks"] == 1


def test_finishing_again_replaces_the_row(path: Path, write: Callable[[], StoreWriter]) -> None:
    writer = write()
    writer.finished(finished(cost_usd=1.0))
    writer.finished(finished(cost_usd=2.0))
    assert writer.close()
    assert [row["cost_usd"] for row in open_reader(path).streams()] == [2.0]


def test_a_stream_shows_in_flight_until_it_is_over(path: Path, write: Callable[[], StoreWriter]) -> None:
    writer = write()
    writer.started(record("a", provider="openai"))
    until(lambda: ids_so_far(path, Reader.in_flight) == ["a"])
    writer.progress(record("a", provider="openai", ttft_ms=7.0, chunks=3))
    until(lambda: shown(path, "a")["chunks"] == 3)
    assert shown(path, "a")["ttft_ms"] == 7.0
    assert shown(path, "a")["pid"] == os.getpid()
    writer.finished(finished("a"))
    assert writer.close()
    assert open_reader(path).in_flight() == []


def shown(path: Path, id_: str) -> dict[str, Any]:
    with open_reader(path) as reader:
        return next(row for row in reader.in_flight() if row["id"] == id_)


def test_a_forgotten_stream_shows_no_more_and_gets_no_row(path: Path, write: Callable[[], StoreWriter]) -> None:
    writer = write()
    writer.started(record("a"))
    until(lambda: ids_so_far(path, Reader.in_flight) == ["a"])
    writer.forgotten(record("a"))
    writer.started(record("b"))  # both before the next batch: the later word counts
    writer.forgotten(record("b"))
    assert writer.close()
    assert in_flight_ids(path) == []
    assert ids(path) == []


def test_a_late_sign_of_life_does_not_bring_a_stream_back(path: Path, write: Callable[[], StoreWriter]) -> None:
    writer = write()
    writer.finished(finished("a"))
    until(lambda: ids_so_far(path) == ["a"])
    writer.progress(record("a"))
    assert writer.close()
    assert in_flight_ids(path) == []


def test_hostile_values_do_not_hold_up_other_rows(path: Path, write: Callable[[], StoreWriter]) -> None:
    writer = write()
    bad: Any = {"not": "text"}
    writer.finished(finished("a", input_tokens=10**30, output_tokens=-(10**30), model_served="\ud83d", error=bad))
    writer.started(record("b\udc80", model_requested="\udfff"))
    writer.finished(finished("c", ttft_ms=float("nan"), cost_usd=float("inf"), error="\0"))
    assert writer.close()
    with open_reader(path) as reader:
        assert reader.stream("a")["input_tokens"] == 2**53
        assert reader.stream("a")["model_served"] == "?"
        assert reader.stream("c")["ttft_ms"] is None


def test_two_writers_share_a_database(path: Path, write: Callable[[], StoreWriter]) -> None:
    first, second = write(), write()
    for n in range(300):
        (first if n % 2 else second).finished(finished(f"{n:04}"))
    assert first.close()
    assert second.close()
    assert len(ids(path)) == 300


def test_the_default_path_is_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert StoreWriter().close()
    assert ids(tmp_path / ".midstream" / "streams.db") == []
    assert open_reader(store.DEFAULT_PATH).streams() == []


def test_writing_after_the_end_is_counted_and_does_not_raise(
    path: Path, write: Callable[[], StoreWriter], caplog: pytest.LogCaptureFixture
) -> None:
    writer = write()
    assert writer.close()
    writer.started(record("a"))
    writer.finished(finished("a"))
    assert writer._batcher.dropped == 2
    assert len(complaints(caplog)) == 1


# Killed, and started again


KILLED = """
import sys
from midstream.observation import StreamRecord
from midstream.store.database import StoreWriter
writer = StoreWriter(sys.argv[1])
writer.finished(StreamRecord(id="done", started_at="2026-01-31T10:00:00.000Z", outcome="complete"))
writer.started(StreamRecord(id="open", started_at="2026-01-31T10:00:01.000Z", provider="openai", ttft_ms=5.0, chunks=2))
import time
while True:
    time.sleep(1)
"""


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_after_kill_9_open_streams_are_interrupted_at_the_next_start(
    path: Path, write: Callable[[], StoreWriter], caplog: pytest.LogCaptureFixture
) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], env={**os.environ, "PYTHONPATH": str(ADDONS)})
    try:
        until(lambda: ids_so_far(path, Reader.in_flight) == ["open"] and ids_so_far(path) == ["done"])
        assert write().close()
        assert ids(path) == ["done"]  # it lives: its stream is left alone
        assert in_flight_ids(path) == ["open"]
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    with open_reader(path) as reader:
        assert reader.in_flight() == []  # dead streams are not shown as live, even before the next start
    assert write().close()
    with open_reader(path) as reader:
        row = reader.stream("open")
        assert (row["outcome"], row["provider"], row["ttft_ms"], row["chunks"]) == ("interrupted", "openai", 5.0, 2)
        assert reader.stream("done")["outcome"] == "complete"
    assert in_flight_ids(path) == []
    assert "1 streams were open when an earlier run was killed" in caplog.text


def put_in_flight(path: Path, **values: Any) -> None:
    db = open_writer(path)
    own = {"pid": os.getpid(), "process": processes.identity(os.getpid()), "host": platform.node()}
    now = utc(datetime.now(UTC))
    db.table("in_flight").insert({"id": "x", "started_at": now, "updated_at": now, "chunks": 0, **own, **values})
    db.conn.close()


def test_a_number_used_again_by_another_process_is_not_the_dead_one(path: Path) -> None:
    put_in_flight(path, process="another-boot/12345")
    assert store.settle_the_dead(open_writer(path)) == (1 if processes.identity(os.getpid()) else 0)


def test_a_stream_of_our_own_is_alive(path: Path) -> None:
    put_in_flight(path)
    assert store.settle_the_dead(open_writer(path)) == 0
    assert [row["id"] for row in open_reader(path).in_flight()] == ["x"]


@pytest.mark.parametrize(("age", "dead"), [(timedelta(hours=1), 0), (timedelta(days=2), 1)])
def test_another_machines_stream_is_dead_after_a_day_of_silence(path: Path, age: timedelta, dead: int) -> None:
    put_in_flight(path, host="elsewhere", pid=2**22 + 1, updated_at=utc(datetime.now(UTC) - age))
    assert store.settle_the_dead(open_writer(path)) == dead


def test_an_interrupted_stream_does_not_replace_its_real_row(path: Path, write: Callable[[], StoreWriter]) -> None:
    writer = write()
    writer.finished(finished("x"))
    assert writer.close()
    put_in_flight(path, process="another-boot/12345", pid=2**22 + 1)
    store.settle_the_dead(open_writer(path))
    assert open_reader(path).stream("x")["outcome"] == "complete"
    assert in_flight_ids(path) == []


def test_a_second_writer_in_one_process_leaves_the_firsts_locks_alone(tmp_path: Path) -> None:
    """Opening and closing the file oneself drops them (POSIX); then a reader that closes takes the -wal away for good."""
    path = tmp_path / "streams.db"
    first = StoreWriter(path)
    until(lambda: Path(f"{path}-wal").exists())
    second = StoreWriter(path)
    second.started(record("1"))
    until(lambda: _read_elsewhere(path) == ["1"])
    second.finished(record("1"))
    until(lambda: _read_elsewhere(path) == [])
    assert Path(f"{path}-wal").exists()
    first.close()
    second.close()


def _read_elsewhere(path: Path) -> list[str]:
    """The streams in flight, as another process sees them that opens and closes the database."""
    code = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1])"
    code += "; print(*[row[0] for row in c.execute('select id from in_flight')]); c.close()"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    return done.stdout.split()
