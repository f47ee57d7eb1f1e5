"""A running mitmdump sums up what is old, and measures on meanwhile."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from databases import until
from end_to_end.harness import DEADLINE, SETS, Authority, Provider, Proxy, chunks, running
from end_to_end.test_measure import ASK, CHAT, WHOLE, post
from midstream.observation import AttemptRecord, StreamRecord
from midstream.records import utc
from midstream.store import rows
from midstream.store.database import open_reader, open_writer
from midstream.store.queries import Reader

OLD = 10_000
"""Streams: three steps of it at the least."""


def fill(path: Path) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=20)
    stamps = [utc(long_ago + timedelta(seconds=n)) for n in range(OLD)]
    database = open_writer(path)
    usual: dict[str, Any] = {"provider": "openai", "model_served": "old-model", "outcome": "complete"}
    streams = [StreamRecord(id=f"0{n:07}", started_at=at, ttft_ms=100.0, **usual) for n, at in enumerate(stamps)]
    tries = [
        AttemptRecord(stream_id=row.id, n=1, provider="openai", model="old-model", started_at="", ended="complete")
        for row in streams
    ]
    database.conn.executemany(rows.INSERT_STREAM, map(rows.stream_values, streams))
    database.conn.executemany(rows.INSERT_ATTEMPT, map(rows.attempt_values, tries))
    database.conn.commit()
    database.conn.close()


def test_a_proxy_sums_up_old_streams_while_new_ones_pass(
    authority: Authority, provider: Provider, confdir: Path, tmp_path: Path
) -> None:
    fill(tmp_path / "streams.db")
    config = tmp_path / "midstream.toml"
    config.write_text("[retention]\nkeep_days = 7\n")
    provider.handler = chunks(*WHOLE)
    proxy = Proxy(
        tmp_path,
        *("--set", f"midstream_config={config}"),
        scripts=SETS["relaying"],
        confdir=confdir,
        trust=authority.file,
        upstream=f"::127.0.0.1:{provider.port}",
    )
    with running(proxy):
        asked = 0
        deadline = time.monotonic() + DEADLINE
        with open_reader(proxy.db) as reader:
            while not asked or (left(reader) and time.monotonic() < deadline):
                assert asyncio.run(post(proxy, CHAT, ASK, "now"))[0] == 200
                asked += 1
            assert left(reader) == 0
            proxy.rows(asked, "app = 'now'")
            models = {row["model"]: row for row in reader.stats()}
            assert (models["old-model"]["streams"], models["old-model"]["ttft_p50_ms"]) == (OLD, 100)
            assert models["gpt-4o-mini-2024-07-18"]["streams"] == asked
            assert reader.ask("SELECT count(*) AS n FROM attempts WHERE model = 'old-model'") == [{"n": 0}]
        told = f"{OLD} streams begun before"
        until(lambda: told in "".join(proxy.log))  # which another thread reads


def left(reader: Reader) -> int:
    """Old streams that still have rows."""
    try:
        return int(reader.ask("SELECT count(*) AS n FROM streams WHERE id < '1'")[0]["n"])
    except sqlite3.OperationalError:
        return OLD
