"""What must be as it was, and what the rows must say, once the load has ended."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soak_clients import Asked, Verdict

MEMORY_SHARE, MEMORY_KIB = 0.05, 8 * 1024
"""What memory may have grown by: a share, or so much if that is more. An allocator's fragments come and go."""

NOT_LEAKS = ("client connections", "rows waiting")
"""Of these one is the question's own."""

FITTING: dict[Verdict, frozenset[str]] = {
    "whole": frozenset(("complete",)),
    "honest error": frozenset(("failed", "truncated")),
    "left": frozenset(("client_gone", "complete", "failed", "truncated")),
    "wrong": frozenset(),
}
"""What the row of each may say. Who left may have had all that there was."""


@dataclass(frozen=True)
class Check:
    """before, after: as the table shows them."""

    name: str
    before: str
    after: str
    good: bool


@dataclass
class Asking:
    """What came of one request."""

    asked: Asked
    kind: str
    verdict: Verdict
    told: str


def compare(before: dict[str, Any], after: dict[str, Any]) -> Iterable[Check]:
    """The inside of the process, when it had warmed up and at the end."""
    limit = before["memory"] + max(MEMORY_KIB, before["memory"] * MEMORY_SHARE)
    mib = [f"{seen['memory'] / 1024:.1f} MiB" for seen in (before, after)]
    yield Check("memory", *mib, after["memory"] <= limit)
    for name in ("file", "socket", "spool"):
        counts = [seen["files"].get(name, 0) for seen in (before, after)]
        yield Check(f"descriptors: {name}", *map(str, counts), counts[1] <= counts[0])
    tasks = [sum(seen["tasks"].values()) for seen in (before, after)]
    more = Counter(after["tasks"]) - Counter(before["tasks"])
    yield Check("asyncio tasks", str(tasks[0]), f"{tasks[1]} {dict(more) or ''}", not more)
    for name, count in before["held"].items():
        now = after["held"][name]
        yield Check(name, str(count), str(now), now <= count or name in NOT_LEAKS)
    opened = [seen["breakers"].get("open", 0) for seen in (before, after)]
    yield Check("open breakers", *map(str, opened), opened[1] <= opened[0])


def rows_by_app(db: Path) -> dict[str, list[str]]:
    """The outcomes of each app's rows."""
    found: dict[str, list[str]] = defaultdict(list)
    with contextlib.closing(sqlite3.connect(db)) as connection:
        for app, outcome in connection.execute("select app, outcome from streams"):
            found[app].append(outcome)
    return found


def in_flight(db: Path) -> int:
    with contextlib.closing(sqlite3.connect(db)) as connection:
        count: int = connection.execute("select count(*) from in_flight").fetchone()[0]
        return count


def misfits(db: Path, askings: Iterable[Asking]) -> list[str]:
    """Requests without their row, with too many, or with one that says something else than the client saw."""
    rows, wrong = rows_by_app(db), list[str]()
    for asking in askings:
        outcomes = rows.get(asking.asked.app, [])
        if asking.verdict == "wrong":
            continue
        if not outcomes or (asking.asked.rows and len(outcomes) != asking.asked.rows):
            wrong.append(
                f"{asking.kind} {asking.asked.model} {asking.asked.number}: {len(outcomes)} rows ({asking.verdict})"
            )
        elif asking.asked.rows and not set(outcomes) <= FITTING[asking.verdict]:
            wrong.append(f"{asking.kind} {asking.asked.model}: {outcomes} though {asking.verdict}: {asking.told}")
    return wrong


def table(checks: Iterable[Check]) -> str:
    lines = [["", "before", "after", ""], *([c.name, c.before, c.after, "" if c.good else "FAILED"] for c in checks)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(f"{w:<{n}}" for w, n in zip(line, widths, strict=True)).rstrip() for line in lines)
