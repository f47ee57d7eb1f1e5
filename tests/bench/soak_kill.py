"""SIGKILL at a random moment, and what the database says after the next start."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING

import soak_checks
from soak_checks import Check

if TYPE_CHECKING:
    from soak import Soak

LOST = 2.0
"""Seconds before the kill whose rows may be missing: what had not been written yet. A batch is written every 0.2 s; this
machine may be slow."""


async def rounds(soak: Soak, count: int, streams: int) -> list[Check]:
    checks: list[Check] = []
    for number in range(1, count + 1):
        checks += await _round(soak, number, streams)
        print(soak_checks.table(checks[-4:]), flush=True)
    return checks


async def _round(soak: Soak, number: int, streams: int) -> list[Check]:
    """Load for some seconds, kill, start again, look."""
    proxy, begun, until = soak.start(), len(soak.askings), asyncio.Event()
    moments: dict[str, float] = {}
    ask = soak.asked

    def noted():  # type: ignore[no-untyped-def]
        asked = ask()
        moments[asked.app] = time.monotonic()
        return asked

    soak.asked = noted  # type: ignore[method-assign]
    workers = [asyncio.create_task(soak.work(proxy, until)) for _ in range(streams)]
    await asyncio.sleep(2 + soak.chance.random() * 4)
    proxy.process.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    until.set()
    for worker in workers:
        worker.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    proxy.process.wait()
    soak.asked = ask  # type: ignore[method-assign]
    again = soak.start()
    try:
        await _opened(again.db)
        sound = _sound(again.db)
        open_rows = soak_checks.in_flight(again.db)
    finally:
        again.stop()
    rows = soak_checks.rows_by_app(again.db)
    mine = {app: outcomes for app, outcomes in rows.items() if app in moments}
    lost = [app for app, at in moments.items() if at < killed - LOST and app not in mine]
    late = sum(app not in mine for app in moments) - len(lost)
    interrupted = sum("interrupted" in outcomes for outcomes in mine.values())
    del soak.askings[begun:]
    return [
        Check(f"{number}: integrity_check", "ok", sound, sound == "ok"),
        Check(
            f"{number}: asked {len(moments)}, interrupted {interrupted}, lost of before", "0", str(len(lost)), not lost
        ),
        Check(f"{number}: lost of the last {LOST:g} s", "", str(late), True),
        Check(f"{number}: in flight after the start", "0", str(open_rows), not open_rows),
    ]


async def _opened(db: Path) -> None:
    """The new process has looked through what the old one left, once nothing is in flight: its own load is nil."""
    for _ in range(100):
        if not soak_checks.in_flight(db):
            return
        await asyncio.sleep(0.1)


def _sound(db: Path) -> str:
    with contextlib.closing(sqlite3.connect(db)) as connection:
        found: str = connection.execute("pragma integrity_check").fetchone()[0]
        return found
