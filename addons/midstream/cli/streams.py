"""`midstream streams`: the recorded streams, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from midstream.cli.output import Column, print_json, print_table
from midstream.cli.reading import Moment, db_option, json_option, reading

if TYPE_CHECKING:
    from midstream.store.queries import Row

OUTCOMES = ("complete", "client_gone", "truncated", "failed", "interrupted")

COLUMNS = (
    Column("id", "id", "id"),
    Column("started_at", "started", "moment", drop=1),
    Column("app", "app", drop=7),
    Column("provider", "provider", drop=6),
    Column("model", "model"),
    Column("http_status", "status", "number", drop=9),
    Column("outcome", "outcome", "outcome"),
    Column("ttft_ms", "first token", "ms"),
    Column("duration_ms", "duration", "ms", drop=4),
    Column("tokens_per_s", "tokens/s", "rate", drop=5),
    Column("input_tokens", "in", "number", drop=8),
    Column("output_tokens", "out", "number", drop=3),
    Column("cost_usd", "cost", "money", drop=2),
)

HEALED = Column("healed", "attempts", "number", drop=10)
"""Only where a stream had more than one."""


@click.command()
@click.option("--model", help="Only this model; * matches any text.")
@click.option("--provider", help="Only this provider; * as above.")
@click.option("--app", help="Only this program; * as above.")
@click.option("--outcome", type=click.Choice(OUTCOMES), help="Only streams that ended so.")
@click.option("--since", type=Moment(), help="Only streams begun since then: 24h, 30m, 7d, 2026-11-24.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=20, show_default=True, help="At most so many.")
@json_option
@db_option
def streams(as_json: bool, db: str, limit: int, **filters: str | None) -> None:
    """List recorded streams, newest first.

    \b
    midstream streams
    midstream streams --model 'gpt-4o*' --since 24h
    midstream streams --outcome truncated --limit 100
    midstream streams --json | jq '.[].ttft_ms'
    """
    from midstream.store.queries import Filter

    with reading(db) as reader:
        rows = reader.streams(Filter(**filters), limit)
    if as_json:
        print_json(rows)
    elif rows:
        print_table((*COLUMNS, HEALED), [_shown(row) for row in rows])
    else:
        click.echo("No stream matches." if any(filters.values()) else "No stream has been recorded yet.")


def _shown(row: Row) -> Row:
    healed = row["attempts"] if (row["attempts"] or 0) > 1 else None
    return row | {"model": row["model_served"] or row["model_requested"], "healed": healed}
