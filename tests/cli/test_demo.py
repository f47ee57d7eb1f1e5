"""`midstream demo`: all of it, as a user with an unhelpful environment would run it; and what it says when it cannot."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from midstream.cli import demo, demo_app
from midstream.cli.output import ID_SHOWN
from midstream.locate import recordings_path
from midstream.recording import read

ADDONS = Path(__file__).parent.parent.parent / "addons"
TEXTS = (
    "Pomeranians are a breed of dog",
    "This image shows the iconic Taj Mahal",
    'get_time {"timezone": "Asia/Tokyo"}',
)


def run_demo(home: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "midstream", "demo", *options],
        cwd=ADDONS,
        env={**clean, "HOME": str(home), "USERPROFILE": str(home), "PYTHONUTF8": "1", **environment},
        capture_output=True,
        encoding="utf-8",
        timeout=180,
        check=False,
    )


def test_the_demo_shows_every_stream_and_leaves_its_row(tmp_path: Path) -> None:
    nowhere = "http://127.0.0.1:1"
    hostile = {
        "HTTPS_PROXY": nowhere,
        "NO_PROXY": "*",
        "SSL_CERT_FILE": "/nonexistent",
        "OPENAI_BASE_URL": nowhere,
        "ANTHROPIC_BASE_URL": nowhere,
    }
    done = run_demo(tmp_path, "--speed", "0", **hostile)
    assert done.returncode == 0, done.stdout + done.stderr
    for text in TEXTS:
        assert text in done.stdout
    assert "midstream stats --db ~/.midstream/demo.db" in done.stdout
    with sqlite3.connect(tmp_path / ".midstream" / "demo.db") as database:
        rows = database.execute(
            "select id, dialect, outcome, output_tokens from streams order by started_at"
        ).fetchall()
    assert [row[1:] for row in rows] == [
        ("openai_chat", "complete", 112),  # 30 of the attempt that broke, 82 of the one that did not
        ("anthropic_messages", "complete", 296),
        ("openai_chat", "complete", 48),
    ]
    for row in rows:
        assert row[0][:ID_SHOWN] in done.stdout
    assert "connection_error" in done.stdout
    assert done.stdout.count("Pomeranians are a breed of dog") == 1
    assert done.stderr == ""


def test_a_stream_that_does_not_arrive_whole_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read(recordings_path() / "openai_chat" / "plain_text.jsonl")
    monkeypatch.setattr(demo, "_recordings", lambda: [replace(whole, chunks=whole.chunks[:9], end="truncated")])
    result = CliRunner().invoke(demo.demo, ["--speed", "0", "--db", str(tmp_path / "demo.db")])
    assert result.exit_code == 1
    assert "of 1 streams 0 arrived and 0 of 1 rows are complete" in result.output


def test_live_without_a_key_says_which_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in demo.KEYS.values():
        monkeypatch.delenv(key, raising=False)
    result = CliRunner().invoke(demo.demo, ["--live"])
    assert result.exit_code == 1
    assert "--live needs OPENAI_API_KEY or ANTHROPIC_API_KEY" in result.output


def test_without_the_sdks_it_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = CliRunner().invoke(demo.demo, [])
    assert result.exit_code == 1
    assert 'pip install "midstream[demo]"' in result.output


def test_live_asks_only_those_whose_key_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "x")
    assert [call.sdk for call in demo._live_calls()] == ["anthropic"]


def test_the_app_reports_an_error_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO('[{"sdk": "none", "request": {}}, {"sdk": "some", "request": {}}]'))
    monkeypatch.setitem(demo_app.SDKS, "some", lambda request: iter([{"text": "é"}]))
    demo_app.main()
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert said == [
        {"call": 0, "start": True},
        {"call": 0, "error": "KeyError: 'none'"},
        {"call": 1, "start": True},
        {"call": 1, "text": "é"},
        {"call": 1, "end": True},
    ]
