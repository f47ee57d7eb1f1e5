"""`midstream datasette` for real: a process, its pages, and each of its questions answered."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from click.testing import CliRunner

from cli.process import command
from midstream.cli import main
from midstream.cli.questions import CHARTS, QUESTIONS
from midstream.observation import AttemptRecord, StreamRecord
from midstream.records import utc
from midstream.store import rows
from midstream.store.database import open_writer

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two streams of an hour ago, one healed by another provider; and one of long ago."""
    path = tmp_path_factory.mktemp("datasette") / "odd name.db"
    database = open_writer(path)
    recent, old = utc(NOW), utc(NOW - timedelta(days=30))
    usual: dict[str, Any] = {"provider": "openai", "app": "curl", "model_requested": "gpt", "outcome": "complete"}
    some = [
        StreamRecord(id="1", started_at=recent, ttft_ms=100.0, cost_usd=0.5, **usual),
        StreamRecord(
            id="2",
            started_at=recent,
            ttft_ms=900.0,
            cost_usd=0.25,
            model_served="claude",
            attempts=2,
            rerouted=1,
            **usual,
        ),
        StreamRecord(id="3", started_at=old, ttft_ms=5000.0, cost_usd=9.0, **usual),
    ]
    tries = [
        AttemptRecord(stream_id="1", n=1, provider="openai", model="gpt", started_at=recent, ended="complete"),
        AttemptRecord(
            stream_id="2", n=1, provider="openai", model="gpt", started_at=recent, ended="truncated", cost_usd=0.125
        ),
        AttemptRecord(
            stream_id="2", n=2, provider="anthropic", model="claude", started_at=recent, ended="complete", cost_usd=0.25
        ),
    ]
    database.conn.executemany(rows.INSERT_STREAM, [rows.stream_values(row) for row in some])
    database.conn.executemany(rows.INSERT_ATTEMPT, [rows.attempt_values(row) for row in tries])
    database.conn.commit()
    database.conn.close()
    return path


@pytest.fixture(scope="module")
def site(db: Path) -> Iterator[httpx.Client]:
    pytest.importorskip("datasette_dashboards")
    with subprocess.Popen(
        [*command(), "datasette", "--port", "0", "--db", str(db)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert found is not None
        with httpx.Client(base_url=found[0], trust_env=False, timeout=60) as client:
            yield client
        process.terminate()


def answer(site: httpx.Client, name: str) -> list[dict[str, Any]]:
    response = site.get(f"/midstream/{name}.json?_shape=array")
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()
    return found


def test_which_model_is_slow(site: httpx.Client) -> None:
    by_hour = answer(site, "slow_when")
    assert [(row["streams"], row["ttft_p50_ms"], row["ttft_p95_ms"]) for row in by_hour] == [(2, 900, 900)]
    today = answer(site, "slow_today")
    assert today == [] or [row["model"] for row in today] == ["claude", "gpt"]  # midnight may be just over


def test_who_spends_what(site: httpx.Client) -> None:
    assert {(row["app"], row["model"], row["cost_usd"]) for row in answer(site, "spending")} == {
        ("curl", "gpt", 0.5),
        ("curl", "claude", 0.25),
    }


def test_which_provider_breaks_and_how(site: httpx.Client) -> None:
    [row] = answer(site, "breaking")
    assert (row["provider"], row["how"], row["times"], row["percent_of_its_attempts"], row["healed"]) == (
        "openai",
        "truncated",
        1,
        50.0,
        1,
    )


def test_what_fallbacks_cost(site: httpx.Client) -> None:
    [row] = answer(site, "fallbacks")
    assert (row["streams"], row["healed"], row["cost_of_failed_usd"], row["cost_of_later_attempts_usd"]) == (
        1,
        1,
        0.125,
        0.25,
    )
    assert row["who_took_over"] == "anthropic/claude"
    assert [row["id"] for row in answer(site, "healed")] == ["2"]


def test_how_many_days_is_a_parameter(site: httpx.Client) -> None:
    found = site.get("/midstream/spending.json?_shape=array&days=365").json()
    assert sum(row["cost_usd"] for row in found) == 9.75


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_is_a_page(site: httpx.Client, name: str) -> None:
    page = site.get(f"/midstream/{name}")
    assert page.status_code == 200
    assert QUESTIONS[name].title in page.text.replace("&#39;", "'")


def test_the_dashboard_has_its_charts_and_their_data(site: httpx.Client) -> None:
    page = site.get("/-/dashboards/streams?days=7")
    assert page.status_code == 200
    for name, chart in CHARTS.items():
        assert f'id="chart-{name}"' in page.text
        asked = urlencode({"sql": chart["query"], "days": 7, "_shape": "objects"})
        data = site.get(f"/midstream.json?{asked}").json()
        fields = {channel["field"] for channel in chart["display"]["encoding"].values()}
        assert fields <= set(data["rows"][0]), data


def test_nothing_foreign_is_loaded_and_nobody_else_is_served(site: httpx.Client) -> None:
    page = site.get("/midstream")
    assert page.headers["content-security-policy"].startswith("default-src 'self'")
    assert site.get("/midstream", headers={"host": "evil.example"}).status_code == 421
    assert site.get("/midstream", headers={"host": "localhost:1"}).status_code == 200


def test_nothing_can_be_written_or_taken_away(site: httpx.Client, db: Path) -> None:
    refused = site.get("/midstream.json", params={"sql": "delete from streams"})
    assert refused.status_code == 400
    assert site.get("/midstream.db").status_code == 403
    assert len(answer(site, "spending")) == 2


def test_without_the_extra_it_says_how_to_get_it(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasette_dashboards", None)
    result = CliRunner().invoke(main, ["datasette", "--db", str(db)])
    assert result.exit_code == 2
    assert "pip install 'midstream[datasette]'" in result.stderr


def test_a_port_in_use_is_a_message(site: httpx.Client, db: Path) -> None:
    result = CliRunner().invoke(main, ["datasette", "--db", str(db), "--port", str(site.base_url.port)])
    assert result.exit_code == 2
    assert "--port" in result.stderr
