"""`midstream vacuum`: old rows become hours, and the file becomes small, also beside a proxy that writes."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from midstream.cli import main
from midstream.observation import StreamRecord
from midstream.records import utc
from midstream.store import rows
from midstream.store.database import StoreWriter, open_writer

NOW = datetime.now(UTC)


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """300 streams of two years ago, 3 of 40 days ago, 2 of today."""
    path = tmp_path / "streams.db"
    database = open_writer(path)
    ages = [700.0 + n / 100 for n in range(300)] + [40.0] * 3 + [0.0] * 2
    some = [
        StreamRecord(
            id=f"{n:04}",
            started_at=utc(NOW - timedelta(days=age)),
            provider="openai",
            model_served="gpt",
            outcome="complete",
            error="x" * 200,
        )
        for n, age in enumerate(ages)
    ]
    database.conn.executemany(rows.INSERT_STREAM, [rows.stream_values(row) for row in some])
    database.conn.commit()
    database.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.conn.close()
    return path


def midstream(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="midstream")


def streams(db: Path) -> tuple[int, int]:
    """As `stats` counts them, and those that have rows."""
    found: list[dict[str, Any]] = json.loads(midstream("stats", "--json", "--db", db).stdout)
    with sqlite3.connect(db) as conn:
        return sum(row["streams"] for row in found), conn.execute("SELECT count(*) FROM streams").fetchone()[0]


def test_what_is_older_than_a_year_is_summed_up_and_the_file_shrinks(db: Path) -> None:
    before = db.stat().st_size
    result = midstream("vacuum", "--db", db)
    assert result.exit_code == 0, result.output
    assert "300 of 305 streams" in result.stdout
    assert streams(db) == (305, 5)
    assert db.stat().st_size < before
    assert "known by the hour only" in midstream("stats", "--db", db).stdout


def test_how_many_days_comes_from_the_option_or_the_configuration(db: Path, tmp_path: Path) -> None:
    (tmp_path / "midstream.toml").write_text("[retention]\nkeep_days = 30\n")
    assert "303 of 305 streams" in midstream("vacuum", "--config", tmp_path / "midstream.toml", "--db", db).stdout
    assert "2 of 2" not in midstream("vacuum", "--keep-days", 1, "--db", db).stdout
    assert streams(db) == (305, 2)


def test_where_every_row_is_kept_it_only_compacts(db: Path, tmp_path: Path) -> None:
    (tmp_path / "midstream.toml").write_text("[retention]\nkeep_days = 0\n")
    result = midstream("vacuum", "--config", tmp_path / "midstream.toml", "--db", db)
    assert result.exit_code == 0
    assert "→" in result.stdout
    assert streams(db) == (305, 305)


def test_a_dry_run_does_nothing_and_tells_what_it_would(db: Path) -> None:
    content = db.read_bytes()
    result = midstream("vacuum", "--dry-run", "--db", db)
    assert result.exit_code == 0
    assert "300 of 305 streams" in result.stdout
    assert db.read_bytes() == content


def test_beside_a_writer_nothing_is_lost(db: Path) -> None:
    writer = StoreWriter(db)
    for n in range(50):
        writer.finished(StreamRecord(id=f"n{n}", started_at=utc(NOW), outcome="complete"))
    assert midstream("vacuum", "--db", db).exit_code == 0
    assert writer.close()
    assert streams(db) == (355, 55)


def test_a_configuration_that_is_none_is_a_message(db: Path, tmp_path: Path) -> None:
    (tmp_path / "midstream.toml").write_text("[retention]\nkeep_days = -1\n")
    result = midstream("vacuum", "--config", tmp_path / "midstream.toml", "--db", db)
    assert result.exit_code == 2
    assert "keep_days" in result.stderr
    assert streams(db) == (305, 305)


def test_a_database_that_others_hold_is_a_message(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("midstream.cli.vacuum.PATIENCE", 0)
    lock = sqlite3.connect(db, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    result = midstream("vacuum", "--db", db)
    lock.close()
    assert result.exit_code == 2
    assert "could not be vacuumed: database is locked" in result.stderr
