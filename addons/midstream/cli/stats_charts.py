"""The charts that `midstream stats` draws in a terminal: time to first token by group, and how things went over time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from midstream.cli import charts
from midstream.cli.output import Column, clean, milliseconds, written
from midstream.cli.report import Bucket, Timeline, step_name
from midstream.gaps import percentile

if TYPE_CHECKING:
    from rich.text import Text

GROUPS = 8
"""Groups that get a histogram, the largest: more of them nobody compares."""

BAR_MOST, BAR_LEAST = 72, 12
"""Characters of a chart on a wide terminal; where there is room for fewer, the figures beside it go."""

LABEL_MOST = 30


@dataclass(frozen=True, slots=True)
class Line:
    """A label, a chart a character a step, and what to know of its scale."""

    label: str
    chart: str
    note: str
    style: str = ""


def histograms(ttft: Mapping[str, list[float]], width: int, marks: str) -> list[Text]:
    """A line for each group, by a common logarithmic scale, then the scale. ttft: sorted, the largest group first."""
    shown = {name: values for name, values in list(ttft.items())[:GROUPS] if values}
    if not shown:
        return []
    notes = {name: f"p50 {milliseconds(percentile(values, 0.5))}" for name, values in shown.items()}
    labels = {name: _label(name or "?", width) for name in shown}
    bar = _room(width, labels.values(), notes.values())
    if bar < BAR_LEAST:
        notes, bar = dict.fromkeys(notes, ""), _room(width, labels.values())
    least, most = min(values[0] for values in shown.values()), max(values[-1] for values in shown.values())
    edges = charts.log_edges(least, most, bar)
    lines = [
        Line(labels[name], charts.spark(charts.histogram(values, edges), marks), notes[name], "cyan")
        for name, values in shown.items()
    ]
    ticks = [(tick, milliseconds(tick)) for tick in charts.log_ticks(edges[0], edges[-1])]
    scale = charts.axis(edges, ticks) or milliseconds(least)
    more = f" (the {len(shown)} largest of {len(ttft)})" if len(ttft) > len(shown) else ""
    return list(_drawn(f"time to first token{more}", [*lines, Line("", scale, "", "dim")], bar))


def over_time(found: Timeline, width: int, marks: str) -> list[Text]:
    """A line for each of what there is to follow, each by its own scale from 0."""
    rows = [row for row in _followed(found.buckets) if any(value for value in row[1])]
    notes = [f"most {written(column, max(value or 0 for value in values))}" for column, values, _ in rows]
    if len(found.buckets) > _room(width, [column.title for column, _, _ in rows], notes):
        notes = [""] * len(rows)
    lines = [
        Line(column.title, charts.spark(values, marks), note, style)
        for (column, values, style), note in zip(rows, notes, strict=True)
    ]
    about = ", estimated from a sample" if found.sampled else ""
    return list(_drawn(f"over time, a character for {step_name(found.step)}{about}", lines, len(found.buckets)))


def steps(width: int) -> int:
    """Into how many steps in time a terminal of this width can show."""
    return max(BAR_LEAST, min(BAR_MOST, width - (40 if width >= 60 else 20)))


def _followed(buckets: Sequence[Bucket]) -> Iterator[tuple[Column, list[float | None], str]]:
    yield Column("", "streams", "number"), [bucket.streams for bucket in buckets], "cyan"
    yield Column("", "errors", "number"), [bucket.errors for bucket in buckets], "red"
    yield Column("", "first token p50", "ms"), [bucket.quantile(0.5) for bucket in buckets], "cyan"
    yield Column("", "first token p95", "ms"), [bucket.quantile(0.95) for bucket in buckets], "cyan"
    yield Column("", "tokens out", "number"), [bucket.tokens for bucket in buckets], "cyan"
    yield Column("", "cost", "money"), [bucket.cost for bucket in buckets], "cyan"


def _label(name: str, width: int) -> str:
    from rich.cells import cell_len, set_cell_size

    text, most = clean(name), max(8, min(LABEL_MOST, width // 3))
    return text if cell_len(text) <= most else set_cell_size(text, most - 2) + ".."


def _room(width: int, *texts: Iterable[str]) -> int:
    """Characters that are left for the bars beside columns of these texts."""
    from rich.cells import cell_len

    return max(2, min(BAR_MOST, width - sum(max(map(cell_len, column), default=0) for column in texts) - 6))


def _drawn(title: str, lines: Sequence[Line], bar: int) -> Iterator[Text]:
    from rich.cells import cell_len, set_cell_size
    from rich.text import Text

    room = max((cell_len(line.label) for line in lines), default=0)
    yield Text(f" {title}", style="bold")
    for line in lines:
        text = Text(f" {set_cell_size(line.label, room)}  ").append(line.chart.ljust(bar), style=line.style)
        yield text.append(f"  {line.note}".rstrip(), style="dim")
    yield Text()
