"""What mitmproxy's commands answer: tables of text, or in one line what is wrong."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

from databases import finished
from midstream.records import utc
from midstream.store import queries, rows
from midstream.store.database import open_writer
from midstream.watch import tables


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """Three streams of today, one of them failed."""
    path, now = tmp_path / "streams.db", utc(datetime.now(UTC))
    known = {"started_at": now, "provider": "openai", "model_requested": "gpt-4o", "ttft_ms": 120.0}
    some = [finished(f"s{n}", **known, outcome="complete" if n else "failed", output_tokens=1000) for n in range(3)]
    database = open_writer(path)
    database.conn.executemany(rows.INSERT_STREAM, [rows.stream_values(row) for row in some])
    database.conn.commit()
    database.conn.close()
    return path


def test_stats_are_a_line_a_group_under_the_names_of_the_columns(db: Path) -> None:
    head, line = tables.stats(db, "model", 1)
    told = dict(zip(head, line, strict=True))
    assert (told["model"], told["streams"], told["errors"], told["out"]) == ("gpt-4o", "3", "1", "3,000")
    assert told["first token p50"] == "120 ms"


def test_without_a_database_there_are_no_streams(tmp_path: Path) -> None:
    assert len(tables.stats(tmp_path / "none.db", "model", 1)) == 1


def test_a_command_does_not_hold_up_the_streams_for_a_large_database(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "PATIENCE", -1.0)
    monkeypatch.setattr(queries, "LOOK", 1)
    with pytest.raises(ValueError, match="ask for fewer hours, or `midstream stats`"):
        tables.stats(db, "model", 1)


def test_what_the_database_cannot_answer_is_told_with_its_path(db: Path) -> None:
    with sqlite3.connect(db) as conn:
        conn.execute("ALTER TABLE streams RENAME COLUMN cost_usd TO cost")
    with pytest.raises(ValueError, match=rf"{db}: no such column: cost_usd"):
        tables.stats(db, "model", 1)
