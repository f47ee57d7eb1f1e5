"""A stream's attempts, drawn over its duration: which waited, which streamed, how each ended and what came next."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from midstream.cli.output import Column, clean, milliseconds, written

if TYPE_CHECKING:
    from rich.text import Text

BAR_MOST, BAR_LEAST = 60, 8
"""Characters of the bar on a wide terminal, and on a narrow one."""

FIGURES = (
    Column("http_status", "status", "text"),
    Column("ttft_ms", "first token", "ms"),
    Column("input_tokens", "in", "number"),
    Column("output_tokens", "out", "number"),
    Column("cost_usd", "cost", "money"),
)

COUNTED = ("input_tokens", "output_tokens", "cost_usd")
"""Figures that are not the provider's own word where `usage_source` says so."""

UNBROKEN = {"complete": "green", "client_gone": "yellow", "interrupted": "yellow"}
"""How an attempt may end without a failure; every other end is red."""


@dataclass(frozen=True, slots=True)
class Ink:
    """The characters of a bar and of the line below it: other ones where the output has only ASCII."""

    wait: str
    stream: str
    then: str


RICH, PLAIN = Ink("░", "█", "→"), Ink(".", "#", "->")


@dataclass(frozen=True, slots=True)
class Span:
    """Milliseconds from the stream's beginning; first: of the first token, None if none came."""

    start: float
    first: float | None
    end: float


def timeline(stream: Mapping[str, Any], attempts: Sequence[Mapping[str, Any]], width: int, ink: Ink) -> list[Text]:
    """Two lines for each attempt: its place in time and its figures; whom it asked, its end and what came next."""
    from rich.text import Text

    spans = [_span(stream, attempt) for attempt in attempts]
    whole = max([_number(stream.get("duration_ms")), *(span.end for span in spans), 1.0])
    starts = [milliseconds(span.start) if span.start >= 1 else "0 ms" for span in spans]
    rows = [[_figure(column, attempt) for column in FIGURES] for attempt in attempts]
    cells = list(zip(["", "at", *(c.title for c in FIGURES)], *_indexed(attempts, starts, rows), strict=True))
    sizes = [max(map(len, column)) for column in cells]
    bar = max(BAR_LEAST, min(BAR_MOST, width - sum(sizes) - 2 * len(sizes) - 1))
    lines = [_line([column[0] for column in cells], sizes, Text(f"{ink.wait} waits {ink.stream} streams"[:bar]), bar)]
    lines[0].stylize("dim")
    for number, attempt in enumerate(attempts):
        drawn = _bar(spans[number], whole, bar, ink, _style(attempt))
        lines.append(_line([column[number + 1] for column in cells], sizes, drawn, bar))
        lines.append(_story(attempt, " " * (sizes[0] + 2), ink))
    if any(_is_ours(attempt) for attempt in attempts):
        lines.append(Text("~ counted here, not by the provider", style="dim"))
    return lines


def _indexed(attempts: Sequence[Mapping[str, Any]], starts: list[str], rows: list[list[str]]) -> list[list[str]]:
    return [[clean(one.get("n", "")), at, *row] for one, at, row in zip(attempts, starts, rows, strict=True)]


def _line(cells: Sequence[str], sizes: Sequence[int], bar: Text, room: int) -> Text:
    """The attempt's number, when it began, its bar, and the figures flush right."""
    from rich.text import Text

    n, at, *figures = (cell.rjust(size) for cell, size in zip(cells, sizes, strict=True))
    bar.pad_right(max(0, room - len(bar)))
    return Text(f"{n}  {at}  ").append_text(bar).append("  " + "  ".join(figures))


def _story(attempt: Mapping[str, Any], indent: str, ink: Ink) -> Text:
    from rich.text import Text

    target = "/".join(clean(part) for part in (attempt.get("provider"), attempt.get("model")) if part)
    line = Text(f"{indent}{target or '?'}: ").append(clean(attempt.get("ended") or "?"), style=_style(attempt))
    if isinstance(attempt.get("duration_ms"), int | float):
        line.append(f" after {milliseconds(_number(attempt['duration_ms']))}")
    if attempt.get("error"):
        line.append(f" ({clean(attempt['error'])})", style="dim")
    if attempt.get("next"):
        line.append(f" {ink.then} {clean(attempt['next'])}")
    return line


def _figure(column: Column, attempt: Mapping[str, Any]) -> str:
    text = written(column, attempt.get(column.key))
    return f"~{text}" if text != "-" and column.key in COUNTED and _is_ours(attempt) else text


def _is_ours(attempt: Mapping[str, Any]) -> bool:
    return attempt.get("usage_source") in ("tiktoken", "estimate")


def _style(attempt: Mapping[str, Any]) -> str:
    return UNBROKEN.get(str(attempt.get("ended")), "red")


def _bar(span: Span, whole: float, width: int, ink: Ink, style: str) -> Text:
    """At least one character for each of what there was: an attempt, and its streaming."""
    from rich.text import Text

    start = min(_place(span.start, whole, width), width - 1)
    end = max(start + 1, _place(span.end, whole, width))
    first = end if span.first is None else max(start, min(_place(span.first, whole, width), end - 1))
    bar = Text(" " * start).append(ink.wait * (first - start), style="dim")
    return bar.append(ink.stream * (end - first), style=style)


def _place(at: float, whole: float, width: int) -> int:
    """Where in a bar; at its end what a row puts beyond the stream's."""
    return round(min(at / whole, 1.0) * width)


def _span(stream: Mapping[str, Any], attempt: Mapping[str, Any]) -> Span:
    start = max(0.0, after(stream, attempt) or 0.0)
    first = attempt.get("ttft_ms")
    return Span(start, None if first is None else start + _number(first), start + _number(attempt.get("duration_ms")))


def after(stream: Mapping[str, Any], attempt: Mapping[str, Any]) -> float | None:
    """Milliseconds from the stream's beginning to the attempt's."""
    try:
        began = datetime.fromisoformat(stream["started_at"])
        return (datetime.fromisoformat(attempt["started_at"]) - began).total_seconds() * 1000
    except (ValueError, TypeError, KeyError):
        return None


def _number(value: object) -> float:
    """A duration that can be drawn: 0 for what is none."""
    return max(0.0, float(value)) if isinstance(value, int | float) and math.isfinite(value) else 0.0
