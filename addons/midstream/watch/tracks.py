"""One stream as the live page shows it: its row, what it was seen to do, and how fast its tokens come. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from midstream.attempts import NOT_BROKEN, Attempt
from midstream.ledger import Account
from midstream.observation import Observation
from midstream.records import AttemptRecord, StreamRecord

type Facts = dict[str, Any]

STALL = 2.0
"""Seconds without content, after the first, that count as a stall: a reader has long noticed."""

SAMPLES = 80
"""Tokens per second, each of half a second, that are kept for the sparkline."""

HELD = 100.0
"""Milliseconds held back that are worth a word: less is how any stream flows."""

MOMENTS = 100
"""Stalls, and the like, that are kept of one stream: beyond that a timeline shows nothing more."""

CHARACTERS = 4
"""Of a token, on average, in English (OpenAI's rule of thumb)."""

ATTEMPT = tuple(field.name for field in fields(AttemptRecord))


class Track:
    """One stream in flight. `see` it from time to time; `facts` is what there is to show, by name."""

    def __init__(self, account: Account, now: float, wall: float) -> None:
        record = account.observation.record
        self.account = account
        self.id = record.id
        self.began = now - max(wall - epoch(record.started_at, wall), 0.0)
        """On the monotonic clock."""
        self.facts: Facts = {}
        self.samples: deque[int] = deque(maxlen=SAMPLES)
        self.moments: deque[Facts] = deque(maxlen=MOMENTS)
        self.missing_since: float | None = None
        self._characters = 0
        self._text_size = 0
        self._chunks = 0
        self._changed = now
        self._sampled = 0
        self._held = 0.0

    def see(self, observation: Observation, now: float) -> Facts:
        """Look at it; return which facts changed."""
        record = observation.record
        self._measure(observation, now)
        self._note(record, now)
        facts = self._facts(observation, now)
        before, self.facts = self.facts, facts
        return {name: value for name, value in facts.items() if before.get(name, self) != value}

    def _measure(self, observation: Observation, now: float) -> None:
        """Estimate its tokens: one a content event at least, and no fewer than its text is long. (Who counts exactly, does so
        at the end.) The observation hands its text over now and then, and begins anew."""
        size, chunks = observation.text_size, observation.record.chunks
        self._characters += size - self._text_size if size >= self._text_size else size
        self._text_size = size
        if chunks != self._chunks:
            if self._chunks and now - self._changed >= STALL:
                self._moment("stall", self._changed, lasted_ms=round((now - self._changed) * 1000))
            self._chunks, self._changed = chunks, now

    def _note(self, record: StreamRecord, now: float) -> None:
        """Take down when its client came back, and when its provider was held back."""
        if record.resumes > self.facts.get("resumes", 0):
            self._moment("resume", now)
        held = record.paused_ms - self._held
        if held >= HELD:
            self._held = record.paused_ms
            self._moment("pause", now - held / 1000, lasted_ms=round(held))

    def _moment(self, kind: str, at: float, **more: Any) -> None:
        self.moments.append({"kind": kind, "at_ms": round((at - self.began) * 1000), **more})

    def _facts(self, observation: Observation, now: float) -> Facts:
        record = observation.record
        tries = observation.attempts
        asked = tries[-1] if tries else None
        return {
            "id": record.id,
            "started": round(epoch(record.started_at, 0.0) * 1000),
            "app": record.app,
            "key": record.key,
            "delivery": record.delivery,
            "model": record.model_served or record.model_requested,
            "provider": asked.provider if asked else record.provider,
            "asked": record.model_requested,
            "state": self._state(record, asked, now),
            "ttft_ms": _rounded(record.ttft_ms),
            "tokens": max(self._chunks, self._characters // CHARACTERS),
            "gap_max_ms": _rounded(observation.gaps.largest) if observation.gaps else None,
            "attempts": record.attempts,
            "rerouted": record.rerouted,
            "breaks": record.breaks,
            "resumes": record.resumes,
            "paused_ms": round(record.paused_ms),
        }

    def _state(self, record: StreamRecord, asked: Attempt | None, now: float) -> str:
        if asked is not None and asked.ended and asked.ended not in NOT_BROKEN:
            return "mending"
        if record.ttft_ms is None:
            return "waiting"
        return "stalled" if now - self._changed >= STALL else "streaming"

    def sample(self, seconds: float) -> None:
        """Twice a second: how fast tokens came in that time."""
        tokens = self.facts.get("tokens", 0)
        self.samples.append(round((tokens - self._sampled) / seconds))
        self._sampled = tokens

    def shown(self) -> Facts:
        """All there is to show of it, for a page that has just been opened."""
        return {**self.facts, "samples": list(self.samples)}


def ended(observation: Observation) -> Facts:
    """A stream that is over, as the page lists it: at whom its last attempt was."""
    record, tries = observation.record, observation.attempts
    return {
        "id": record.id,
        "started": round(epoch(record.started_at, 0.0) * 1000),
        "app": record.app,
        "key": record.key,
        "delivery": record.delivery,
        "model": record.model_served or record.model_requested,
        "asked": record.model_requested,
        "provider": tries[-1].provider if tries else record.provider,
        "state": record.outcome,
        "ttft_ms": _rounded(record.ttft_ms),
        "tokens": record.output_tokens,
        "rate": _rounded(record.tokens_per_s),
        "gap_max_ms": _rounded(record.gap_max_ms),
        "attempts": record.attempts,
        "rerouted": record.rerouted,
        "breaks": record.breaks,
        "resumes": record.resumes,
        "paused_ms": round(record.paused_ms),
        "duration_ms": _rounded(record.duration_ms),
        "cost_usd": record.cost_usd,
        "error_type": record.error_type,
    }


def details(observation: Observation, moments: list[Facts]) -> Facts:
    """A stream's own page: its row, its attempts' and what it was seen to do."""
    tries = [{name: getattr(attempt, name) for name in ATTEMPT} for attempt in observation.attempts]
    return {"stream": asdict(observation.record), "attempts": tries, "moments": moments}


def epoch(started_at: str, otherwise: float) -> float:
    """A row's time as seconds since 1970."""
    try:
        return datetime.fromisoformat(started_at).timestamp()
    except ValueError:
        return otherwise


def _rounded(value: float | None) -> float | None:
    """To three digits or so: more change without telling more."""
    return None if value is None else round(value, 1) if value < 100 else float(round(value))
