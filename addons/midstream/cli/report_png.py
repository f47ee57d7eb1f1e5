"""The report as a picture, for where a page cannot go: a chat, a slide. Needs matplotlib (the extra `report`)."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from matplotlib.transforms import Bbox

from midstream.cli import charts
from midstream.cli.output import clean, milliseconds, written
from midstream.cli.report import Report, Row, rolled_up, step_name
from midstream.cli.report_html import MEASURES, compact, dollars, error_rates, facts, period
from midstream.gaps import percentile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

GROUPS = 8
"""Models with a histogram and a line of the table."""

NOTHING = "No stream has been recorded in this time."
BINS = 90
INK, DIM, RULE = "#1b1f24", "#5c6670", "#dfe3e8"
BAR, SOFT, BAD, P50, P95 = "#3b74c4", "#a9c1e4", "#c8402f", "#14315e", "#d07a13"

SETTINGS: Any = {
    "text.parse_math": False,  # a price and a stranger's `$` are no formula
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.edgecolor": DIM,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlesize": 11,
    "text.color": INK,
    "xtick.color": DIM,
    "ytick.color": DIM,
    "ytick.left": False,
}


def picture(report: Report) -> bytes:
    """A PNG, 1650 pixels wide."""
    with matplotlib.rc_context(SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a name in a script that the font lacks
        figure = _figure(report)
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=150, metadata={"Software": None})
    return file.getvalue()


def _figure(report: Report) -> Figure:
    """Four strips, one below the other; each finds its own margins."""
    groups = [(name, values) for name, values in report.ttft.items() if values][:GROUPS]
    course = len(report.timeline.buckets) > 1
    lines = min(len(report.models), GROUPS)
    heights = [1.5, 0.6 * len(groups) + 0.7 if groups else 0, 4.6 if course else 0, 0.32 * lines + 1.1]
    drawn = [height for height in heights if height]
    figure = Figure(figsize=(11, sum(drawn)), facecolor="white", layout="constrained")
    strips = iter(figure.subfigures(len(drawn), 1, height_ratios=drawn, squeeze=False)[:, 0])
    _head(next(strips).add_axes((0.02, 0, 0.96, 1)), report)
    if groups:
        _spread(next(strips).subplots(), groups)
    if course:
        _course(next(strips), report)
    _table(next(strips).add_axes((0.02, 0, 0.96, 1)), report)
    return figure


def _head(axes: Axes, report: Report) -> None:
    axes.axis("off")
    axes.text(0, 0.9, "LLM streams", fontsize=18, weight="bold", va="top")
    axes.text(1, 0.86, period(report), fontsize=11, color=DIM, va="top", ha="right")
    for number, (name, value, note) in enumerate(facts(report) if report.models else ()):
        x = number * 0.2
        axes.text(x, 0.58, name, fontsize=9, color=DIM, va="top")
        axes.text(x, 0.44, value, fontsize=17, weight="bold", va="top")
        axes.text(x, 0.16, note, fontsize=8, color=DIM, va="top")


def _spread(axes: Axes, groups: Sequence[tuple[str, list[float]]]) -> None:
    edges = charts.log_edges(min(v[0] for _, v in groups), max(v[-1] for _, v in groups), BINS)
    wide = [right - left for left, right in pairwise(edges)]
    for number, (_, values) in enumerate(groups):
        counts, base = charts.histogram(values, edges), len(groups) - 1 - number
        axes.bar(
            edges[:-1],
            [c / max(counts) * 0.8 for c in counts],
            wide,
            base,
            align="edge",
            color=SOFT,
            ec="white",
            lw=0.3,
        )
        for q, colour in ((0.5, P50), (0.95, P95)):
            axes.plot([percentile(values, q)] * 2, [base, base + 0.86], color=colour, lw=2, label=f"p{q * 100:.0f}")
        axes.axhline(base, color=RULE, lw=0.8, zorder=0)
    axes.set_xscale("log")
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, len(groups))
    axes.set_xticks(charts.log_ticks(edges[0], edges[-1]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: milliseconds(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_yticks(
        [len(groups) - 0.7 - n for n in range(len(groups))], [_short(name) for name, _ in groups], color=INK
    )
    axes.set_title("Time to first token by model (logarithmic scale)")
    _legend(axes, 2)


def _course(strip: SubFigure, report: Report) -> None:
    buckets = report.timeline.buckets
    (streams, first), (tokens, cost) = strip.subplots(2, 2)
    fine, wrong = [b.streams - b.errors for b in buckets], [b.errors for b in buckets]
    _bars(streams, report, fine, "without error", BAR)
    _bars(streams, report, wrong, "errors", BAD, fine)
    times = [bucket.start.timestamp() + report.timeline.step / 2 for bucket in buckets]
    for q, colour in ((0.5, P50), (0.95, P95)):
        values = [bucket.quantile(q) for bucket in buckets]
        known = [float("nan") if value is None else value for value in values]
        first.plot(times, known, color=colour, lw=1.8, marker="o", ms=2, label=f"p{q * 100:.0f}")
    _bars(tokens, report, [b.tokens for b in buckets], "", BAR)
    _bars(cost, report, [b.cost for b in buckets], "", BAR)
    named = ((streams, "Streams", compact), (first, "First token", milliseconds), (tokens, "Tokens out", compact))
    for axes, title, text in (*named, (cost, "Cost", dollars)):
        _over_time(axes, report, title, text)
    _legend(streams, 2)
    _legend(first, 2)
    about = f"Over time: a step is {step_name(report.timeline.step)}"
    about += "; estimated from a sample of the streams" if report.timeline.sampled else ""
    strip.suptitle(about, x=0.02, ha="left", fontsize=9, color=DIM)


def _bars(
    axes: Axes, report: Report, values: Sequence[float], name: str, colour: str, floor: Sequence[float] | float = 0
) -> None:
    starts = [bucket.start.timestamp() for bucket in report.timeline.buckets]
    axes.bar(starts, values, report.timeline.step * 0.92, floor, align="edge", color=colour, label=name)


def _over_time(axes: Axes, report: Report, title: str, text: Callable[[float], str]) -> None:
    buckets = report.timeline.buckets
    days = report.timeline.step * len(buckets) > 2 * 86400
    every = -(-len(buckets) // 6)
    axes.set_xticks(
        [bucket.start.timestamp() for bucket in buckets[::every]],
        [bucket.start.astimezone().strftime("%d %b" if days else "%H:%M") for bucket in buckets[::every]],
    )
    axes.set_title(title)
    axes.set_ylim(bottom=0)
    axes.locator_params(axis="y", nbins=4)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: text(value) if value else "0"))
    axes.grid(axis="y", color=RULE)
    axes.set_axisbelow(True)


def _legend(axes: Axes, most: int) -> None:
    found, names = axes.get_legend_handles_labels()
    axes.legend(
        found[:most], names[:most], loc="lower right", bbox_to_anchor=(1, 1), ncols=most, frameon=False, fontsize=9
    )


def _table(axes: Axes, report: Report) -> None:
    axes.axis("off")
    head = ["Model", *(column.title for column in MEASURES)]
    rows = [_written(row) for row in error_rates(report.models[:GROUPS])]
    if rows:
        sizes = [max(len(row[place]) for row in (head, *rows)) + 2 for place in range(len(head))]
        widths = [size / sum(sizes) for size in sizes]
        high = (len(rows) + 1) / (len(rows) + 3)
        table = axes.table(
            rows,
            colWidths=widths,
            cellLoc="right",
            colLabels=head,
            edges="horizontal",
            bbox=Bbox.from_bounds(0, 1 - high, 1, high),
        )
        table.auto_set_font_size(False)
        table.set_fontsize(8.5)
        for (line, place), cell in table.get_celld().items():
            cell.set_edgecolor(RULE)
            cell.set_text_props(color=INK if line else DIM, ha="right" if place else "left")
            cell.PAD = 0.02
    told = "Errors: failed, or broken off by the provider. Cost: of streams whose price is known. Made by midstream."
    axes.text(0, 0.05, f"{told}\n{rolled_up(report.models)}".strip() if rows else NOTHING, fontsize=8, color=DIM)


def _written(row: Row) -> list[str]:
    large = {"input_tokens", "output_tokens"}
    cells = [compact(row[c.key]) if c.key in large and row[c.key] else written(c, row.get(c.key)) for c in MEASURES]
    return [_short(row["model"]), *cells]


def _short(name: str) -> str:
    text = clean(name or "?")
    return text if len(text) <= 32 else f"{text[:31]}…"
