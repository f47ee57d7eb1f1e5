from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from databases import finished, hurried_writers, ids, record
from midstream.observation import AttemptRecord, StreamRecord
from midstream.store import rows, survey
from midstream.store.database import StoreWriter, open_reader, open_writer
from midstream.store.queries import OUTCOMES, Filter, Reader


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "streams.db"


@pytest.fixture
def write(path: Path) -> Iterator[Callable[[], StoreWriter]]:
    with hurried_writers(path) as make:
        yield make


@pytest.fixture
def reader(path: Path) -> Iterator[Reader]:
    db = open_writer(path)
    some = [
        finished("aa1", started_at="2026-01-31T10:00:00.000Z", provider="openai", app="curl", model_requested="gpt-4o"),
        finished(
            "aa2", started_at="2026-01-31T11:00:00.000Z", provider="openai", app="sdk", model_served="gpt-4o-2024-11-20"
        ),
        finished(
            "ab", started_at="2026-01-31T12:00:00.000Z", provider="anthropic", model_served="claude", outcome="failed"
        ),
        finished(
            "ab0", started_at="2026-02-01T10:00:00.000Z", provider="groq", model_served="llama", outcome="truncated"
        ),
    ]
    db.conn.executemany(rows.INSERT_STREAM, [rows.stream_values(row) for row in some])
    db.conn.commit()
    db.conn.close()
    with open_reader(path) as reader:
        yield reader


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        (Filter(), ["ab0", "ab", "aa2", "aa1"]),
        (Filter(model="gpt-4o*"), ["aa2", "aa1"]),
        (Filter(model="gpt-4o"), ["aa1"]),
        (Filter(provider="openai", app="curl"), ["aa1"]),
        (Filter(outcome="failed"), ["ab"]),
        (Filter(since="2026-01-31T11", until="2026-02-01"), ["ab", "aa2"]),
        (Filter(model="'; DROP TABLE streams; --"), []),
    ],
)
def test_streams_are_filtered_and_come_newest_first(reader: Reader, which: Filter, expected: list[str]) -> None:
    assert [row["id"] for row in reader.streams(which)] == expected


def test_streams_are_limited(reader: Reader) -> None:
    assert [row["id"] for row in reader.streams(limit=2)] == ["ab0", "ab"]


@pytest.mark.parametrize(("prefix", "id_"), [("aa1", "aa1"), ("ab0", "ab0"), ("ab", "ab")])
def test_a_stream_is_found_by_its_id_or_what_only_it_begins_with(reader: Reader, prefix: str, id_: str) -> None:
    assert reader.stream(prefix)["id"] == id_


@pytest.mark.parametrize(
    ("prefix", "message"),
    [("aa", "more than one stream .* aa1, aa2"), ("zz", "no stream"), ("", "no stream"), ("%", "no stream")],
)
def test_a_prefix_of_none_or_several_is_an_error_that_says_so(reader: Reader, prefix: str, message: str) -> None:
    with pytest.raises(LookupError, match=message):
        reader.stream(prefix)


def test_tail_sees_what_was_over_since_it_last_looked(
    reader: Reader, path: Path, write: Callable[[], StoreWriter]
) -> None:
    last = reader.last()
    assert reader.after(last) == []
    writer = write()
    writer.finished(finished("zz"))
    assert writer.close()
    assert [row["id"] for row in reader.after(last)] == ["zz"]
    assert [row["id"] for row in reader.after(0)][-1] == "zz"


def test_attempts_since_are_those_of_streams_begun_since_the_oldest_first(path: Path) -> None:
    since = datetime(2026, 1, 31, 10, tzinfo=UTC)
    db = open_writer(path)
    for seconds, n in ((-1, 1), (5, 1), (5, 2), (1, 1)):
        stream = f"{int((since.timestamp() + seconds) * 1000):011x}abc"
        attempt = AttemptRecord(
            stream_id=stream, n=n, provider=f"at{seconds}-{n}", model="m", started_at="", ended="complete"
        )
        db.conn.execute(rows.INSERT_ATTEMPT, rows.attempt_values(attempt))
    db.conn.commit()
    db.conn.close()
    with open_reader(path) as reader:
        assert [row["provider"] for row in reader.attempts_since(since)] == ["at1-1", "at5-1", "at5-2"]
        assert [row["provider"] for row in reader.attempts_since(since, limit=1)] == ["at5-2"]


def test_reading_goes_on_while_a_writer_holds_the_lock(reader: Reader, path: Path) -> None:
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    lock.execute("DELETE FROM streams")
    assert len(reader.streams()) == 4
    assert len(open_reader(path).streams()) == 4


def test_a_reader_changes_nothing(reader: Reader) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader._conn.execute("DELETE FROM streams")


def test_a_missing_database_says_what_to_run(path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="midstream run"):
        open_reader(path)
    assert not path.parent.exists()


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0" + b"\xff" * 4000])
def test_a_file_that_is_no_database_of_ours_is_an_error_that_says_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.db").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.db cannot be read as a database of midstream"):
        open_reader(tmp_path / "x.db")


def test_a_path_with_special_characters_is_read(tmp_path: Path) -> None:
    odd = tmp_path / "a ?b#c%41é.db"
    open_writer(odd).conn.close()
    assert ids(odd) == []


# Statistics


def fill(path: Path, some: list[StreamRecord]) -> Reader:
    db = open_writer(path)
    db.conn.executemany(rows.INSERT_STREAM, [rows.stream_values(row) for row in some])
    db.conn.commit()
    db.conn.close()
    return open_reader(path)


def test_stats_of_a_group(path: Path) -> None:
    outcomes = ["complete"] * 97 + ["failed", "truncated", "client_gone"]
    some = [
        finished(
            f"{n:03}",
            model_served="m",
            outcome=outcome,
            ttft_ms=n + 1.0,
            tokens_per_s=100.0 - n,
            gap_p95_ms=10.0 * n,
            input_tokens=10,
            output_tokens=2,
            cost_usd=0.5 if n < 50 else None,
        )
        for n, outcome in enumerate(outcomes)
    ]
    (row,) = fill(path, some).stats()
    assert row == {
        "model": "m",
        "streams": 100,
        **dict.fromkeys(OUTCOMES, 0),
        "complete": 97,
        "failed": 1,
        "truncated": 1,
        "client_gone": 1,
        "ttft_p50_ms": 50.5,
        "ttft_p95_ms": pytest.approx(95.05),
        "ttft_p99_ms": pytest.approx(99.01),
        "tokens_per_s_p50": 50.5,
        "gap_p95_ms": pytest.approx(940.5),
        "input_tokens": 1000,
        "output_tokens": 200,
        "cached_tokens": None,
        "cost_usd": 25.0,
        "priced": 50,
        "rolled_up": 0,
    }


@pytest.mark.parametrize("by", ["model", "provider", "hour"])
def test_rows_whose_numbers_no_count_can_be_spoil_no_sum(path: Path, by: Any) -> None:
    """As older midstreams have written them: two of them overflow SQLite's sum."""
    numbers = [5, 2**63 - 1, 2**63 - 1, -(2**63), None]
    some = [finished(f"a{n}", input_tokens=number, cached_tokens=2**62) for n, number in enumerate(numbers)]
    with fill(path, some) as reader:
        (row,) = reader.stats(by)
    assert (row["streams"], row["input_tokens"], row["cached_tokens"]) == (5, 5, None)


def test_even_the_largest_counts_have_a_sum(path: Path) -> None:
    with fill(path, [finished(f"a{n}", input_tokens=2**53 - 1) for n in range(1200)]) as reader:
        (row,) = reader.stats()
    assert row["input_tokens"] == 2**63 - 1


def test_stats_of_streams_that_have_no_values(path: Path) -> None:
    (row,) = fill(path, [record("a")]).stats()
    assert row["model"] == ""
    assert row["streams"] == 1
    assert [row[key] for key in ("ttft_p50_ms", "tokens_per_s_p50", "gap_p95_ms", "cost_usd", "input_tokens")] == [
        None
    ] * 5


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("model", {"gpt-4o": 1, "gpt-4o-2024-11-20": 1, "claude": 1, "llama": 1}),
        ("provider", {"openai": 2, "anthropic": 1, "groq": 1}),
        ("app", {"": 2, "curl": 1, "sdk": 1}),
        ("hour", {"2026-02-01T10": 1, "2026-01-31T12": 1, "2026-01-31T11": 1, "2026-01-31T10": 1}),
    ],
)
def test_stats_group_by_what_is_asked(reader: Reader, by: Any, expected: dict[str, int]) -> None:
    found = [(row[by], row["streams"]) for row in reader.stats(by)]
    assert dict(found) == expected
    if by == "hour":
        assert found == list(expected.items())  # the newest first
    else:
        assert [n for _, n in found] == sorted(expected.values(), reverse=True)


def test_stats_are_of_the_streams_asked_for(reader: Reader) -> None:
    assert [row["provider"] for row in reader.stats("provider", Filter(since="2026-02"))] == ["groq"]
    assert reader.stats("provider", Filter(model="nope")) == []


def test_the_sums_are_read_off_the_index_without_sorting(reader: Reader) -> None:
    plans: list[str] = []
    reader._conn.set_trace_callback(plans.append)
    reader.stats("provider")
    reader._conn.set_trace_callback(None)
    totals = next(sql for sql in plans if "GROUP BY" in sql)
    plan = " ".join(str(tuple(row)) for row in reader._conn.execute(f"EXPLAIN QUERY PLAN {totals}"))
    assert "COVERING INDEX streams_stats" in plan
    assert "TEMP B-TREE" not in plan


def test_percentiles_of_a_large_group_are_those_of_an_even_sample_and_sums_stay_exact(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey, "SAMPLE", 200)
    monkeypatch.setattr(survey, "SAMPLE_OF_GROUP", 50)
    large = [finished(f"l{n:05}", model_served="large", ttft_ms=float(n), input_tokens=1) for n in range(4000)]
    small = [finished(f"s{n:05}", model_served="small", ttft_ms=float(n), input_tokens=1) for n in range(41)]
    reader = fill(path, large + small)
    big, little = reader.stats()
    assert big["input_tokens"] == big["streams"] == 4000
    assert big["ttft_p50_ms"] == pytest.approx(2000, abs=80)
    assert big["ttft_p99_ms"] == pytest.approx(3960, abs=80)
    assert little["ttft_p50_ms"] == 20.0  # exact, since small
    samples = reader.survey().samples
    assert (samples["large"].weight, len(samples["large"].streams)) == (40, 100)
    assert (samples["small"].weight, len(samples["small"].streams)) == (1, 41)


@pytest.mark.parametrize("by", ["model", "provider", "app", "hour"])
def test_a_sample_stands_for_every_stream_whatever_its_group_is_named_by(
    path: Path, monkeypatch: pytest.MonkeyPatch, by: Any
) -> None:
    monkeypatch.setattr(survey, "SAMPLE", 300)
    monkeypatch.setattr(survey, "SAMPLE_OF_GROUP", 50)
    names = (
        ("served", "asked"),
        ("", "asked"),
        ("", "served"),
        (None, "asked"),
        ("rare", ""),
        ("", ""),
        ("other", "x"),
    )
    chance = random.Random(1)
    some = []
    for n in range(5000):
        served, asked = chance.choices(names, (60, 1, 2, 1, 0.5, 0.2, 35))[0]
        some.append(
            finished(
                f"{n:05}",
                started_at=f"2026-01-31T{n * 24 // 5000:02}:00:00.000Z",
                model_served=served,
                model_requested=asked,
                provider=chance.choice(("openai", "openai", "groq")),
                ttft_ms=float(n),
            )
        )
    with fill(path, some) as reader:
        found = reader.survey(by)
        sizes = {row[by]: row["streams"] for row in found.rows}
    for name, sample in found.samples.items():
        assert sample.weight * len(sample.streams) == pytest.approx(sizes[name], rel=0.25, abs=sample.weight)
        assert sample.weight == 1 or len(sample.streams) >= 25
    if by == "model":
        for name in ("rare", ""):  # small ones are looked at whole
            assert (found.samples[name].weight, len(found.samples[name].streams)) == (1, sizes[name])


def test_hours_are_summed_up_by_an_index_of_their_own(reader: Reader) -> None:
    plans: list[str] = []
    reader._conn.set_trace_callback(plans.append)
    reader.stats("hour")
    reader._conn.set_trace_callback(None)
    asked = [sql for sql in plans if "FROM streams" in sql]
    assert len(asked) == 2
    for sql in asked:
        plan = " ".join(str(tuple(row)) for row in reader._conn.execute(f"EXPLAIN QUERY PLAN {sql}"))
        assert "COVERING INDEX streams_hours" in plan
        assert "TEMP B-TREE" not in plan
