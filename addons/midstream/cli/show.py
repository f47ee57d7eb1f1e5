"""`midstream show ID`: everything about one stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from midstream.cli.output import Column, clean, console, print_json, written
from midstream.cli.reading import complain, db_option, json_option, reading, tilde_arguments
from midstream.cli.timeline import PLAIN, RICH, timeline

if TYPE_CHECKING:
    from midstream.store.queries import Reader

SECTIONS = {
    "": (
        Column("id", "id"),
        Column("started_at", "started", "time"),
        Column("client", "client"),
        Column("app", "app"),
        Column("key", "key"),
        Column("provider", "provider"),
        Column("dialect", "dialect"),
        Column("model_requested", "model asked for"),
        Column("model_served", "model served"),
        Column("delivery", "delivery"),
    ),
    "outcome": (
        Column("outcome", "outcome", "outcome"),
        Column("finish_reason", "finish reason"),
        Column("http_status", "HTTP status", "text"),
        Column("error_type", "error type"),
        Column("error", "error"),
        Column("attempts", "attempts", "number"),
        Column("rerouted", "rerouted", "number"),
        Column("breaks", "breaks", "number"),
        Column("resumes", "resumes", "number"),
    ),
    "time": (
        Column("ttft_ms", "time to first token", "ms"),
        Column("duration_ms", "duration", "ms"),
        Column("paused_ms", "paused by the client", "ms"),
        Column("tokens_per_s", "tokens per second", "rate"),
        Column("gap_p50_ms", "gap between contents, p50", "ms"),
        Column("gap_p95_ms", "p95", "ms"),
        Column("gap_max_ms", "longest", "ms"),
    ),
    "volume": (
        Column("chunks", "content events", "number"),
        Column("bytes", "bytes of the body", "bytes"),
        Column("input_tokens", "input tokens", "number"),
        Column("cached_tokens", "of them cached", "number"),
        Column("output_tokens", "output tokens", "number"),
        Column("reasoning_tokens", "of them reasoning", "number"),
        Column("usage_source", "counted by"),
        Column("cost_usd", "cost", "money"),
    ),
}

UNLESS_ZERO = frozenset({"rerouted", "breaks", "resumes", "paused_ms"})
"""What is worth a line only if it happened."""


@click.command()
@click.argument("stream_id", metavar="ID")
@json_option
@db_option
def show(stream_id: str, as_json: bool, db: str) -> None:
    """Show everything about one stream, its attempts as a timeline.

    A bar stands for the stream's whole duration: where an attempt waited for its first token, and where it streamed. Below
    it: whom it asked, how it ended, and what came next.

    ID is a stream's id or a beginning that no other has, or `last`: the newest.

    \b
    midstream show last
    midstream show 019ab3f
    midstream show last --json | jq .ttft_ms
    """
    with reading(db) as reader:
        row = _find(reader, stream_id, db)
        attempts = reader.attempts(row["id"])
    if as_json:
        print_json({**row, "attempt_rows": attempts})
    else:
        _print(row, attempts)


def _find(reader: Reader, wanted: str, db: str) -> dict[str, Any]:
    """The row that is meant. Leaves with exit code 2 if that is none, or more than one."""
    if wanted == "last":
        newest = reader.streams(limit=1)
        return dict(newest[0]) if newest else complain("no stream has been recorded yet")
    try:
        return reader.stream(wanted)
    except LookupError as error:
        complain(f"{clean(error)}. The recorded ones: midstream streams{tilde_arguments(db)}")


def _print(row: Mapping[str, Any], attempts: Sequence[Mapping[str, Any]]) -> None:
    """Sections of what is known, then the attempts."""
    from rich.text import Text

    out = console()
    width = max(len(column.title) for columns in SECTIONS.values() for column in columns)
    for title, columns in SECTIONS.items():
        known = [column for column in columns if _known(column, row)]
        if title and known:
            out.print(Text(f"\n{title}", style="bold"))
        for column in known:
            line = Text(f"{column.title:<{width}}  ", style="dim")
            out.print(line.append(written(column, row[column.key]), style="not dim"), soft_wrap=True)
    if attempts:
        out.print(Text("\nattempts", style="bold"))
        for line in timeline(row, attempts, out.width, PLAIN if out.options.ascii_only else RICH):
            out.print(line, soft_wrap=True)


def _known(column: Column, row: Mapping[str, Any]) -> bool:
    value = row.get(column.key)
    return value not in (None, "") and not (column.key in UNLESS_ZERO and value == 0)
