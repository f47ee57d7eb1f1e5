"""`midstream tail`: streams as they come and end."""

from __future__ import annotations

import signal
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from midstream.cli.output import Column, console, local_time, print_json_line, table, written
from midstream.cli.reading import db_option, reading
from midstream.cli.streams import COLUMNS

if TYPE_CHECKING:
    from rich.console import RenderableType

    from midstream.queries import Reader

POLL_SECONDS = 0.25
SHOWN = 20
"""Finished streams on the live screen."""

LINE = tuple(column for column in COLUMNS if column.key != "started_at")


class Watch:
    """Finds what is new in the database, poll by poll; what had ended before is not."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._last = reader.last()
        self.open = reader.in_flight()
        """The streams that run now, oldest first."""

    def poll(self) -> list[dict[str, Any]]:
        """The rows of streams that ended since the last poll, in that order."""
        self.open = self._reader.in_flight()
        found: list[dict[str, Any]] = []
        while rows := self._reader.after(self._last):
            found += [{name: value for name, value in row.items() if name != "rowid"} for row in rows]
            self._last = rows[-1]["rowid"]
        return found


@click.command()
@click.option("--json", "as_json", is_flag=True, help="A line of JSON for each stream that ends.")
@db_option
def tail(as_json: bool, db: str) -> None:
    """Watch streams live: those in flight, and those that ended. Ctrl-C ends it.

    Where the output is no terminal: a line for each stream when it ends.

    \b
    midstream tail
    midstream tail | grep truncated
    midstream tail --json | jq --unbuffered '{model_served, ttft_ms}'
    """
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with reading(db) as reader:
            watch = Watch(reader)
            if as_json:
                _follow_json(watch)
            elif sys.stdout.isatty():
                _follow_live(watch)
            else:
                _follow_lines(watch)
    except KeyboardInterrupt:
        pass  # it is how one leaves
    finally:
        signal.signal(signal.SIGTERM, previous)


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


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
    values = [f"{column.title} {written(column, row.get(column.key))}" for column in LINE if _said(column, row)]
    return "  ".join([local_time(str(row["started_at"])), written(Column("model", "model"), model), *values])


def _said(column: Column, row: Mapping[str, Any]) -> bool:
    return column.key != "model" and row.get(column.key) not in (None, "")


def _follow_live(watch: Watch) -> None:
    from rich.live import Live

    ended: deque[dict[str, Any]] = deque(maxlen=SHOWN)
    out = console()
    with Live(console=out, auto_refresh=False, transient=False) as live:
        for rows in _polls(watch):
            ended.extendleft(rows)
            live.update(_screen(watch.open, list(ended), out.width), refresh=True)


def _screen(running: Sequence[Mapping[str, Any]], ended: Sequence[Mapping[str, Any]], width: int) -> RenderableType:
    rows = [{**row, "outcome": "in flight", "duration_ms": _age(row)} for row in running]
    shown = table(COLUMNS, [_with_model(row) for row in [*rows, *ended]], width)
    shown.caption = f"{len(running)} in flight; Ctrl-C ends"
    return shown


def _with_model(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "model": row.get("model_served") or row.get("model_requested")}


def _age(row: Mapping[str, Any]) -> float | None:
    """Milliseconds since it began, by this machine's clock: the proxy's monotonic one is not ours to read."""
    from datetime import UTC, datetime

    try:
        return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(row["started_at"])).total_seconds() * 1000)
    except (ValueError, TypeError):
        return None
