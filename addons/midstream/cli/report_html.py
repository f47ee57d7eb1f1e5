"""The report as one HTML page that needs nothing else: style sheet and plots stand in it, and it runs no script. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import Any

from midstream.cli import report_svg as svg
from midstream.cli.output import Column, clean, local_time, milliseconds, written
from midstream.cli.report import Report, Row, rolled_up, step_name
from midstream.cli.report_style import STYLE

GROUPS = 10
"""Models with a histogram, the largest, and lines of a table."""

POLICY = "default-src 'none'; style-src 'unsafe-inline'"

MEASURES = (
    Column("streams", "Streams", "number"),
    Column("error_rate", "Errors", "percent"),
    Column("ttft_p50_ms", "First token p50", "ms"),
    Column("ttft_p95_ms", "p95", "ms"),
    Column("ttft_p99_ms", "p99", "ms"),
    Column("tokens_per_s_p50", "Tokens/s p50", "rate"),
    Column("input_tokens", "Tokens in", "number"),
    Column("output_tokens", "Tokens out", "number"),
    Column("cost_usd", "Cost", "money"),
)


def page(report: Report) -> str:
    """The whole page."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>LLM streams: {escape(period(report))}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
        f"<style>{STYLE}</style></head><body><main>{''.join(_body(report))}</main></body></html>\n"
    )


def period(report: Report) -> str:
    """Of when the report tells."""
    buckets = report.timeline.buckets
    first = report.since or (buckets[0].start.isoformat() if buckets else "")
    until = local_time(report.made.isoformat())[:16]
    return f"{local_time(first)[:16]} to {until}" if first else f"until {until}"


def facts(report: Report) -> list[tuple[str, str, str]]:
    """The figures on top: what, how much, and what to know about it."""
    total = report.total
    wrong = total["failed"] + total["truncated"]
    streams = total["streams"]
    priced = (
        "price known of every stream" if total["priced"] == streams else f"price known of {total['priced']:,} streams"
    )
    quantile = {q: milliseconds(value) for q, value in report.overall.items()}
    return [
        ("Streams", f"{streams:,}", f"{_count(report.models, 'model')}, {_count(report.providers, 'provider')}"),
        ("Errors", f"{wrong / streams:.1%}" if streams else "-", f"{wrong:,} failed or broken off"),
        ("First token, median", quantile.get(0.5, "-"), f"95 % within {quantile.get(0.95, '-')}"),
        ("Tokens out", compact(total["output_tokens"]), f"{compact(total['input_tokens'])} in"),
        ("Cost", written(Column("", "", "money"), total["cost_usd"]), priced),
    ]


def _count(rows: Sequence[Row], name: str) -> str:
    return f"{len(rows)} {name}" if len(rows) == 1 else f"{len(rows)} {name}s"


def compact(value: float) -> str:
    """A large number in three digits or so."""
    for size, unit in ((1e9, "bn"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


def _body(report: Report) -> Iterator[str]:
    yield f"<header><h1>LLM streams</h1><p>{escape(period(report))}</p></header>"
    if not report.models:
        yield "<p>No stream has been recorded in this time.</p>"
        return
    tiles = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd><p>{escape(note)}</p></div>"
        for name, value, note in facts(report)
    )
    yield f'<dl class="facts">{tiles}</dl>'
    if report.ttft:
        yield _section("Time to first token", _spread(report), LEGEND_SPREAD)
    if len(report.timeline.buckets) > 1:
        yield from _course(report)
    for title, by, rows in (("Models", "model", report.models), ("Providers", "provider", report.providers)):
        yield _section(title, _table((Column(by, title[:-1]), *MEASURES), error_rates(rows)))
    yield _section("Programs", _table((Column("app", "Program"), *MEASURES), error_rates(report.apps)))
    if report.troubles:
        yield _section("What went wrong", _table(TROUBLES, report.troubles))
    yield _notes(report)


LEGEND_SPREAD = (
    '<p class="legend"><span class="key p50"></span>p50 <span class="key p95"></span>p95; logarithmic scale</p>'
)

TROUBLES = (
    Column("provider", "Provider"),
    Column("model", "Model"),
    Column("outcome", "Outcome"),
    Column("error_type", "Type of error"),
    Column("streams", "Streams", "number"),
)


def _spread(report: Report) -> str:
    return f'<div class="wide"><div class="spread">{svg.spread(list(report.ttft.items())[:GROUPS])}</div></div>'


def _course(report: Report) -> Iterator[str]:
    buckets, step = report.timeline.buckets, step_name(report.timeline.step)
    about = f"a step is {step}" + ("; estimated from a sample" if report.timeline.sampled else "")
    fine = [float(bucket.streams - bucket.errors) for bucket in buckets]
    wrong = [float(bucket.errors) for bucket in buckets]
    quantiles = [[bucket.quantile(q) for bucket in buckets] for q in (0.5, 0.95)]

    def plot(title: str, series: Sequence[svg.Series], text: Callable[[float], str], legend: str) -> str:
        drawn = svg.over_time([bucket.start for bucket in buckets], series, text, title)
        return _section(title, drawn, f'<p class="legend">{legend}{about}</p>')

    yield '<div class="pair">'
    yield plot(
        "Streams",
        [svg.Series("without error", "bar", fine), svg.Series("errors", "bad", wrong)],
        compact,
        '<span class="key bar"></span>without error <span class="key bad"></span>errors; ',
    )
    yield plot(
        "First token over time",
        [svg.Series("p50", "p50", quantiles[0], line=True), svg.Series("p95", "p95", quantiles[1], line=True)],
        milliseconds,
        '<span class="key p50"></span>p50 <span class="key p95"></span>p95; ',
    )
    yield plot("Tokens out", [svg.Series("tokens", "bar", [float(b.tokens) for b in buckets])], compact, "")
    if any(bucket.cost for bucket in buckets):
        yield plot("Cost", [svg.Series("cost", "bar", [bucket.cost for bucket in buckets])], dollars, "")
    yield "</div>"


def dollars(value: float) -> str:
    """For the labels of an axis."""
    return f"${value:,.0f}" if value >= 10 or not value else f"${value:.2g}" if value >= 0.0001 else f"${value:.1e}"


def error_rates(rows: Sequence[Row]) -> list[Row]:
    """The rows of `Reader.stats` with the share of streams that went wrong."""
    return [row | {"error_rate": (row["failed"] + row["truncated"]) / row["streams"]} for row in rows]


def _table(columns: Sequence[Column], rows: Sequence[Row]) -> str:
    head = "".join(f'<th{_side(column)} scope="col">{escape(column.title)}</th>' for column in columns)
    lines = "".join(f"<tr>{''.join(_cell(column, row) for column in columns)}</tr>" for row in rows[:GROUPS])
    more = f"<p>{len(rows) - GROUPS:,} more are not listed.</p>" if len(rows) > GROUPS else ""
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>{more}'


def _cell(column: Column, row: Row) -> str:
    value: Any = row.get(column.key)
    return f"<td{_side(column)}>{escape(written(column, value))}</td>"


def _side(column: Column) -> str:
    return ' class="number"' if column.right else ""


def _section(title: str, inside: str, below: str = "") -> str:
    return f"<section><h2>{escape(title)}</h2>{inside}{below}</section>"


def _notes(report: Report) -> str:
    said = [
        "Time to first token: from the request to the first content, be it text, reasoning or a tool call. "
        "Errors: streams that failed, or that the provider broke off. Cost: of the streams whose price is known. "
        "p95: 95 of 100 streams are at or below it. Times are local.",
        rolled_up(report.models),
        f"Made by midstream, {clean(local_time(report.made.isoformat()))}.",
    ]
    return f"<footer>{''.join(f'<p>{escape(line)}</p>' for line in said if line)}</footer>"
