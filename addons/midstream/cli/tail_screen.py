"""What `midstream tail` shows on a terminal: streams that run, streams that ended, and how the targets do. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from midstream.cli.charts import BLOCKS, spark
from midstream.cli.output import Column, clean, local_time, milliseconds, table

if TYPE_CHECKING:
    from rich.console import Group
    from rich.text import Text

type Row = Mapping[str, Any]

COLUMNS = (
    Column("id", "id", "id", drop=6),
    Column("model", "model"),
    Column("app", "app", drop=8),
    Column("provider", "provider", drop=4),
    Column("delivery", "delivery", drop=11),
    Column("outcome", "state", "outcome"),
    Column("ttft_ms", "first token", "ms"),
    Column("tokens", "tokens", "number", drop=3),
    Column("rate", "tokens/s", "rate", drop=1),
    Column("spark", "", "spark", drop=5),
    Column("gap_max_ms", "longest gap", "ms", drop=9),
    Column("tries", "attempts", "text", drop=7),
    Column("paused_ms", "held back", "ms", drop=10),
    Column("duration_ms", "time", "ms", drop=2),
)

SAMPLES = 20
"""Seconds of tokens per second in a sparkline."""

RECENT = 3
"""Seconds that the figure beside it is the mean of."""

STALL = 2
"""Seconds without a token, after the first, that count as a stall, as on the live page."""

ENDED = 20
"""Streams listed after their end."""

FAILING = 5
"""Failures in a row after which a target's circuit breaker opens, unless `[healing] failures` says otherwise."""


@dataclass(slots=True)
class Seen:
    """What was seen of one stream that runs."""

    tokens: int = 0
    paused_ms: float = 0.0
    held: bool = False
    samples: deque[int] = field(default_factory=lambda: deque(maxlen=SAMPLES))

    def sample(self, row: Row) -> None:
        """Once a second: how many tokens came in it, and whether its provider was held back."""
        tokens, paused = row.get("tokens") or 0, row.get("paused_ms") or 0.0
        self.samples.append(max(tokens - self.tokens, 0))
        self.held = paused > self.paused_ms
        self.tokens, self.paused_ms = tokens, paused

    @property
    def rate(self) -> float:
        recent = list(self.samples)[-RECENT:]
        return sum(recent) / len(recent) if recent else 0.0


class Screen:
    """Takes in what a poll found, and draws it."""

    def __init__(self, marks: str = BLOCKS) -> None:
        self._marks = marks
        self._seen: dict[str, Seen] = {}
        self._ended: deque[dict[str, Any]] = deque(maxlen=ENDED)

    def sample(self, running: Sequence[Row]) -> None:
        """Once a second."""
        known = self._seen
        self._seen = {row["id"]: known.get(row["id"]) or Seen(row.get("tokens") or 0) for row in running}
        for row in running:
            self._seen[row["id"]].sample(row)

    def end(self, rows: Sequence[Row]) -> None:
        """Streams that are over."""
        for row in rows:
            seen = self._seen.pop(row["id"], None)
            shown = {"spark": self._spark(seen or Seen()), "paused_ms": row.get("paused_ms") or None}
            tokens = {"tokens": row.get("output_tokens"), "rate": row.get("tokens_per_s")}
            self._ended.appendleft({**row, **shown, **tokens, "model": _model(row), "tries": tries(row)})

    def draw(self, running: Sequence[Row], targets: Sequence[Row], now: datetime, size: tuple[int, int]) -> Group:
        """size: columns and lines of the terminal; what has no room is counted."""
        from rich.console import Group
        from rich.text import Text

        width, height = size
        health = list(_health(targets, now))[: max(height // 4, 1)]
        room = max(height - len(health) - 6, 3)
        shown = [self._running(row, now) for row in running[: max(room * 2 // 3, room - len(self._ended))]]
        more = len(running) - len(shown)
        rows = [*shown, *list(self._ended)[: max(room - len(shown), 0)]]
        told = f"{len(running)} in flight" + (f", {more} of them not shown" if more else "") + "; Ctrl-C ends"
        head = Text(told, style="bold", no_wrap=True)
        return Group(head, *health, table(COLUMNS, rows, width)) if rows else Group(head, *health)

    def _spark(self, seen: Seen) -> str:
        return spark(list(seen.samples), self._marks) or " "

    def _running(self, row: Row, now: datetime) -> dict[str, Any]:
        seen = self._seen.get(row["id"], Seen())
        return {
            **row,
            "model": _model(row),
            "provider": row.get("asked") or row.get("provider"),
            "outcome": _state(row, seen),
            "rate": seen.rate if row.get("ttft_ms") is not None else None,
            "spark": self._spark(seen),
            "tries": tries(row),
            "paused_ms": row.get("paused_ms") or None,
            "duration_ms": age(row, now),
        }


def tries(row: Row) -> str:
    """How many attempts a stream took and what happened, where there is more to tell than one."""
    attempts = row.get("attempts") or 1
    told = [(row.get("rerouted"), "rerouted"), (row.get("breaks"), "broken"), (row.get("resumes"), "resumed")]
    more = ", ".join(f"{count} {name}" for count, name in told if count)
    return "" if attempts < 2 and not more else f"{attempts}: {more}" if more else str(attempts)


def age(row: Row, now: datetime) -> float | None:
    """Milliseconds since it began, by this machine's clock: the proxy's monotonic one is not ours to read."""
    try:
        return max(0.0, (now - datetime.fromisoformat(row["started_at"])).total_seconds() * 1000)
    except (ValueError, TypeError):
        return None


def _state(row: Row, seen: Seen) -> str:
    if row.get("ttft_ms") is None:
        return "mending" if (row.get("attempts") or 1) > 1 else "waiting"
    if seen.held:
        return "held back"
    last = list(seen.samples)[-STALL:]
    return "stalled" if len(last) == STALL and not any(last) else "streaming"


def _model(row: Row) -> Any:
    return row.get("model_served") or row.get("model_requested")


def _health(targets: Sequence[Row], now: datetime) -> Iterator[Text]:
    """A line for each target that failed lately, those that fail now first; nothing while all is well."""
    from rich.text import Text

    for row in sorted(targets, key=lambda row: (-row["in_a_row"], -row["failed"])):
        if not row["failed"]:
            continue
        name = "/".join(clean(part) for part in (row["provider"], row["model"]) if part)
        told = f"{name}: {row['failed']:,} of {row['attempts']:,} attempts failed in {MINUTES} minutes"
        since = age({"started_at": row["last_failure"]}, now)
        told += (
            f", the last {milliseconds(since)} ago"
            if since is not None
            else f", the last {local_time(row['last_failure'])}"
        )
        if row["in_a_row"]:
            told += f" ({clean(row['how'])}), {row['in_a_row']} in a row"
        style = "red" if row["in_a_row"] >= FAILING else "yellow" if row["in_a_row"] else "dim"
        yield Text(told, style=style, no_wrap=True, overflow="ellipsis")


MINUTES = 15
"""How far back the health of targets is looked at."""


def health(attempts: Sequence[Row]) -> list[dict[str, Any]]:
    """Targets by what became of the attempts at them, oldest first: how many failed, how many in a row at the end."""
    found: dict[tuple[Any, Any], dict[str, Any]] = {}
    for attempt in attempts:
        key = (attempt["provider"], attempt["model"])
        nothing = {"attempts": 0, "failed": 0, "in_a_row": 0, "how": "", "last_failure": ""}
        target = found.setdefault(key, {"provider": key[0], "model": key[1], **nothing})
        target["attempts"] += 1
        if attempt["ended"] == "complete":
            target["in_a_row"] = 0
        elif attempt["ended"] not in ("client_gone", "interrupted"):
            target.update(how=attempt["ended"], last_failure=attempt["started_at"])
            target["failed"] += 1
            target["in_a_row"] += 1
    return list(found.values())
