"""`midstream stats`: what the streams add up to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from midstream.cli.output import Column, print_json, print_table
from midstream.cli.reading import Moment, db_option, json_option, reading

if TYPE_CHECKING:
    from midstream.queries import By, Row

GROUPS = ("model", "provider", "app", "hour")

MEASURES = (
    Column("streams", "streams", "number"),
    Column("errors", "errors", "number", drop=6),
    Column("error_rate", "error rate", "percent", drop=2),
    Column("ttft_p50_ms", "first token p50", "ms"),
    Column("ttft_p95_ms", "p95", "ms", drop=5),
    Column("ttft_p99_ms", "p99", "ms", drop=7),
    Column("tokens_per_s_p50", "tokens/s p50", "rate", drop=3),
    Column("input_tokens", "in", "number", drop=8),
    Column("output_tokens", "out", "number", drop=4),
    Column("cost_usd", "cost", "money", drop=1),
)


@click.command()
@click.option("--by", type=click.Choice(GROUPS), default="model", show_default=True, help="What makes a line.")
@click.option("--since", type=Moment(), help="Only streams begun since then: 24h, 30m, 7d, 2026-11-24.")
@json_option
@db_option
def stats(by: By, since: str | None, as_json: bool, db: str) -> None:
    """Sum streams up by model, provider, app or hour: time to first token, tokens per second, errors, cost.

    Time to first token is that of the first content. Errors are streams that failed or were truncated. Cost is of the
    streams whose price is known.

    \b
    midstream stats
    midstream stats --by provider --since 24h
    midstream stats --by hour --since 7d --json
    """
    from midstream.queries import Filter

    with reading(db) as reader:
        rows = [_line(by, row) for row in reader.stats(by, Filter(since=since))]
    if as_json:
        print_json(rows)
    elif rows:
        print_table((Column(by, by, "time" if by == "hour" else "text"), *MEASURES), rows)
    else:
        click.echo("No stream has been recorded since then." if since else "No stream has been recorded yet.")


def _line(by: By, row: Row) -> dict[str, Any]:
    """A group's row with the streams that went wrong; an hour as a time (`2026-01-31T23:00:00Z`)."""
    name = f"{row[by]}:00:00Z" if by == "hour" else row[by]
    errors = row["failed"] + row["truncated"]
    return {**row, by: name, "errors": errors, "error_rate": errors / row["streams"]}
