"""`stats`, `streams`, `show` and `tail` over a database that the store itself wrote."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli.process import command
from midstream.cli import main
from midstream.cli.tail import Watch, line
from midstream.observation import AttemptRecord, StreamRecord
from midstream.store.database import StoreWriter, delete, open_reader, open_writer

HOSTILE = "evil\x1b]0;owned\x07\u202e[red]model[/red]"


def record(number: int, **fields: Any) -> StreamRecord:
    """A finished stream; the number orders them in time."""
    usual: dict[str, Any] = {
        "id": f"0{number:02}abc",
        "started_at": f"2026-11-24T{number:02}:00:00.000Z",
        "app": "OpenAI/Python",
        "provider": "openai",
        "dialect": "openai_chat",
        "model_requested": "gpt-4o",
        "model_served": "gpt-4o-2024-08-06",
        "http_status": 200,
        "outcome": "complete",
        "finish_reason": "stop",
        "ttft_ms": 100.0 * number,
        "duration_ms": 2000.0,
        "tokens_per_s": 50.0,
        "chunks": 7,
        "bytes": 2048,
        "input_tokens": 1000,
        "output_tokens": 10,
        "usage_source": "provider",
        "cost_usd": 0.25,
    }
    return StreamRecord(**(usual | fields))


RECORDS = (
    record(1),
    record(2),
    record(3, provider="anthropic", model_requested="claude", model_served="claude-x", app="curl", cost_usd=None),
    record(
        4,
        outcome="truncated",
        error_type="connection_error",
        error="server went\x1b[2J away",
        model_served=HOSTILE,
        model_requested="",
    ),
)
ATTEMPTS = (
    AttemptRecord(
        stream_id="004abc",
        n=1,
        provider="openai",
        model="gpt-4o",
        started_at="2026-11-24T04:00:00.000Z",
        http_status=503,
        duration_ms=120.0,
        ended="overloaded",
        error="busy\x1b[2J",
        next="retry after 1.4 s",
    ),
    AttemptRecord(
        stream_id="004abc",
        n=2,
        provider="openai",
        model="gpt-4o",
        started_at="2026-11-24T04:00:01.500Z",
        http_status=200,
        ended="truncated",
    ),
)


@pytest.fixture
def db(tmp_path: Path) -> Path:
    path = tmp_path / "streams.db"
    writer = StoreWriter(path)
    for finished in RECORDS:
        writer.finished(finished, ATTEMPTS if finished.id == "004abc" else ())
    writer.close()
    return path


def midstream(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="midstream")


def rows(*arguments: object) -> list[dict[str, Any]]:
    result = midstream(*arguments, "--json")
    assert result.exit_code == 0, result.output
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


def test_streams_are_listed_newest_first(db: Path) -> None:
    assert [row["id"] for row in rows("streams", "--db", db)] == ["004abc", "003abc", "002abc", "001abc"]
    assert [row["id"] for row in rows("streams", "--db", db, "--limit", 2)] == ["004abc", "003abc"]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (("--provider", "anthropic"), ["003abc"]),
        (("--model", "claude-x"), ["003abc"]),
        (("--model", "gpt-4o*"), ["002abc", "001abc"]),
        (("--app", "curl"), ["003abc"]),
        (("--outcome", "truncated"), ["004abc"]),
        (("--since", "2026-11-24T03:00:00Z"), ["004abc", "003abc"]),
        (("--since", "2026-11-24T05:00:00+02:00", "--outcome", "complete"), ["003abc"]),
        (("--provider", "nobody"), []),
    ],
)
def test_filters(db: Path, filters: tuple[str, ...], expected: list[str]) -> None:
    assert [row["id"] for row in rows("streams", "--db", db, *filters)] == expected


def test_json_rows_have_the_tables_columns(db: Path) -> None:
    assert set(StreamRecord.__dataclass_fields__) <= set(rows("streams", "--db", db)[0])


@pytest.mark.parametrize("arguments", [("streams",), ("stats",), ("show", "last"), ("show", "004")])
def test_names_from_the_network_do_not_reach_the_terminal(db: Path, arguments: tuple[str, ...]) -> None:
    printed = midstream(*arguments, "--db", db).stdout
    assert "evil\\x1b]0;owned\\x07\\u202e[red]model[/red]" in printed
    assert printed.replace("\n", "").isprintable()


def test_stats_sum_up_by_what_is_asked(db: Path) -> None:
    by_provider = {row["provider"]: row for row in rows("stats", "--by", "provider", "--db", db)}
    openai, anthropic = by_provider["openai"], by_provider["anthropic"]
    assert (openai["streams"], openai["errors"], openai["cost_usd"]) == (3, 1, 0.75)
    assert (anthropic["streams"], anthropic["errors"], anthropic["cost_usd"]) == (1, 0, None)
    assert openai["ttft_p50_ms"] == 200
    for by in ("model", "app", "hour"):
        assert by in rows("stats", "--by", by, "--db", db)[0]


def test_stats_as_a_table_has_their_numbers(db: Path) -> None:
    printed = midstream("stats", "--by", "provider", "--db", db).stdout
    [line] = [line for line in printed.splitlines() if line.strip().startswith("openai")]
    assert re.split(r"\s{2,}", line.strip())[:4] == ["openai", "3", "1", "33.3%"]
    assert "200 ms" in line
    assert "$0.75" in line


@pytest.mark.parametrize("wanted", ["004abc", "004", "last"])
def test_show_finds_a_stream_by_its_beginning(db: Path, wanted: str) -> None:
    result = midstream("show", wanted, "--db", db, "--json")
    found = json.loads(result.stdout)
    assert found["id"] == "004abc"
    assert [attempt["n"] for attempt in found["attempt_rows"]] == [1, 2]


def test_show_tells_the_attempts_as_a_timeline(db: Path) -> None:
    printed = midstream("show", "004", "--db", db).stdout
    assert "server went\\x1b[2J away" in printed
    assert "openai/gpt-4o: overloaded after 120 ms (busy\\x1b[2J) → retry after 1.4 s" in printed
    assert "1.50 s" in printed


def test_show_as_json_has_what_each_attempt_cost_and_what_came_next(db: Path) -> None:
    found = json.loads(midstream("show", "004", "--db", db, "--json").stdout)
    assert set(found["attempt_rows"][0]) == set(AttemptRecord.__dataclass_fields__)
    assert [attempt["next"] for attempt in found["attempt_rows"]] == ["retry after 1.4 s", ""]


def test_streams_tell_how_many_attempts_a_stream_took_only_if_one_took_more(tmp_path: Path) -> None:
    for attempts, told in ((1, False), (3, True)):
        path = tmp_path / f"{attempts}.db"
        writer = StoreWriter(path)
        writer.finished(record(1, attempts=attempts))
        writer.close()
        assert ("attempts" in midstream("streams", "--db", path).stdout) is told


@pytest.mark.parametrize("wanted", ["0", "9", "%", "", "00_abc"])
def test_show_of_none_or_several_says_so(db: Path, wanted: str) -> None:
    result = midstream("show", wanted, "--db", db)
    assert (result.exit_code, result.stdout) == (2, "")
    assert ("more than one" if wanted == "0" else "no stream") in result.stderr


def test_an_empty_database_is_no_error(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path / "empty.db")
    writer.started(record(1, outcome=None))  # makes the database; no stream has ended in it
    writer.close()
    assert "No stream" in midstream("streams", "--db", tmp_path / "empty.db").stdout
    assert "No stream" in midstream("stats", "--db", tmp_path / "empty.db").stdout
    assert midstream("show", "last", "--db", tmp_path / "empty.db").exit_code == 2


def test_a_file_that_is_no_database_is_a_message(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"no database " * 200)
    result = midstream("streams", "--db", tmp_path / "x.db")
    assert result.exit_code == 2
    assert "cannot be read" in result.stderr


def test_watching_finds_what_ends_once_however_long_it_ran(db: Path) -> None:
    writer = StoreWriter(db)
    long = record(0, id="long", outcome=None, started_at="2026-11-01T00:00:00.000Z")
    writer.started(long)
    writer.close()
    with open_reader(db) as reader:
        watch = Watch(reader)
        assert (watch.poll(), [row["id"] for row in watch.open]) == ([], ["long"])
        writer = StoreWriter(db)
        writer.finished(record(9), ())
        long.outcome = "complete"
        writer.finished(long, ())
        writer.close()
        assert {row["id"] for row in watch.poll()} == {"long", "009abc"}
        assert (watch.poll(), watch.open) == ([], [])


def test_watching_goes_on_when_rows_are_deleted_or_numbered_anew(db: Path) -> None:
    with open_reader(db) as reader:
        watch = Watch(reader)
        for number, sql in enumerate(
            ("DELETE FROM streams WHERE id < '003'", "VACUUM", "DELETE FROM streams", "VACUUM"), 11
        ):
            database = open_writer(db)
            database.conn.execute(sql)
            database.conn.commit()
            database.conn.close()
            writer = StoreWriter(db)
            writer.finished(record(number), ())
            writer.close()
            assert [row["id"] for row in watch.poll()] == [f"0{number}abc"], sql
            assert watch.poll() == []


def test_watching_tells_a_long_stream_that_takes_the_number_of_a_deleted_row(db: Path) -> None:
    """As the doctor's, whose row is deleted when it is the newest."""
    with open_reader(db) as reader:
        watch = Watch(reader)
        for number in (20, 19):  # the one that ends later began earlier
            writer = StoreWriter(db)
            writer.finished(record(number), ())
            writer.close()
            assert [row["id"] for row in watch.poll()] == [f"0{number}abc"]
            delete(db, f"0{number}abc")


def test_a_line_is_for_grep_and_harmless() -> None:
    row = {name: getattr(RECORDS[3], name) for name in StreamRecord.__dataclass_fields__}
    assert "outcome truncated" in line(row)
    assert "attempts" not in line(row)
    assert "attempts 3: 1 rerouted  held back 250 ms" in line(row | {"attempts": 3, "rerouted": 1, "paused_ms": 250.0})
    assert line(row).isprintable()


@contextmanager
def tailing(
    environment: dict[str, str], *arguments: str, stdout: int = subprocess.PIPE
) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([*command(), "tail", *arguments], env=environment, stdout=stdout, text=True) as process:
        yield process
        if process.poll() is None:
            process.kill()


def test_a_piped_tail_prints_a_stream_that_ends_and_leaves_cleanly(db: Path, environment: dict[str, str]) -> None:
    with tailing(environment, "--json", "--db", str(db)) as process:
        assert process.stdout is not None
        writer = StoreWriter(db)
        found: list[str] = []
        for number in range(10, 400):  # the first ones may end before it looks: it tells of what ends from then on
            writer.finished(
                record(number, id=f"tail-{number}", started_at=f"2026-11-25T00:00:{number / 10:06.3f}Z"), ()
            )
            if _readable(process):
                found.append(process.stdout.readline())
                break
        writer.close()
        assert json.loads(found[0])["id"].startswith("tail-")
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(30) == 0


def test_a_tail_on_a_terminal_shows_what_is_in_flight(db: Path, environment: dict[str, str]) -> None:
    writer = StoreWriter(db)
    writer.started(record(8, id="running", outcome=None, model_served="", model_requested=HOSTILE))
    ours, theirs = pty.openpty()
    with tailing(environment | {"TERM": "xterm", "COLUMNS": "200"}, "--db", str(db), stdout=theirs) as process:
        os.close(theirs)  # so that the end of the command is the end of what we read
        seen = b""
        while (
            b"running" not in seen
        ):  # the store writes it in its own time, and the screen is drawn without it until then
            seen += os.read(ours, 65536)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    os.close(ours)
    writer.close()
    assert b"in flight" in seen
    assert b"\x1b]0;owned" not in seen


def _readable(process: subprocess.Popen[str]) -> bool:
    assert process.stdout is not None
    return bool(select.select([process.stdout], [], [], 0.2)[0])
