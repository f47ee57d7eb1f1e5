"""`midstream stats`: what the streams add up to."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from midstream.cli.output import Column, console, print_json, table
from midstream.cli.reading import Moment, complain, db_option, json_option, reading

if TYPE_CHECKING:
    from midstream.cli.report import Report
    from midstream.store.queries import By, Filter, Reader, Row
    from midstream.store.survey import Survey

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
@click.option("--charts/--no-charts", default=None, help="Draw charts below the table.  [default: on a terminal]")
@click.option("--html", metavar="FILE", help="Write a report with plots, to pass on: one page, nothing else is needed.")
@click.option(
    "--png", metavar="FILE", help="The same as a picture; wants matplotlib (pip install 'midstream[report]')."
)
@json_option
@db_option
def stats(
    by: By, since: str | None, charts: bool | None, html: str | None, png: str | None, as_json: bool, db: str
) -> None:
    """Sum streams up by model, provider, app or hour: time to first token, tokens per second, errors, cost.

    Time to first token is that of the first content. Errors are streams that failed or were truncated. Cost is of the
    streams whose price is known. The charts: how time to first token is spread, and how things went over time.

    \b
    midstream stats
    midstream stats --by provider --since 24h
    midstream stats --by hour --since 7d --json
    midstream stats --since 7d --html report.html --png report.png
    midstream stats --html report.html --json            both
    """
    from midstream.store.queries import Filter

    which = Filter(since=since)
    with reading(db) as reader:
        if html or png:
            _report(reader, which, html, png, as_json)
        if as_json:
            print_json([_line(by, row) for row in reader.stats(by, which)])
        elif not (html or png):
            _print(by, which, reader, sys.stdout.isatty() if charts is None else charts)


def _line(by: By, row: Row) -> dict[str, Any]:
    """A group's row with the streams that went wrong; an hour as a time (`2026-01-31T23:00:00Z`)."""
    name = f"{row[by]}:00:00Z" if by == "hour" else row[by]
    errors = row["failed"] + row["truncated"]
    return {**row, by: name, "errors": errors, "error_rate": errors / row["streams"]}


def _print(by: By, which: Filter, reader: Reader, charts: bool) -> None:
    from midstream.cli.report import rolled_up
    from midstream.store.survey import Survey

    found = reader.survey(by, which) if charts else Survey(reader.stats(by, which), {})
    if not found.rows:
        click.echo("No stream has been recorded since then." if which.since else "No stream has been recorded yet.")
        return
    out = console()
    first = Column(by, by, "time" if by == "hour" else "text")
    out.print(table((first, *MEASURES), [_line(by, row) for row in found.rows], out.width))
    if charts:
        _draw(by, found)
    if older := rolled_up(found.rows):
        click.echo(f" {older}")


def _draw(by: By, found: Survey) -> None:
    from midstream.cli import stats_charts
    from midstream.cli.charts import ASCII, BLOCKS
    from midstream.cli.report import distributions, timeline

    out = console()
    marks = ASCII if out.options.ascii_only else BLOCKS
    lines = []
    if by != "hour":  # hundreds of them, which the lines below show better
        names = [row[by] for row in found.rows if row[by] in found.samples]
        lines += stats_charts.histograms(distributions({name: found.samples[name] for name in names}), out.width, marks)
    course = timeline(found.samples, stats_charts.steps(out.width))
    if course is not None and len(course.buckets) > 1:
        lines += stats_charts.over_time(course, out.width, marks)
    for line in lines:
        out.print(line, no_wrap=True, overflow="crop")


def _report(reader: Reader, which: Filter, html: str | None, png: str | None, as_json: bool) -> None:
    from midstream.cli.report import ask

    found = ask(reader, which)
    if html:
        from midstream.cli.report_html import page

        _write(html, page(found).encode("utf-8", "replace"), as_json)
    if png:
        _write(png, _picture(found), as_json)


def _picture(found: Report) -> bytes:
    try:
        from midstream.cli.report_png import picture
    except ImportError as error:
        complain(f"--png needs matplotlib ({error}). Install it with: pip install 'midstream[report]'; or use --html")
    return picture(found)


def _write(file: str, content: bytes, as_json: bool) -> None:
    """as_json: standard output is for that."""
    try:
        Path(file).expanduser().write_bytes(content)
    except OSError as error:
        complain(f"cannot write {file}: {error.strerror or error}")
    click.echo(f"written: {file}", err=as_json)
