"""Circuit breakers and retry budgets, one of each for a target. Pure: the clock is handed in."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Literal

type State = Literal["closed", "open", "half_open"]

TARGETS_LIMIT = 1_000
"""Targets that are remembered; the one that was asked longest ago goes first."""

RESERVE = 10.0
"""Retries that a target's budget holds beyond its share of the traffic: with little traffic a share of it is less than one."""

REFILL = 1.0
"""Retries a second that come back to the reserve."""


@dataclass(frozen=True, slots=True)
class Limits:
    """failures: in a row, before a breaker opens. cool_down: seconds until it lets one probe through. budget: retries as a share
    of requests."""

    failures: int = 5
    cool_down: float = 15.0
    budget: float = 0.2


class Breaker:
    """closed → open after so many failures in a row → half_open after the cool-down, for one probe → closed, or open again."""

    def __init__(self) -> None:
        self._failures = 0
        self._opened_at: float | None = None
        self._probing_since: float | None = None
        self._requests = 0
        self._probe = 0
        """The number of the request that is the probe, or was the last one."""

    def state(self, limits: Limits, now: float) -> State:
        if self._opened_at is None:
            return "closed"
        return "half_open" if now >= self._opened_at + limits.cool_down else "open"

    @property
    def failures(self) -> int:
        """How many in a row."""
        return self._failures

    def wait(self, limits: Limits, now: float) -> float:
        """Seconds until an open one lets a probe through; 0 where it is not open."""
        return 0.0 if self._opened_at is None else max(0.0, self._opened_at + limits.cool_down - now)

    def allows(self, limits: Limits, now: float) -> bool:
        """Whether a request may go to the target now. A probe that never came back is forgotten after a cool-down."""
        state = self.state(limits, now)
        probing = self._probing_since is not None and now < self._probing_since + limits.cool_down
        return state == "closed" or (state == "half_open" and not probing)

    def begin(self, limits: Limits, now: float) -> int:
        """A request goes to the target: the probe, if the breaker is half open and there is none. Return its number."""
        self._requests += 1
        if self._opened_at is not None and self.allows(limits, now):
            self._probe, self._probing_since = self._requests, now
        return self._requests

    def succeed(self) -> None:
        """It answered."""
        self._failures, self._opened_at, self._probing_since = 0, None, None

    def fail(self, limits: Limits, now: float) -> None:
        """It did not."""
        self._failures += 1
        self._probing_since = None
        if self._opened_at is not None or self._failures >= limits.failures:
            self._opened_at = now

    def leave(self, request: int) -> None:
        """A request ended without telling anything of the target: its client left, or it was the client's mistake."""
        if request == self._probe:
            self._probing_since = None


class Budget:
    """A token bucket (Finagle's RetryBudget): each request pays in a share of a retry, each retry takes a whole one."""

    def __init__(self, now: float) -> None:
        self._share = 0.0
        self._reserve = RESERVE
        self._seen = now

    def deposit(self, limits: Limits) -> None:
        """A first attempt."""
        self._share = min(self._share + limits.budget, RESERVE)

    def withdraw(self, limits: Limits, now: float) -> bool:
        """Whether one more retry is within the budget; if so it is taken. A budget of 0 allows none."""
        self._reserve = min(RESERVE, self._reserve + (now - self._seen) * REFILL)
        self._seen = now
        if limits.budget <= 0:
            return False
        if self._share >= 1:
            self._share -= 1
        elif self._reserve >= 1:
            self._reserve -= 1
        else:
            return False
        return True


@dataclass(slots=True)
class Health:
    """What is known of one target."""

    breaker: Breaker
    budget: Budget


class Targets:
    """The health of every target that was asked lately."""

    def __init__(self) -> None:
        self._targets: dict[Hashable, Health] = {}  # the latest last

    def of(self, key: Hashable, now: float) -> Health:
        """A target's health; a stranger's is good."""
        health = self._targets.pop(key, None) or Health(Breaker(), Budget(now))
        self._targets[key] = health
        while len(self._targets) > TARGETS_LIMIT:
            del self._targets[next(iter(self._targets))]
        return health

    def breakers(self) -> Iterator[tuple[Hashable, Breaker]]:
        """Every known target and its breaker, the latest last; from any thread: to list a dict, unlike an OrderedDict, hashes no
        key, and so is not interrupted."""
        return ((key, health.breaker) for key, health in list(self._targets.items()))
