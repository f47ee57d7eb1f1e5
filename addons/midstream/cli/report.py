"""What a report and the charts of `stats` are drawn from: groups, their distributions, and how things went over time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from midstream.gaps import percentile
from midstream.records import utc
from midstream.store.survey import SAMPLED, Sample

if TYPE_CHECKING:
    from midstream.store.queries import Filter, Reader

WIDTHS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800, 604800)
"""Seconds that one step in time may have: those a person can name."""

TTFT, STARTED, OUTPUT, OUTCOME, COST = (
    SAMPLED.index(name) for name in ("ttft_ms", "started_at", "output_tokens", "outcome", "cost_usd")
)
WRONG = ("failed", "truncated")
QUANTILES = (0.5, 0.95, 0.99)

type Row = dict[str, Any]


@dataclass(slots=True)
class Bucket:
    """One step in time. Counts and sums are estimates where only a sample of the streams was looked at."""

    start: datetime
    streams: int = 0
    errors: int = 0
    tokens: int = 0
    cost: float = 0.0
    ttft: list[float] = field(default_factory=list)

    def quantile(self, q: float) -> float | None:
        return percentile(sorted(self.ttft), q) if self.ttft else None


@dataclass(frozen=True, slots=True)
class Timeline:
    """step: seconds of a bucket; sampled: whether it stands for more streams than were looked at."""

    step: int
    buckets: list[Bucket]
    sampled: bool


@dataclass(frozen=True, slots=True)
class Report:
    """models, providers, apps: rows as `Reader.stats` has them; ttft: by model, sorted milliseconds of its (sampled) streams;
    overall: quantiles of all; troubles: how many streams ended badly, by provider, model, outcome and type of error."""

    made: datetime
    since: str | None
    models: list[Row]
    providers: list[Row]
    apps: list[Row]
    ttft: dict[str, list[float]]
    overall: dict[float, float]
    timeline: Timeline
    troubles: list[Row]

    @property
    def total(self) -> Row:
        """All models together."""
        names = ("streams", "failed", "truncated", "input_tokens", "output_tokens", "cost_usd", "priced", "rolled_up")
        return {name: sum(row[name] or 0 for row in self.models) for name in names}


def distributions(samples: dict[str, Sample]) -> dict[str, list[float]]:
    """Time to first token by group, sorted; groups without any are left out."""
    found = {name: sample.values(TTFT) for name, sample in samples.items()}
    return {name: values for name, values in found.items() if values}


def timeline(samples: dict[str, Sample], steps: int) -> Timeline | None:
    """So many steps in time, or a few less; None where no stream says when it began."""
    stamps = [stream[STARTED] for sample in samples.values() for stream in sample.streams if stream[STARTED]]
    edges = _edges(min(stamps, default=""), max(stamps, default=""), steps)
    if edges is None:
        return None
    first, step, count = edges
    buckets = [Bucket(first + timedelta(seconds=step * i)) for i in range(count)]
    starts = [utc(bucket.start) for bucket in buckets]
    for weight, stream in _streams(samples.values()):
        if stream[STARTED]:
            _add(buckets[max(bisect_right(starts, stream[STARTED]) - 1, 0)], weight, stream)
    return Timeline(step, buckets, any(sample.weight > 1 for sample in samples.values()))


def _streams(samples: Iterable[Sample]) -> Iterator[tuple[int, tuple[Any, ...]]]:
    for sample in samples:
        for stream in sample.streams:
            yield sample.weight, stream


def _add(bucket: Bucket, weight: int, stream: tuple[Any, ...]) -> None:
    bucket.streams += weight
    bucket.errors += weight * (stream[OUTCOME] in WRONG)
    bucket.tokens += weight * (stream[OUTPUT] or 0)
    bucket.cost += weight * (stream[COST] or 0.0)
    if stream[TTFT] is not None:
        bucket.ttft.append(stream[TTFT])


def _edges(first: str, last: str, steps: int) -> tuple[datetime, int, int] | None:
    """The first bucket's start, the seconds of one, how many."""
    try:
        begin, end = (datetime.fromisoformat(stamp).astimezone(UTC) for stamp in (first, last))
    except (ValueError, OverflowError):
        return None
    seconds = (end - begin).total_seconds()
    step = next((width for width in WIDTHS if seconds / width <= steps - 2), WIDTHS[-1])
    start = int(begin.timestamp() // step * step)
    step *= -(-int(end.timestamp() - start + 1) // (step * steps))  # longer than the widest allows: so many times that
    return datetime.fromtimestamp(start, UTC), step, int(end.timestamp() - start) // step + 1


def rolled_up(rows: Iterable[Row]) -> str:
    """What to say of streams that are known from their hour only; "" if there are none."""
    count = sum(row["rolled_up"] or 0 for row in rows)
    if not count:
        return ""
    return (
        f"{count:,} older streams are known by the hour only: they count in streams, errors, tokens and cost, "
        "not in percentiles and charts of other streams."
    )


def step_name(seconds: int) -> str:
    """How long a step is, in words."""
    for unit, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds % unit == 0:
            many = seconds // unit
            return name if many == 1 else f"{many} {name}s"
    return "second" if seconds == 1 else f"{seconds} seconds"


TROUBLES = """
    SELECT provider, coalesce(nullif(model_served, ''), model_requested) AS model, outcome, error_type, count(*) AS streams
    FROM streams WHERE outcome IN ('failed', 'truncated') AND {where}
    GROUP BY 1, 2, 3, 4 ORDER BY streams DESC, 1, 2, 3, 4 LIMIT 12
"""


def ask(reader: Reader, which: Filter, steps: int = 90) -> Report:
    """Ask a database for all that a report tells; steps: how finely it tells how things went over time."""
    where, values = which.where()
    models = reader.survey("model", which)
    return Report(
        made=datetime.now(UTC),
        since=which.since,
        models=models.rows,
        providers=reader.stats("provider", which),
        apps=reader.stats("app", which),
        ttft=distributions(
            {row["model"]: models.samples[row["model"]] for row in models.rows if row["model"] in models.samples}
        ),
        overall=overall(models.samples.values()),
        timeline=timeline(models.samples, steps) or Timeline(1, [], sampled=False),
        troubles=reader.ask(TROUBLES.format(where=where), values),
    )


def overall(samples: Iterable[Sample]) -> dict[float, float]:
    """The quantiles QUANTILES of the time to first token of all groups together, each stream as often as it stands for."""
    found = sorted((stream[TTFT], weight) for weight, stream in _streams(samples) if stream[TTFT] is not None)
    total, below, result = sum(weight for _, weight in found), 0, {}
    for value, weight in found:
        below += weight
        result.update({q: value for q in QUANTILES if q not in result and below >= q * total})
    return result
