"""How long `midstream stats` takes over a million rows, as a process of its own: start-up, question, table and charts.

python tests/bench/stats.py                       # makes a million rows in a temporary folder
python tests/bench/stats.py --db million.db       # makes them there, or uses those that are there

CPU is user and system time of the process: on a machine that does other work too, the honest one of the two.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "addons"))

from midstream.observation import StreamRecord
from midstream.records import utc
from midstream.store import rows
from midstream.store.database import open_writer

ADDONS = sys.path[0]
MODELS = (
    ("openai", "gpt-4o", "gpt-4o-2024-08-06", 350),
    ("openai", "gpt-4o-mini", "gpt-4o-mini-2024-07-18", 200),
    ("anthropic", "claude-sonnet-4-5", "claude-sonnet-4-5-20250929", 400),
    ("gemini", "gemini-2.5-flash", "gemini-2.5-flash", 250),
)
OUTCOMES = {"complete": 94.0, "client_gone": 2.0, "truncated": 1.0, "failed": 2.5, "interrupted": 0.5}
DAYS = 30
COMMANDS = {
    "stats": [],
    "stats with charts": ["--charts"],
    "stats --json": ["--json"],
    "stats --by provider": ["--by", "provider"],
    "stats --by app": ["--by", "app"],
    "stats --by hour": ["--by", "hour"],
    "stats --since 24h": ["--since", "24h"],
}


def streams(count: int) -> Iterator[StreamRecord]:
    """As a month of a busy proxy leaves them."""
    chance, now = random.Random(1), datetime.now(UTC)
    outcomes, weights = list(OUTCOMES), list(OUTCOMES.values())
    for n in range(count):
        provider, asked, served, usual = chance.choice(MODELS)
        at = now - timedelta(days=DAYS * (count - n) / count)
        (outcome,) = chance.choices(outcomes, weights)
        out = chance.randrange(20, 1500)
        yield StreamRecord(
            id=f"{int(at.timestamp() * 1000):011x}{n:016x}",
            started_at=utc(at),
            client="127.0.0.1",
            app=chance.choice(("OpenAI/Python", "Anthropic/JS", "curl")),
            provider=provider,
            dialect="openai_chat",
            model_requested=asked,
            model_served="" if outcome == "failed" else served,
            http_status=200,
            outcome=outcome,
            ttft_ms=None if outcome == "failed" else chance.lognormvariate(0, 0.6) * usual,
            duration_ms=chance.random() * 20_000,
            tokens_per_s=chance.gauss(70, 15),
            gap_p50_ms=12.0,
            gap_p95_ms=chance.random() * 90,
            gap_max_ms=200.0,
            chunks=out,
            bytes=out * 200,
            input_tokens=chance.randrange(10, 9000),
            output_tokens=out,
            cached_tokens=0,
            usage_source="provider",
            cost_usd=out * 1e-5,
        )


def fill(path: Path, count: int) -> None:
    db = open_writer(path)
    db.conn.execute("PRAGMA synchronous = OFF")
    values = map(rows.stream_values, streams(count))
    while batch := list(islice(values, 50_000)):
        db.conn.executemany(rows.INSERT_STREAM, batch)
        db.conn.commit()
    db.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.conn.close()


def run(arguments: list[str], db: Path) -> tuple[float, float]:
    """Seconds on the wall and of the processor."""
    command = [sys.executable, "-m", "midstream", "stats", "--db", str(db), *arguments]
    before, start = os.times(), time.perf_counter()
    subprocess.run(command, env=os.environ | {"PYTHONPATH": ADDONS}, stdout=subprocess.DEVNULL, check=True)
    wall, after = time.perf_counter() - start, os.times()
    cpu = after.children_user - before.children_user + after.children_system - before.children_system
    return wall, cpu


def measure(db: Path, rounds: int) -> None:
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors; medians of {rounds} rounds")
    print(f"{'':24}{'wall':>8}{'CPU':>8}{'least wall':>12}")
    for name, arguments in COMMANDS.items():
        times = [run(arguments, db) for _ in range(rounds)]
        wall, cpu = (statistics.median(column) for column in zip(*times, strict=True))
        print(f"{name:24}{wall:7.2f}s{cpu:7.2f}s{min(wall for wall, _ in times):11.2f}s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--db", type=Path, help="where to keep the database")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        db = options.db or Path(folder, "streams.db")
        if not db.exists():
            print(f"writing {options.rows:,} rows ...", flush=True)
            fill(db, options.rows)
        measure(db, options.rounds)


main()
