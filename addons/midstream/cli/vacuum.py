"""`midstream vacuum`: sums up old streams by hour, deletes their rows, and gives the space back."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from midstream.cli.output import clean, local_time, size
from midstream.cli.paths import tilde
from midstream.cli.reading import complain, db_option, reading

if TYPE_CHECKING:
    from sqlite_utils import Database

PATIENCE = 30
"""Seconds to wait for a proxy that writes; it waits for us as well, and loses nothing."""

PAUSE = 0.05
"""Seconds between two steps: the proxy's turn."""


@click.command()
@click.option(
    "--keep-days", type=click.IntRange(1, 36_500), help="Keep the rows of so many days.  [default: see below]"
)
@click.option("--config", metavar="FILE", help="midstream.toml whose [retention] says how many days.")
@click.option("--dry-run", is_flag=True, help="Say what it would do, and do nothing.")
@db_option
def vacuum(keep_days: int | None, config: str | None, dry_run: bool, db: str) -> None:
    """Sum up old streams by hour, provider and model, delete their rows, and give the space back to the disk.

    What is old: begun more than --keep-days ago, or as the [retention] of --config says, or 365 days. Their counts, tokens,
    cost and percentiles by the hour stay in the table `hours`, and `midstream stats` goes on counting them. The proxy does
    the same by itself every hour, but for the last part: SQLite fills the space anew, and the file does not shrink.

    Safe while a proxy writes. SQLite needs as much free space again as the file will have.

    \b
    midstream vacuum --dry-run
    midstream vacuum
    midstream vacuum --keep-days 30
    midstream vacuum --config midstream.toml --db ./streams.db
    """
    from midstream.store import retention

    days = keep_days if keep_days is not None else _configured(config)
    before = retention.cutoff(days, datetime.now(UTC)) if days else ""
    with reading(db) as reader:
        total = reader.ask("SELECT count(*) AS n FROM streams")[0]["n"]
    path = Path(db).expanduser()
    if dry_run:
        _say_what_would_be(db, before, total)
        return
    with _writing(path) as database:
        if before:
            _sum_up(database, before, total)
        _shrink(database, path)


def _configured(config: str | None) -> int:
    from midstream.config import Config, ConfigError
    from midstream.config.file import load

    try:
        return (load(config) if config else Config.default()).retention.keep_days
    except ConfigError as error:
        raise click.BadParameter(clean(error), param_hint="--config") from error


def _say_what_would_be(db: str, before: str, total: int) -> None:
    from midstream.store import retention

    if not before:
        click.echo("Every row is kept ([retention] keep_days = 0); the file would be compacted.")
        return
    with reading(db) as reader:
        [found] = reader.ask(retention.OLD, (before,))
    click.echo(
        f"{found['streams']:,} of {total:,} streams, begun before {local_time(before)}, would be summed up in"
        f" {found['hours']:,} rows of the table `hours` and deleted; then the file would be compacted."
    )


@contextmanager
def _writing(path: Path) -> Iterator[Database]:
    from midstream.store.database import open_writer
    from midstream.store.sqlite_errors import advice

    try:
        database = open_writer(path)
        try:
            database.conn.execute(f"PRAGMA busy_timeout = {PATIENCE * 1000}")
            yield database
        finally:
            database.conn.close()
    except (sqlite3.Error, OSError) as error:
        told = advice(error, path) if isinstance(error, sqlite3.Error) else ""
        complain(clean(f"{tilde(path)} could not be vacuumed: {error}. {told}".rstrip()))


def _sum_up(database: Database, before: str, total: int) -> None:
    from midstream.store import retention
    from midstream.store.transactions import transaction

    streams, more = 0, True
    while more:
        with transaction(database.conn):
            did = retention.step(database.conn, before)
        streams, more = streams + did.streams, did.more
        if more:
            time.sleep(PAUSE)
    hours = database.execute("SELECT count(*) FROM hours").fetchone()[0]
    click.echo(
        f"{streams:,} of {total:,} streams, begun before {local_time(before)}, are summed up and deleted;"
        f" the table `hours` has {hours:,} rows."
    )


def _shrink(database: Database, path: Path) -> None:
    earlier = _size(path)
    database.conn.execute("VACUUM")
    database.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # as far as nobody else reads
    click.echo(f"{tilde(path)}: {size(earlier)} → {size(_size(path))}")


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in (path, Path(f"{path}-wal")) if file.exists())
