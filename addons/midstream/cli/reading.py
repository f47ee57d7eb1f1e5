"""What the reading commands share: their options, the database, points in time."""

from __future__ import annotations

import re
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from midstream.cli.output import clean
from midstream.cli.paths import DEFAULT_DB, refuse_folder, tilde
from midstream.records import utc

if TYPE_CHECKING:
    from midstream.store.queries import Reader

NO_DATABASE = 2
"""Exit code; 1 is for what went wrong, 2 (as click has it) for what the caller can put right."""

_FIRST_STREAM = """\
  midstream exec -- python app.py     run a program through the proxy
  midstream demo                      or see it work without one"""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def db_option[F: Callable[..., Any]](command: F) -> F:
    """--db"""
    return click.option("--db", metavar="PATH", default=DEFAULT_DB, show_default=True, help="SQLite database to read.")(
        command
    )


def json_option[F: Callable[..., Any]](command: F) -> F:
    """--json"""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")(command)


class Moment(click.ParamType[str]):
    """A point in the past: `24h`, `30m`, `7d`, a date or a time; converted to UTC ISO 8601 as rows have it."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return utc(_moment(str(value).strip()))
        except (ValueError, OverflowError):
            self.fail(
                f"{value!r} is neither a duration (90s, 30m, 24h, 7d) nor a date (2026-11-24, 2026-11-24T10:30)",
                param,
                ctx,
            )


def _moment(text: str) -> datetime:
    duration = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw])", text)
    if duration:
        return datetime.now(UTC) - timedelta(seconds=float(duration[1]) * _UNITS[duration[2]])
    return datetime.fromisoformat(text).astimezone(UTC)  # a time without a zone is the local clock's


@contextmanager
def reading(db: str) -> Iterator[Reader]:
    """Open the database to read. What is wrong with it becomes a message and an exit code, never a traceback."""
    path = Path(db).expanduser()
    try:
        refuse_folder(db)
    except IsADirectoryError as error:
        complain(clean(error))
    if not path.is_file():
        complain(f"there is no database at {tilde(path)} yet. It is made with the first stream:\n{_FIRST_STREAM}")
    from midstream.store.database import open_reader

    try:
        reader = open_reader(path)
    except (sqlite3.Error, OSError, ValueError) as error:
        if str(error.__cause__) == "no such table: streams":  # its first start was broken off before it had its tables
            complain(f"nothing has been recorded in {tilde(path)} yet. The first stream will be:\n{_FIRST_STREAM}")
        complain(clean(error))
    try:
        with reader:
            yield reader
    except sqlite3.Error as error:
        complain(f"{tilde(path)} cannot be read: {clean(error)}")


def complain(message: str) -> NoReturn:
    """Say it on standard error and leave with exit code 2."""
    click.echo(f"midstream: {message}", err=True)
    sys.exit(NO_DATABASE)


def tilde_arguments(db: str) -> str:
    """What to append to a suggested command so that it means this database."""
    path = Path(db).expanduser()
    return "" if path == Path(DEFAULT_DB).expanduser() else f" --db {tilde(path)}"
