"""The plots of the report as SVG that takes its colours from the page's style sheet. Pure; every text is escaped here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape

from midstream.cli import charts
from midstream.cli.output import clean, milliseconds
from midstream.gaps import percentile

WIDE, ROW, NAME, BINS = 1100, 46, 230, 90
"""Of the histograms: units across, the height of one, room for its name, bars in it. A unit is a pixel on a wide screen."""

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 530, 170, 58, 10, 24
"""Of a plot over time; left of it and below stand the labels."""

RIGHT = 8


@dataclass(frozen=True, slots=True)
class Series:
    """One value a step in time, None where there is none. kind: a class of the style sheet; line: no bars."""

    name: str
    kind: str
    values: Sequence[float | None]
    line: bool = False


def spread(groups: Sequence[tuple[str, list[float]]]) -> str:
    """A histogram for each group (sorted milliseconds) over one logarithmic scale, its p50 and p95 marked."""
    edges = charts.log_edges(min(v[0] for _, v in groups), max(v[-1] for _, v in groups), BINS)
    scale = _log_scale(edges)
    high = ROW * len(groups) + BOTTOM
    parts = []
    ticks = list(charts.log_ticks(edges[0], edges[-1])) or [edges[0]]
    for tick in ticks:
        x = scale(tick)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{high - BOTTOM}"/>')
    for tick in _apart(ticks, scale, 52):
        parts.append(_text(scale(tick), high - 8, milliseconds(tick), "middle"))
    for number, (name, values) in enumerate(groups):
        parts += _histogram(name, values, edges, scale, (number + 1) * ROW)
    return _svg(WIDE, high, "Time to first token by model", "".join(parts))


def _log_scale(edges: Sequence[float]) -> Callable[[float], float]:
    from math import log

    low, span = log(edges[0]), log(edges[-1]) - log(edges[0])
    return lambda value: NAME + (log(max(value, edges[0])) - low) / span * (WIDE - NAME - RIGHT)


def _histogram(
    name: str, values: list[float], edges: Sequence[float], scale: Callable[[float], float], base: float
) -> Iterator[str]:
    counts = charts.histogram(values, edges)
    most, room = max(counts), ROW - 10
    shown = clean(name or "?")
    label = shown if len(shown) <= 30 else f"{shown[:29]}…"
    yield f"<g><title>{escape(_told(shown, values))}</title>"
    yield _rect("hit", 0, base - ROW, WIDE, ROW)
    yield _text(NAME - 10, base - 6, label, "end", "name")
    yield f'<line class="axis" x1="{NAME}" x2="{WIDE - RIGHT}" y1="{base}" y2="{base}"/>'
    wide = (WIDE - NAME - RIGHT) / BINS
    for place, count in enumerate(counts):
        if count:
            high = max(count / most * room, 1)
            yield _rect("bar", NAME + place * wide + 0.5, base - high, wide - 1, high)
    for q, kind in ((0.5, "p50"), (0.95, "p95")):
        x = scale(percentile(values, q))
        yield f'<line class="mark {kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{base - room - 4}" y2="{base}"/>'
    yield "</g>"


def _told(name: str, values: list[float]) -> str:
    return f"{name}: " + ", ".join(f"p{q * 100:.0f} {milliseconds(percentile(values, q))}" for q in (0.5, 0.95, 0.99))


def over_time(starts: Sequence[datetime], series: Sequence[Series], written: Callable[[float], str], title: str) -> str:
    """Bars stacked on one another, or lines, by step in time, over an axis from 0."""
    top = charts.nice_top(_highest(series))
    wide = (WIDTH - LEFT - RIGHT) / max(len(starts), 1)
    room = HEIGHT - TOP - BOTTOM
    parts = []
    for share in (0, 0.5, 1):
        y = TOP + room * (1 - share)
        parts.append(
            f'<line class="{"axis" if not share else "grid"}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        parts.append(_text(LEFT - 8, y + 4, written(top * share) if share else "0", "end"))
    places = _apart(range(len(starts)), lambda i: LEFT + (i + 0.5) * wide, 92)
    days = (starts[-1] - starts[0]).total_seconds() > 2 * 86400 if starts else False
    for i in places:
        x = min(max(LEFT + (i + 0.5) * wide, LEFT + 20), WIDTH - RIGHT - 20)
        parts.append(
            _text(
                x,
                HEIGHT - 8,
                starts[i].astimezone().strftime("%d %b" if days else "%d %b %H:%M" if wide > 60 else "%H:%M"),
                "middle",
            )
        )
    floors = [0.0] * len(starts)
    for one in series:
        parts += _line(one, wide, room / top) if one.line else _bars(one, wide, room / top, floors)
    parts += _tips(starts, series, written, wide)
    return _svg(WIDTH, HEIGHT, title, "".join(parts))


def _highest(series: Sequence[Series]) -> float:
    lines = [value for one in series if one.line for value in one.values if value is not None]
    bars = [sum(value or 0 for value in at) for at in zip(*(s.values for s in series if not s.line), strict=True)]
    return max([*lines, *bars], default=0)


def _bars(one: Series, wide: float, scale: float, floors: list[float]) -> Iterator[str]:
    gap = 1 if wide > 3 else 0
    for i, value in enumerate(one.values):
        if value:
            y = HEIGHT - BOTTOM - (floors[i] + value) * scale
            yield _rect(one.kind, LEFT + i * wide, y, wide - gap, value * scale)
            floors[i] += value


def _line(one: Series, wide: float, scale: float) -> Iterator[str]:
    """Joined where one step follows the other; a value alone is a dot."""
    run: list[str] = []
    for i, value in enumerate([*one.values, None]):
        if value is not None:
            run.append(f"{LEFT + (i + 0.5) * wide:.1f},{HEIGHT - BOTTOM - value * scale:.1f}")
        elif len(run) == 1:
            x, y = run.pop().split(",")
            yield f'<circle class="dot {one.kind}" cx="{x}" cy="{y}" r="2.5"/>'
        elif run:
            yield f'<polyline class="line {one.kind}" points="{" ".join(run)}"/>'
            run = []


def _tips(
    starts: Sequence[datetime], series: Sequence[Series], written: Callable[[float], str], wide: float
) -> Iterator[str]:
    """What the pointer is told over a step."""
    for i, start in enumerate(starts):
        said = [f"{one.name}: {written(value)}" for one in series if (value := one.values[i]) is not None]
        told = escape("\n".join([start.astimezone().strftime("%Y-%m-%d %H:%M"), *said]))
        yield _rect("hit", LEFT + i * wide, TOP, wide, HEIGHT - TOP - BOTTOM, f"<title>{told}</title>")


def _apart[T: (int, float)](values: Sequence[T], place: Callable[[T], float], least: float) -> list[T]:
    """Those whose labels do not run into one another."""
    kept: list[T] = []
    for value in values:
        if not kept or place(value) - place(kept[-1]) >= least:
            kept.append(value)
    return kept


def _rect(kind: str, x: float, y: float, width: float, height: float, inside: str = "") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f'<rect class="{kind}" {place}>{inside}</rect>'


def _text(x: float, y: float, text: str, anchor: str, kind: str = "label") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(width: float, height: float, title: str, inside: str) -> str:
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">{inside}</svg>'
