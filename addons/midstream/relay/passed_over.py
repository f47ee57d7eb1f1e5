"""Targets that could not be asked what a stream asks: its rows tell of them, and the log, once for each reason. They are no
attempts: nobody was asked, so no breaker, budget, metric or cost counts them."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from midstream.config import Target
from midstream.observation import ERROR_LENGTH, Observation, clean
from midstream.relay.attempt import Broken
from midstream.relay.prepare import RuledOut
from midstream.relay.sink import Refused

log = logging.getLogger(__name__)

REASONS = 100
"""Reasons that one relay logs at most: some quote the request, so that each request may bring another."""


class Reasons:
    """What the log has been told by all streams of one relay."""

    def __init__(self) -> None:
        self._told: set[tuple[str, str]] = set()

    def tell(self, target: str, why: str) -> None:
        if (target, why) not in self._told and len(self._told) < REASONS:
            self._told.add((target, why))
            log.warning("%s was not asked: %s", target, why)


@dataclass(slots=True)
class PassedOver:
    """The targets of one stream that could not be asked. numbers: theirs; refusals: what the client is told where all were so."""

    observation: Observation
    reasons: Reasons
    numbers: set[int] = field(default_factory=set)
    refusals: list[tuple[int, Refused]] = field(default_factory=list)
    _early: list[str] = field(default_factory=list)
    """Of targets that would have been asked before all others: no row can take it yet."""

    def add(self, number: int, target: Target, error: RuledOut) -> Broken:
        """One more; return what plan.py decides upon."""
        name, why, refused = name_of(target), clean(str(error), ERROR_LENGTH), Refused(error.refusal.failure)
        self.reasons.tell(name, why)
        self.numbers.add(number)
        self.refusals.append((number, refused))
        if self.observation.attempts:
            self.observation.attempt.note(f"not asked: {why}")
        else:
            self._early.append(f"{name} not asked: {why}")
        return Broken(refused, kind="elsewhere", asked=False)

    def followed_by(self, said: str) -> None:
        """What came next, in a few words. It stands in the row of the attempt before, if there is any."""
        if self.observation.attempts:
            self.observation.attempt.note(said)

    def tell_early(self) -> None:
        """Where others were passed over before the first attempt, its row says so."""
        for said in self._early:
            self.observation.attempt.note(said)
        self._early.clear()


def name_of(target: Target) -> str:
    return f"{target.provider}/{target.model}" if target.model else target.provider
