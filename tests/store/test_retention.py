"""Old rows are summed up by hour, provider and model, and go; nothing that they added up to is lost."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from midstream.observation import AttemptRecord, StreamRecord
from midstream.records import utc
from midstream.store import retention, rows
from midstream.store.chores import Chores
from midstream.store.database import open_reader, open_writer
from midstream.store.queries import Filter
from midstream.store.transactions import transaction

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
KEPT = utc(NOON)
SUMS = ("streams", "complete", "failed", "truncated", "input_tokens", "output_tokens", "cached_tokens", "priced")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "streams.db"


@pytest.fixture
def conn(path: Path) -> Iterator[sqlite3.Connection]:
    connection = open_writer(path).conn
    yield connection
    connection.close()


def put(
    conn: sqlite3.Connection, id_: str, at: datetime, tries: list[AttemptRecord] | None = None, **more: Any
) -> None:
    usual: dict[str, Any] = {"provider": "openai", "model_served": "gpt", "outcome": "complete"}
    record = StreamRecord(id=id_, started_at=utc(at), **(usual | more))
    conn.execute(rows.INSERT_STREAM, rows.stream_values(record))
    conn.executemany(rows.INSERT_ATTEMPT, [rows.attempt_values(attempt) for attempt in tries or []])
    conn.commit()


def attempt(id_: str, n: int, ended: str, cost: float | None) -> AttemptRecord:
    return AttemptRecord(stream_id=id_, n=n, provider="openai", model="gpt", started_at="", ended=ended, cost_usd=cost)


def roll_up(conn: sqlite3.Connection, before: str = KEPT) -> int:
    """Step by step until nothing is left; return how many steps it took."""
    for number in range(1, 1000):
        with transaction(conn):
            if not retention.step(conn, before).more:
                return number
    raise AssertionError("it never ends")


def hours(conn: sqlite3.Connection) -> list[dict[str, Any]]:
    cursor = conn.execute("SELECT * FROM hours ORDER BY hour, provider, model")
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def test_rows_before_the_whole_hour_go_and_the_others_stay(conn: sqlite3.Connection) -> None:
    put(conn, "old", NOON - timedelta(milliseconds=1), [attempt("old", 1, "complete", None)])
    put(conn, "new", NOON, [attempt("new", 1, "complete", None)])
    roll_up(conn)
    assert conn.execute("SELECT id FROM streams").fetchall() == [("new",)]
    assert conn.execute("SELECT stream_id FROM attempts").fetchall() == [("new",)]
    assert [(row["hour"], row["streams"]) for row in hours(conn)] == [("2026-01-31T11", 1)]


@pytest.mark.parametrize(("days", "expected"), [(1, "2026-01-30T12"), (0.5, "2026-01-31T00"), (365, "2025-01-31T12")])
def test_what_is_old_is_told_by_whole_hours(days: float, expected: str) -> None:
    assert retention.cutoff(days, NOON + timedelta(minutes=59)) == f"{expected}:00:00.000Z"


def test_an_hour_keeps_sums_ranges_and_exact_percentiles(conn: sqlite3.Connection) -> None:
    for n in range(101):
        at = NOON - timedelta(minutes=30)
        put(
            conn, f"{n:03}", at, ttft_ms=float(n), cost_usd=0.5 if n < 10 else None, output_tokens=2, outcome="complete"
        )
    put(conn, "bad", NOON - timedelta(minutes=1), outcome="failed", ttft_ms=None)
    roll_up(conn)
    [row] = hours(conn)
    assert (row["streams"], row["complete"], row["failed"], row["priced"]) == (102, 101, 1, 10)
    assert (row["cost_usd"], row["output_tokens"], row["input_tokens"]) == (5.0, 202, None)
    assert [row[f"ttft_ms_{kind}"] for kind in retention.KINDS] == [101, 5050.0, 0.0, 100.0, 50.0, 95.0, 99.0]
    assert row["duration_ms_count"] == 0


def test_numbers_that_no_count_can_be_are_in_no_hour_and_an_hour_that_has_them_spoils_no_sum(
    conn: sqlite3.Connection, path: Path
) -> None:
    for n, number in enumerate([5, 2**63 - 1, 2**63 - 1, -7]):
        put(conn, f"{n}", NOON - timedelta(minutes=1), input_tokens=number)
    roll_up(conn)
    [row] = hours(conn)
    assert (row["streams"], row["input_tokens"]) == (4, 5)
    conn.execute("UPDATE hours SET output_tokens = ?", (2**63 - 1,))
    conn.execute(
        "INSERT INTO hours (hour, provider, model, streams, output_tokens) VALUES ('2026-01-31T09', 'openai', 'gpt', 1, 9)"
    )
    conn.execute(
        "INSERT INTO hours (hour, provider, model, output_tokens) VALUES ('2026-01-31T08', 'openai', 'gpt', ?)",
        (2**63 - 1,),
    )
    conn.commit()
    with open_reader(path) as reader:
        [stats] = reader.stats()
    assert (stats["input_tokens"], stats["output_tokens"]) == (5, 9)


def test_hours_providers_and_models_stand_apart(conn: sqlite3.Connection) -> None:
    put(conn, "1", NOON - timedelta(hours=1))
    put(conn, "2", NOON - timedelta(hours=2))
    put(conn, "3", NOON - timedelta(hours=2), provider="groq")
    put(conn, "4", NOON - timedelta(hours=2), model_served="", model_requested="asked")
    roll_up(conn)
    found = [(row["hour"][-2:], row["provider"], row["model"]) for row in hours(conn)]
    assert found == [("10", "groq", "gpt"), ("10", "openai", "asked"), ("10", "openai", "gpt"), ("11", "openai", "gpt")]


def test_what_failed_attempts_cost_is_kept_also_of_streams_that_were_healed(conn: sqlite3.Connection) -> None:
    tries = [attempt("a", 1, "timeout", None), attempt("a", 2, "truncated", 0.25), attempt("a", 3, "complete", 1.0)]
    put(conn, "a", NOON - timedelta(hours=1), tries, attempts=3, breaks=1, cost_usd=1.25)
    roll_up(conn)
    [row] = hours(conn)
    assert (row["healed"], row["failed_attempts"], row["failed_attempts_cost_usd"]) == (1, 2, 0.25)
    assert (row["attempts"], row["breaks"], row["cost_usd"]) == (3, 1, 1.25)


def test_what_comes_late_into_an_hour_is_added_to_it(conn: sqlite3.Connection) -> None:
    at = NOON - timedelta(hours=1)
    put(conn, "1", at, ttft_ms=100.0, output_tokens=5)
    roll_up(conn)
    put(conn, "2", at, ttft_ms=300.0)
    put(conn, "3", at, ttft_ms=300.0, cost_usd=0.5)
    roll_up(conn)
    [row] = hours(conn)
    assert (row["streams"], row["output_tokens"], row["cost_usd"], row["priced"]) == (3, 5, 0.5, 1)
    assert (row["ttft_ms_count"], row["ttft_ms_sum"], row["ttft_ms_min"], row["ttft_ms_max"]) == (
        3,
        700.0,
        100.0,
        300.0,
    )
    assert row["ttft_ms_p50"] == pytest.approx((100 + 2 * 300) / 3)


def test_it_goes_in_small_steps_an_hour_at_least(conn: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "STEP_ROWS", 10)
    for n in range(25):
        put(conn, f"{n:03}", NOON - timedelta(hours=3) + timedelta(minutes=6 * n if n < 13 else 78), ttft_ms=float(n))
    assert roll_up(conn) == 3
    assert [(row["hour"][-2:], row["streams"]) for row in hours(conn)] == [("09", 10), ("10", 15)]


def test_a_step_is_all_or_nothing(conn: sqlite3.Connection) -> None:
    put(conn, "1", NOON - timedelta(hours=1))
    with contextlib.suppress(ZeroDivisionError), transaction(conn):
        retention.step(conn, KEPT)
        raise ZeroDivisionError
    assert (len(hours(conn)), conn.execute("SELECT count(*) FROM streams").fetchone()) == (0, (1,))


@pytest.mark.parametrize("by", ["model", "provider", "hour"])
def test_stats_still_count_them(conn: sqlite3.Connection, path: Path, by: Any) -> None:
    chance = random.Random(1)
    for n in range(300):
        values: dict[str, Any] = {
            "provider": chance.choice(("openai", "groq")),
            "model_served": chance.choice(("a", "b", "")),
            "model_requested": "asked",
            "outcome": chance.choice(("complete", "failed", "truncated")),
            "input_tokens": chance.choice((None, 10)),
            "output_tokens": 3,
            "cost_usd": chance.choice((None, 0.25)),
        }
        put(conn, f"{n:03}", NOON + timedelta(minutes=chance.randrange(-600, 600)), **values)

    def sums(which: Filter) -> list[tuple[Any, ...]]:
        with open_reader(path) as reader:
            return sorted((row[by], row["cost_usd"], *(row[name] for name in SUMS)) for row in reader.stats(by, which))

    every, of_groq = sums(Filter()), sums(Filter(provider="groq", since=utc(NOON - timedelta(hours=3))))
    roll_up(conn)
    assert sums(Filter()) == every
    assert sums(Filter(provider="groq", since=utc(NOON - timedelta(hours=3)))) == of_groq
    with open_reader(path) as reader:
        assert sum(row["rolled_up"] for row in reader.stats(by)) == 300 - len(reader.streams(limit=1000))


def test_what_an_hour_cannot_tell_is_not_made_up(conn: sqlite3.Connection, path: Path) -> None:
    put(conn, "1", NOON - timedelta(hours=1), app="curl")
    roll_up(conn)
    with open_reader(path) as reader:
        assert reader.stats("app") == []
        assert reader.stats("model", Filter(app="curl")) == []


def test_the_schedule_pauses_between_steps_and_comes_back_every_hour() -> None:
    schedule = retention.Schedule(lambda: 1)
    assert schedule.wait(100.0) == 0
    assert schedule.stepped(retention.Step(10, more=True), 100.0) == 0
    assert schedule.wait(100.0) == pytest.approx(schedule.PAUSE)
    assert schedule.stepped(retention.Step(5, more=False), 101.0) == 15
    assert schedule.wait(101.0) == schedule.EVERY
    schedule.failed(101.0)
    assert schedule.wait(101.0) == schedule.AGAIN


def test_zero_days_keep_every_row() -> None:
    assert retention.Schedule(lambda: 0).before(NOON) is None
    assert retention.Schedule(lambda: 2).before(NOON) == "2026-01-29T12:00:00.000Z"


def test_chores_sum_up_what_is_old_and_say_so_once(conn: sqlite3.Connection, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    put(conn, "old", NOON - timedelta(days=9000))
    put(conn, "new", datetime.now(UTC))
    chores = Chores()
    chores.schedule = retention.Schedule(lambda: 30)
    assert chores.run(conn) > 1
    chores.run(conn)
    assert conn.execute("SELECT id FROM streams").fetchall() == [("new",)]
    [told] = caplog.records
    assert told.getMessage().startswith("1 streams begun before ")


def test_a_database_that_fails_is_told_once_and_tried_again(
    conn: sqlite3.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    conn.execute("DROP TABLE hours")
    put(conn, "old", NOON - timedelta(days=9000))
    chores = Chores()
    chores.schedule = retention.Schedule(lambda: 30)
    for _ in range(3):
        assert chores.run(conn) > 0
        chores.schedule = retention.Schedule(lambda: 30)
    assert len(caplog.records) == 1
    assert "no such table: hours" in caplog.text
    assert conn.execute("SELECT id FROM streams").fetchall() == [("old",)]
