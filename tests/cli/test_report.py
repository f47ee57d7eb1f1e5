"""What `stats` draws: the course of things in time, charts in a terminal, a page and a picture to pass on."""

from __future__ import annotations

import json
import os
import pty
import re
import struct
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli.process import Cli, command
from midstream.cli import main, report
from midstream.observation import StreamRecord
from midstream.records import utc
from midstream.store import rows
from midstream.store.database import open_reader, open_writer
from midstream.store.queries import Filter
from midstream.store.survey import SAMPLED, Sample

HOSTILE = "<script>alert(1)</script>\x1b[2J\u202e$x^2$" + "x" * 300
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def fill(path: Path, count: int, **values: Any) -> Path:
    """So many streams, ten minutes apart; each tenth failed."""
    db = open_writer(path)
    usual: dict[str, Any] = {
        "provider": "openai",
        "app": "curl",
        "model_served": "gpt",
        "output_tokens": 10,
        "cost_usd": 0.25,
    }
    some = [
        StreamRecord(
            id=f"{n:03}",
            started_at=utc(NOON + timedelta(minutes=10 * n)),
            ttft_ms=100.0 + n,
            outcome="complete" if n % 10 else "failed",
            error_type="" if n % 10 else "rate_limit",
            **(usual | values),
        )
        for n in range(count)
    ]
    db.conn.executemany(rows.INSERT_STREAM, [rows.stream_values(row) for row in some])
    db.conn.commit()
    db.conn.close()
    return path


def stats(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["stats", *map(str, arguments)], prog_name="midstream")


def stream(minute: float, **values: Any) -> tuple[Any, ...]:
    known = {"started_at": utc(NOON + timedelta(minutes=minute)), "outcome": "complete"} | values
    return tuple(known.get(name) for name in SAMPLED)


def test_a_timeline_counts_each_stream_for_as_many_as_it_stands_for() -> None:
    samples = {"a": Sample(10, [stream(0, output_tokens=5), stream(1, outcome="failed")]), "b": Sample(1, [stream(30)])}
    found = report.timeline(samples, 60)
    assert found is not None
    assert (found.step, found.sampled) == (60, True)
    assert [(b.streams, b.errors, b.tokens) for b in found.buckets if b.streams] == [
        (10, 0, 50),
        (10, 10, 0),
        (1, 0, 0),
    ]


@pytest.mark.parametrize("minutes", [0, 0.01, 1, 59, 60 * 24, 60 * 24 * 365 * 30])
@pytest.mark.parametrize("steps", [2, 12, 90])
def test_a_timeline_has_no_more_steps_than_asked_for_and_loses_no_stream(minutes: float, steps: int) -> None:
    found = report.timeline({"": Sample(1, [stream(0), stream(minutes / 3), stream(minutes)])}, steps)
    assert found is not None
    assert len(found.buckets) <= steps + 1
    assert sum(bucket.streams for bucket in found.buckets) == 3
    assert found.buckets[0].start <= NOON


def test_without_a_time_that_can_be_read_there_is_no_timeline() -> None:
    assert report.timeline({}, 10) is None
    assert report.timeline({"": Sample(1, [stream(0, started_at="soon")])}, 10) is None


def test_quantiles_of_all_models_together_heed_the_weight_of_each() -> None:
    samples = [Sample(97, [stream(0, ttft_ms=10.0)]), Sample(1, [stream(0, ttft_ms=float(n)) for n in (20, 30, 40)])]
    assert report.overall(samples) == {0.5: 10.0, 0.95: 10.0, 0.99: 30.0}


@pytest.mark.parametrize(
    ("seconds", "name"), [(1, "second"), (30, "30 seconds"), (60, "minute"), (7200, "2 hours"), (604800, "7 days")]
)
def test_a_step_is_named_as_one_says_it(seconds: int, name: str) -> None:
    assert report.step_name(seconds) == name


def test_charts_are_drawn_where_asked_for_and_not_into_a_pipe(tmp_path: Path) -> None:
    db = fill(tmp_path / "x.db", 40)
    assert "time to first token" not in stats("--db", db).stdout
    drawn = stats("--db", db, "--charts").stdout
    assert re.search(r"^ gpt  +[▁▂▃▄▅▆▇█ ]+ +p50 120 ms$", drawn, re.M)
    assert re.search(r"^ errors  +[█ ]+ +most 1$", drawn, re.M)


@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("by", ["model", "hour"])
def test_charts_of_next_to_nothing(tmp_path: Path, count: int, by: str) -> None:
    result = stats("--db", fill(tmp_path / "x.db", count), "--charts", "--by", by)
    assert result.exit_code == 0, result.output


def on_terminal(environment: dict[str, str], columns: int, *arguments: str) -> str:
    ours, theirs = pty.openpty()
    told = environment | {"TERM": "xterm-256color", "COLUMNS": str(columns)}
    with subprocess.Popen([*command(), "stats", *arguments], env=told, stdout=theirs) as process:
        os.close(theirs)
        seen = b""
        try:
            while piece := os.read(ours, 65536):
                seen += piece
        except OSError:
            pass  # how Linux says that the other side is closed
        assert process.wait(60) == 0
    os.close(ours)
    return seen.decode()


def test_a_terminal_gets_charts_and_colours_within_its_width(environment: dict[str, str], tmp_path: Path) -> None:
    db = fill(tmp_path / "x.db", 40, model_served=HOSTILE)
    for columns in (30, 60, 120):
        seen = on_terminal(environment, columns, "--db", str(db))
        assert "\x1b[36m" in seen
        plain = re.sub(r"\x1b\[[0-9;]*m", "", seen)
        assert plain.replace("\r\n", "").isprintable()
        assert max(map(len, plain.splitlines())) <= columns
        assert "over time" in plain


def test_without_utf8_the_charts_are_of_ascii(cli: Cli, tmp_path: Path) -> None:
    done = cli("stats", "--charts", "--db", str(fill(tmp_path / "x.db", 40)), PYTHONIOENCODING="ascii", LC_ALL="C")
    assert done.returncode == 0
    assert done.stdout.isascii()
    assert re.search(r"^ errors  +[@ ]+ +most 1$", done.stdout, re.M)


class Page(HTMLParser):
    """The tags, and the attributes that could load or run something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.reaching: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.reaching += [(k, v) for k, v in attrs if k in ("src", "href", "style") or k.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_needs_nothing_else_and_runs_nothing(tmp_path: Path) -> None:
    db = fill(tmp_path / "x.db", 40, model_served=HOSTILE, provider=HOSTILE, app=HOSTILE)
    result = stats("--db", db, "--html", tmp_path / "x.html")
    assert (result.exit_code, result.stdout) == (0, f"written: {tmp_path / 'x.html'}\n")
    text = (tmp_path / "x.html").read_text(encoding="utf-8")
    page = Page(text)
    assert "<script>alert(1)</script>\\x1b[2J\\u202e$x^2$" in page.text
    assert (page.reaching, "script" in page.tags, page.tags.count("svg")) == ([], False, 5)
    assert not re.search(r"url\(|@import|https?:", text)


def test_a_page_and_json_are_both_given_and_only_json_is_on_standard_output(cli: Cli, tmp_path: Path) -> None:
    fill(tmp_path / "x.db", 3)
    done = cli("stats", "--db", "x.db", "--html", "x.html", "--json")
    assert done.stderr == "written: x.html\n"
    assert json.loads(done.stdout) == json.loads(cli("stats", "--db", "x.db", "--json").stdout) != []
    assert (tmp_path / "x.html").exists()


def test_the_page_tells_what_stats_tells(tmp_path: Path) -> None:
    db = fill(tmp_path / "x.db", 40)
    assert stats("--db", db, "--html", tmp_path / "x.html").exit_code == 0
    text = Page((tmp_path / "x.html").read_text(encoding="utf-8")).text
    [row] = json.loads(stats("--db", db, "--json").stdout)
    assert row["errors"] == 4
    for told in ("Errors10.0%", "4 failed or broken off", "$10.00", "120 ms", "rate_limit"):
        assert told in text


@pytest.mark.parametrize("count", [0, 1, 40])
def test_the_picture_is_one(tmp_path: Path, count: int) -> None:
    pytest.importorskip("matplotlib")
    db = fill(tmp_path / "x.db", count, model_served=HOSTILE)
    result = stats("--db", db, "--png", tmp_path / "x.png", "--html", tmp_path / "x.html")
    assert result.exit_code == 0, result.output
    data = (tmp_path / "x.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">I", data[16:20]) == (1650,)


def test_without_matplotlib_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "midstream.cli.report_png", raising=False)
    result = stats("--db", fill(tmp_path / "x.db", 1), "--png", tmp_path / "x.png")
    assert result.exit_code == 2
    assert "pip install 'midstream[report]'" in result.stderr
    assert not (tmp_path / "x.png").exists()


def test_a_file_that_cannot_be_written_is_a_message(tmp_path: Path) -> None:
    result = stats("--db", fill(tmp_path / "x.db", 1), "--html", tmp_path / "no" / "x.html")
    assert result.exit_code == 2
    assert "cannot write" in result.stderr


def test_a_report_asks_for_what_was_asked_for(tmp_path: Path) -> None:
    with open_reader(fill(tmp_path / "x.db", 40)) as reader:
        found = report.ask(reader, Filter(since=utc(NOON + timedelta(minutes=195))))
    assert (found.total["streams"], found.troubles[0]["streams"], found.timeline.buckets[0].start.hour) == (20, 2, 15)
