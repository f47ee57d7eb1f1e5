"""`midstream tail`: streams as they come and end."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from midstream.cli import tail_screen
from midstream.cli.endings import as_interrupt, told_to_end
from midstream.cli.output import Column, console, local_time, print_json_line, written
from midstream.cli.reading import db_option, reading
from midstream.cli.streams import COLUMNS

if TYPE_CHECKING:
    from midstream.store.queries import Reader, Row

POLL_SECONDS = 0.25

SAMPLE_SECONDS = 1.0
"""How often the proxy brings the streams that run up to date, and their tokens per second are taken down here."""

TOLD = 2000
"""Streams that are remembered as told, should the table's order be lost."""

LINE = (
    *(column for column in COLUMNS if column.key not in ("started_at", "model")),
    Column("delivery", "delivery"),
    Column("gap_max_ms", "longest gap", "ms"),
    Column("tries", "attempts"),
    Column("paused_ms", "held back", "ms"),
)


class Watch:
    """Finds what is new in the database, poll by poll; what had ended before is not."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._last = reader.last()
        before = reader.after(self._last - 1, 1)
        self._newest = before[0]["id"] if before else ""
        self._told: deque[str] = deque([self._newest], maxlen=TOLD)
        self.open = reader.in_flight()
        """The streams that run now, oldest first."""

    def poll(self) -> list[dict[str, Any]]:
        """The rows of streams that ended since the last poll, in that order."""
        self.open = self._reader.in_flight()
        found: list[dict[str, Any]] = []
        self._find_place()
        while rows := self._reader.after(self._last):
            new = [row for row in rows if row["id"] not in self._told]
            self._last, self._newest = rows[-1]["rowid"], rows[-1]["id"]
            self._told.extend(row["id"] for row in new)
            found += [{name: value for name, value in row.items() if name != "rowid"} for row in new]
        return found

    def _find_place(self) -> None:
        """A VACUUM may have numbered the rows anew, and the last one that was told may be deleted: then go on from the one
        before the first that began later."""
        if not self._newest:
            return
        place = self._reader.place(self._newest)
        if place is None:
            later = "SELECT min(rowid) AS place FROM streams WHERE id > ?"
            found = self._reader.ask(later, (self._newest,))[0]["place"]
            before = found - 1 if found is not None else self._reader.last()
            self._last = min(
                before, self._last - 1
            )  # its number is given to whatever ends next, however long ago that began
        elif place < self._last:  # a row that is written once more gets a higher number: that is no new numbering
            self._last = place

    def targets(self) -> list[Row]:
        """How the targets did of late."""
        since = datetime.now(UTC) - timedelta(minutes=tail_screen.MINUTES)
        return tail_screen.health(self._reader.attempts_since(since))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="A line of JSON for each stream that ends.")
@db_option
def tail(as_json: bool, db: str) -> None:
    """Watch streams live: those in flight, those that ended, and targets that fail. Ctrl-C ends it.

    Of a stream in flight: whom it was sent to, its first token, tokens per second with a sparkline (tokens are estimated
    until it ends), the longest gap, attempts, and how long its provider was held back for a slow client. Of a target: how many
    attempts failed in 15 minutes, and how many in a row, which is what opens its circuit breaker (the live page and /metrics
    show the breaker itself).

    Where the output is no terminal: a line for each stream when it ends.

    \b
    midstream tail
    midstream tail | grep truncated
    midstream tail --json | jq --unbuffered '{model_served, ttft_ms}'
    """
    with contextlib.suppress(KeyboardInterrupt), told_to_end(as_interrupt), reading(db) as reader:
        watch = Watch(reader)
        if as_json:
            _follow_json(watch)
        elif sys.stdout.isatty():
            _follow_live(watch)
        else:
            _follow_lines(watch)


def _polls(watch: Watch) -> Iterator[list[dict[str, Any]]]:
    while True:
        yield watch.poll()
        time.sleep(POLL_SECONDS)


def _follow_json(watch: Watch) -> None:
    for rows in _polls(watch):
        for row in rows:
            print_json_line(row)


def _follow_lines(watch: Watch) -> None:
    for rows in _polls(watch):
        for row in rows:
            print(line(row), flush=True)


def line(row: Mapping[str, Any]) -> str:
    """A finished stream on one line: for grep and for people."""
    model = row["model_served"] or row["model_requested"]
    told = {**row, "tries": tail_screen.tries(row), "paused_ms": row.get("paused_ms") or None}
    values = [f"{column.title} {written(column, told[column.key])}" for column in LINE if _said(column, told)]
    return "  ".join([local_time(str(row["started_at"])), written(Column("model", "model"), model), *values])


def _said(column: Column, row: Mapping[str, Any]) -> bool:
    return row.get(column.key) not in (None, "")


def _follow_live(watch: Watch) -> None:
    from rich.live import Live

    from midstream.cli.charts import ASCII, BLOCKS

    out = console()
    screen = tail_screen.Screen(ASCII if out.options.ascii_only else BLOCKS)
    sampled, targets = float("-inf"), watch.targets()
    with Live(console=out, auto_refresh=False, transient=False) as live:
        for rows in _polls(watch):
            if time.monotonic() - sampled >= SAMPLE_SECONDS:
                sampled, targets = time.monotonic(), watch.targets()
                screen.sample(watch.open)
            screen.end(rows)
            size = (out.width, out.height)
            live.update(screen.draw(watch.open, targets, datetime.now(UTC), size), refresh=True)
