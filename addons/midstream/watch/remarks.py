"""A line about a stream that broke or was healed, for whoever looks at its flow. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from midstream.attempts import NOT_BROKEN, Attempt
from midstream.observation import Observation

PREFIX = "midstream: "
"""What every remark of ours begins with: whatever else stands there is the user's own."""

LIMIT = 500
"""Characters of a remark."""

type Kind = Literal["healed", "broken"]


@dataclass(frozen=True, slots=True)
class Remark:
    kind: Kind
    text: str


def remark_on(observation: Observation) -> Remark | None:
    """What there is to say; None of a stream that went well, whose client left, or of which nobody knows the end yet."""
    tried, record = observation.attempts, observation.record
    if not tried:
        return None
    last, before = tried[-1], tried[:-1]
    failed = [attempt for attempt in before if attempt.ended not in NOT_BROKEN]
    if record.outcome in ("truncated", "failed"):
        return _remark("broken", f"{record.outcome}: {_ending(last, record.error_type, record.error)}", failed)
    over = record.outcome == "complete" or last.ended == "complete" or observation.ended
    if failed and over:
        how = "went on at" if any(attempt.chunks for attempt in failed) else "answered by"
        return _remark("healed", f"healed: {how} {_name(last)}", failed)
    return None


def _ending(last: Attempt, kind: str | None, error: str | None) -> str:
    said = ", ".join(dict.fromkeys(word for word in (kind, error) if word)) or last.ended or "no reason is known"
    where = f" after {_pieces(last)}" if last.chunks else ""
    return f"{_name(last)}{where}: {said}"


def _remark(kind: Kind, text: str, failed: Sequence[Attempt]) -> Remark:
    text = "; ".join((PREFIX + text, *(_failed(attempt) for attempt in failed)))
    return Remark(kind, text if len(text) <= LIMIT else text[: LIMIT - 1] + "…")


def _failed(attempt: Attempt) -> str:
    what = f"broke off after {_pieces(attempt)}" if attempt.chunks else "failed"
    status = f"HTTP {attempt.http_status} " if attempt.http_status and attempt.http_status >= 400 else ""
    error = f", {attempt.error}" if attempt.error else ""
    return f"{_name(attempt)} {what} ({status}{attempt.ended}{error})"


def _name(attempt: Attempt) -> str:
    return f"{attempt.provider}/{attempt.model}" if attempt.model else attempt.provider


def _pieces(attempt: Attempt) -> str:
    return f"{attempt.chunks} piece{'' if attempt.chunks == 1 else 's'}"
