"""Buckets of time: every stream in its own, percentiles by nearest rank, and nothing where nothing was."""

from __future__ import annotations

import contextlib
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from databases import finished, hurried_writers
from midstream.records import AttemptRecord, StreamRecord, utc
from midstream.store.database import open_reader
from midstream.watch import history as histories
from midstream.watch.history import SPANS, floor, history, keys

NOW = datetime(2026, 1, 31, 10, 0, 30, tzinfo=UTC)


def ask(path: Path, *rows: StreamRecord, span: str = "1h", attempts: tuple[AttemptRecord, ...] = ()) -> Any:
    with hurried_writers(path) as make:
        writer = make()
        writer.finished(finished("old", started_at="2025-01-01T00:00:00.000Z"))
        for row in rows:
            writer.finished(row, [a for a in attempts if a.stream_id == row.id])
        assert writer.close()
        with open_reader(path) as reader:
            return history(reader, span, NOW)


def at(seconds_ago: float, id_: str = "", **values: Any) -> StreamRecord:
    when = NOW - timedelta(seconds=seconds_ago)
    return finished(id_ or f"s{seconds_ago}", started_at=utc(when), **values)


def filled(answer: Any) -> list[Any]:
    return [bucket for bucket in answer["buckets"] if bucket["streams"]]


@pytest.mark.parametrize("name", SPANS)
def test_buckets_cover_the_span_and_each_key_is_how_its_times_begin(name: str) -> None:
    span = SPANS[name]
    since = floor(NOW, span) - timedelta(seconds=span.seconds - span.step)
    found = list(keys(since, NOW, span))
    assert len(found) == span.seconds // span.step == len(set(found))
    for key, start in found:
        for inside in (0, span.step / 2, span.step - 0.001):
            assert utc(datetime.fromtimestamp(start + inside, UTC)).startswith(key)
    assert utc(NOW).startswith(found[-1][0])


@pytest.mark.parametrize("name", SPANS)
def test_every_stream_of_the_span_is_in_a_bucket(tmp_path: Path, name: str) -> None:
    seconds = SPANS[name].seconds - 2 * SPANS[name].step
    answer = ask(tmp_path / "a.db", *(at(seconds * n / 20, f"s{n}") for n in range(21)), span=name)
    assert sum(bucket["streams"] for bucket in answer["buckets"]) == 21


def test_sums_by_outcome_and_what_was_healed(tmp_path: Path) -> None:
    answer = ask(
        tmp_path / "a.db",
        at(61, "a", input_tokens=10, output_tokens=5, cost_usd=0.5),
        at(62, "b", input_tokens=1, output_tokens=2, cached_tokens=1, cost_usd=0.25, attempts=2),
        at(63, "c", outcome="failed", attempts=3),
        at(64, "d", outcome="truncated"),
    )
    [bucket] = filled(answer)
    assert (bucket["streams"], bucket["complete"], bucket["failed"], bucket["truncated"]) == (4, 2, 1, 1)
    assert bucket["healed"] == 1
    assert (bucket["input_tokens"], bucket["output_tokens"], bucket["cached_tokens"], bucket["cost_usd"]) == (
        11,
        7,
        1,
        0.75,
    )


def test_percentiles_are_values_that_streams_had(tmp_path: Path) -> None:
    rows = [at(61 + n / 100, f"s{n}", ttft_ms=float(n + 1), gap_p50_ms=2.0, gap_p95_ms=9.0) for n in range(100)]
    [bucket] = filled(ask(tmp_path / "a.db", *rows))
    assert bucket["ttft"] == {"p50": 51.0, "p95": 95.0, "p99": 99.0}
    assert (bucket["gap"]["p50"], bucket["gap_tail"]["p95"]) == (2.0, 9.0)
    assert bucket["rate"] is None


def test_a_single_stream_is_its_own_percentiles(tmp_path: Path) -> None:
    [bucket] = filled(ask(tmp_path / "a.db", at(61, ttft_ms=7.0)))
    assert bucket["ttft"] == {"p50": 7.0, "p95": 7.0, "p99": 7.0}


def test_of_many_streams_an_even_sample_is_ranked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(histories, "SAMPLE", 50)
    rows = [at(61 + n / 100, f"s{n:03}", ttft_ms=float(n)) for n in range(200)]
    [bucket] = filled(ask(tmp_path / "a.db", *rows))
    assert bucket["streams"] == 200
    assert bucket["ttft"]["p50"] == pytest.approx(100, abs=10)


def test_a_stream_of_a_clock_ahead_does_no_harm(tmp_path: Path) -> None:
    answer = ask(tmp_path / "a.db", at(-86400, ttft_ms=1.0), at(61))
    assert sum(bucket["streams"] for bucket in answer["buckets"]) == 1


def test_rows_whose_numbers_no_count_can_be_spoil_no_sum(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    tries = tuple(AttemptRecord(stream_id=f"s{n}", n=1, provider="p", model="m", started_at=utc(NOW)) for n in range(3))
    ask(path, *(at(5, f"s{n}", output_tokens=n) for n in range(3)), attempts=tries)
    with contextlib.closing(sqlite3.connect(path)) as conn, conn:
        for table, key in (("streams", "id"), ("attempts", "stream_id")):
            conn.execute(f"UPDATE {table} SET output_tokens = 7, {key} = 'f' || {key}")
            conn.execute(f"UPDATE {table} SET output_tokens = ? WHERE {key} <> 'fs0'", (2**63 - 1,))
    with open_reader(path) as reader:
        answer = history(reader, "1h", NOW)
    assert [bucket["output_tokens"] for bucket in filled(answer)] == [7]
    assert [target["output_tokens"] for target in answer["targets"]] == [7]


def test_targets_are_those_of_the_attempts(tmp_path: Path) -> None:
    when, id_ = utc(NOW - timedelta(seconds=100)), f"{int((NOW.timestamp() - 100) * 1000):011x}aa"
    tried = (
        AttemptRecord(stream_id=id_, n=1, provider="openai", model="gpt-4o", started_at=when, ended="server_error"),
        AttemptRecord(stream_id=id_, n=2, provider="backup", model="m", started_at=when, ended="complete", ttft_ms=5.0),
    )
    answer = ask(tmp_path / "a.db", finished(id_, started_at=when), attempts=tried)
    seen = {row["provider"]: (row["attempts"], row["failed"], row["ttft_ms"]) for row in answer["targets"]}
    assert seen == {"openai": (1, 1, None), "backup": (1, 0, 5.0)}


def test_models_are_those_of_the_span(tmp_path: Path) -> None:
    answer = ask(tmp_path / "a.db", at(61, model_requested="gpt-4o"))
    assert [row["model"] for row in answer["models"]] == ["gpt-4o"]
