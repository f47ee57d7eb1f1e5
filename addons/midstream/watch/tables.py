"""What mitmproxy's commands answer: tables of text, their first row the names of the columns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

from midstream.config import Config
from midstream.records import utc
from midstream.relay.healing import Healing
from midstream.relay.server import RUNNING, breakers
from midstream.store.database import asking
from midstream.store.queries import By, Filter, Row

type Table = Sequence[Sequence[str]]

HOURS_LIMIT = 24 * 366 * 100
"""As far as a command can look back."""

PATIENCE = 1.0
"""Seconds that a command may ask the database: mitmproxy's commands hold up its event loop, and so every stream."""


def _count(value: Any) -> str:
    return "" if value is None else f"{value:,}"


def _ms(value: Any) -> str:
    return "" if value is None else f"{value:,.0f} ms"


def _rate(value: Any) -> str:
    return "" if value is None else f"{value:.1f}"


def _dollars(value: Any) -> str:
    return "" if value is None else f"${value:.4f}"


COLUMNS: Mapping[str, tuple[str, Callable[[Any], str]]] = {
    "streams": ("streams", _count),
    "errors": ("errors", _count),
    "ttft_p50_ms": ("first token p50", _ms),
    "ttft_p95_ms": ("p95", _ms),
    "tokens_per_s_p50": ("tokens/s p50", _rate),
    "input_tokens": ("in", _count),
    "output_tokens": ("out", _count),
    "cost_usd": ("cost", _dollars),
}


def stats(db: Path, by: str, hours: int) -> Table:
    """What the streams of the last hours add up to, a row a model, provider, app or hour. Raises ValueError."""
    groups = get_args(By.__value__)
    if by not in groups:
        raise ValueError(f"{by!r} is none of {', '.join(groups)}")
    if not 0 < hours <= HOURS_LIMIT:
        raise ValueError(f"{hours} hours: give 1 or more")
    since = utc(datetime.now(UTC) - timedelta(hours=hours))
    names = (by, *(name for name, _ in COLUMNS.values()))
    try:
        with asking(db, PATIENCE) as reader:
            rows = reader.stats(by, Filter(since=since))  # type: ignore[arg-type]  # one of the groups, as was seen to
    except FileNotFoundError:
        rows = []
    except TimeoutError as error:
        raise ValueError(
            f"{error}, and all streams wait meanwhile: ask for fewer hours, or `midstream stats`"
        ) from error
    return [names, *(_line(by, row) for row in rows)]


def _line(by: str, row: Row) -> Sequence[str]:
    told = row | {"errors": row["failed"] + row["truncated"]}
    return (str(row[by] or ""), *(write(told[column]) for column, (_, write) in COLUMNS.items()))


def targets(config: Config) -> Table:
    """Every target that was asked lately or that a route names: its breaker, its failures in a row, when it is asked again."""
    now, limits = time.monotonic(), config.healing.limits
    known = {
        _name(target.partition("/")): ("not asked yet", "", "") for route in config.routes for target in route.targets
    }
    for provider, model, breaker in breakers():
        wait = breaker.wait(limits, now)
        known[provider, model] = (
            breaker.state(limits, now).replace("_", "-"),
            str(breaker.failures),
            f"in {wait:.1f} s" if wait else "now",
        )
    return [
        ("provider", "model", "breaker", "failures in a row", "asked again"),
        *((*key, *known[key]) for key in sorted(known)),
    ]


def _name(parts: tuple[str, str, str]) -> tuple[str, str]:
    return parts[0], parts[2]


def running(prefix: str) -> Healing:
    """The stream that the relay carries whose id is, or alone begins with, this. Raises ValueError saying what is wrong."""
    if not RUNNING:
        raise ValueError("only streams that relay_streams.py carries can be cancelled: load it, or all.py")
    found = {
        id_: healing for relay in RUNNING for id_, healing in relay.means.running.items() if id_.startswith(prefix)
    }
    if prefix in found:
        return found[prefix]
    if not found or not prefix:
        raise ValueError(f"no stream whose id begins with {prefix!r} runs now")
    if len(found) > 1:
        raise ValueError(
            f"more than one stream whose id begins with {prefix!r} runs now: {', '.join(sorted(found)[:5])}"
        )
    return next(iter(found.values()))
