"""What the store's thread does between batches: shows how far the streams are that run, and sums up old rows."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from midstream import progress
from midstream.records import utc
from midstream.store import retention, rows
from midstream.store.transactions import transaction

if TYPE_CHECKING:
    from midstream.observation import Observation

REST = 30.0
"""Seconds between two looks at whether there is something to do, while no stream runs."""

log = logging.getLogger(__name__)


class Chores:
    """`run` it from time to time. What fails is told once, and tried again; nothing is raised."""

    def __init__(self) -> None:
        self.live: Callable[[], Iterable[Observation]] = tuple
        self.schedule: retention.Schedule | None = None
        self._progress = progress.Progress()
        self._look = 0.0
        self._complained = False

    def run(self, conn: sqlite3.Connection) -> float:
        """Do what is due; return in how many seconds something will be."""
        try:
            return min(self._show(conn), self._retain(conn), REST)
        except Exception as error:
            if not self._complained:
                log.warning("the database could not be tidied up: %s. It will be tried again.", error)
            self._complained = True
            if self.schedule is not None:
                self.schedule.failed(time.monotonic())
            return progress.EVERY

    def _show(self, conn: sqlite3.Connection) -> float:
        now = time.monotonic()
        live = list(self.live())
        if now >= self._look and live:
            self._look = now + progress.EVERY
            stamp = utc(datetime.now(UTC))
            changed = [rows.fit((stamp, *values)) for values in self._progress.look(live)]
            if changed:
                with transaction(conn):
                    conn.executemany(progress.UPDATE, changed)
        return max(self._look - now, 0.0) if live else REST

    def _retain(self, conn: sqlite3.Connection) -> float:
        schedule = self.schedule
        if schedule is None:
            return REST
        if not schedule.wait(time.monotonic()):
            before = schedule.before(datetime.now(UTC))
            did = retention.Step(0, more=False)
            if before is not None:
                with transaction(conn):
                    did = retention.step(conn, before)
            total = schedule.stepped(did, time.monotonic())
            if total:
                log.info("%d streams begun before %s are summed up by hour; their rows are gone", total, before)
        return schedule.wait(time.monotonic())
