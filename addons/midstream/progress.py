"""How far the streams are that run: what `in_flight` shows of them, once a second. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from midstream.observation import Observation

EVERY = 1.0
"""Seconds between two looks."""

CHARACTERS = 4
"""Of a token, on average, in English (OpenAI's rule of thumb)."""

COLUMNS = (
    *("http_status", "model_served", "ttft_ms", "chunks", "attempts", "rerouted", "breaks", "resumes", "paused_ms"),
    *("gap_max_ms", "tokens", "asked", "id"),
)
UPDATE = f"UPDATE in_flight SET updated_at = ?, {', '.join(f'{name} = ?' for name in COLUMNS[:-1])} WHERE id = ?"  # noqa: S608
"""With a time and the values of COLUMNS. A stream that is over has no row any more, and gets none."""


class Progress:
    """Looks at the streams from outside their thread: reads a few numbers, none of which it needs to be of one moment."""

    def __init__(self) -> None:
        self._text: dict[str, tuple[int, int]] = {}
        self._shown: dict[str, tuple[Any, ...]] = {}

    def look(self, live: Iterable[Observation]) -> list[tuple[Any, ...]]:
        """The values of COLUMNS of each stream that is not as it was at the last look."""
        values = {observation.record.id: self._values(observation) for observation in live}
        changed = [value for id_, value in values.items() if self._shown.get(id_) != value]
        self._shown = values
        self._text = {id_: text for id_, text in self._text.items() if id_ in values}
        return changed

    def _values(self, observation: Observation) -> tuple[Any, ...]:
        record, tries = observation.record, observation.attempts
        return (
            *(record.http_status, record.model_served, record.ttft_ms, record.chunks),
            *(record.attempts, record.rerouted, record.breaks, record.resumes, record.paused_ms),
            observation.gaps.largest if observation.gaps else None,
            max(record.chunks, self._characters(observation) // CHARACTERS),
            tries[-1].provider if tries else record.provider,
            record.id,
        )

    def _characters(self, observation: Observation) -> int:
        """The length of its text so far. The observation hands its text over now and then, and begins anew."""
        size = observation.text_size
        total, before = self._text.get(observation.record.id, (0, 0))
        total += size - before if size >= before else size
        self._text[observation.record.id] = (total, size)
        return total
