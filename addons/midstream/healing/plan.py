"""What follows a failure: wait and ask again, ask the next target, or give up. Pure: one function of early returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from midstream.healing.failures import Kind

ATTEMPTS_LIMIT = 20
"""Attempts of one stream, whatever its route says: targets times attempts, and breaks that repeat, must come to an end."""

RETRY_AFTER_LIMIT = 60.0
"""Seconds of Retry-After that are waited where there is nobody else to ask; as long as the official SDKs wait. Beyond it the
error is the client's, who may know better what to do with the time."""

BREAKS_LIMIT = 5
"""Breaks after the first token that one stream may survive."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A route's rules. targets: how many; attempts: at most on one of them that bring nothing, and breaks of one that are gone on
    from; base, max: of the backoff, in seconds."""

    targets: int = 1
    attempts: int = 2
    base: float = 0.5
    max: float = 8.0


@dataclass(frozen=True, slots=True)
class Try:
    """One attempt that failed. target: its number; progressed: it brought content before it did."""

    target: int
    kind: Kind
    progressed: bool = False
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Again:
    """Ask a target, after so many seconds."""

    target: int
    wait: float = 0.0


@dataclass(frozen=True, slots=True)
class Stop:
    """Give up; why, in a few words."""

    why: str


type Step = Again | Stop


def first_target(policy: Policy, healthy: Callable[[int], bool]) -> int:
    """Whom to ask first: the first whose circuit breaker lets a request through, else the first of all."""
    return next((target for target in range(policy.targets) if healthy(target)), 0)


def next_step(
    policy: Policy,
    tries: Sequence[Try],
    *,
    left: float | None,
    jitter: float,
    healthy: Callable[[int], bool],
    may_retry: Callable[[int], bool],
    ruled_out: frozenset[int] = frozenset(),
) -> Step:
    """Decide what follows the last of `tries`.

    left: seconds that the stream still has, None without a limit. jitter: from [0, 1). healthy: whether a target's circuit
    breaker lets a request through; may_retry: takes a retry of this target from its budget, if there is one left.
    ruled_out: targets that cannot be asked this at all.
    """
    last = tries[-1]
    if last.kind == "final":
        return Stop("nobody would answer otherwise")
    if len(tries) >= ATTEMPTS_LIMIT or sum(t.progressed for t in tries) > BREAKS_LIMIT:
        return Stop("too many attempts have failed")
    if left is not None and left <= 0:
        return Stop("the time for the whole stream is over")
    later = _later(policy, tries, healthy, ruled_out)
    wait = _wait(policy, tries, jitter)
    if not _same_again(policy, tries, later is not None, wait) or (later is not None and not healthy(last.target)):
        return Again(later) if later is not None else Stop("no target is left")
    if left is not None and wait >= left:
        return Again(later) if later is not None else Stop("the wait would outlast the time for the whole stream")
    if not may_retry(last.target):
        return Again(later) if later is not None else Stop("the retry budget is used up")
    return Again(last.target, wait)


def _later(
    policy: Policy, tries: Sequence[Try], healthy: Callable[[int], bool], ruled_out: frozenset[int]
) -> int | None:
    """The next target in order that was never asked, then those before it, which others were asked in the place of: a healthy
    one if there is any, for an open breaker is no reason to give up."""
    last, known = tries[-1].target, ruled_out.union(tried.target for tried in tries)
    order = (*range(last + 1, policy.targets), *range(last))
    rest = [number for number in order if number not in known]
    return next((number for number in rest if healthy(number)), rest[0] if rest else None)


def _same_again(policy: Policy, tries: Sequence[Try], has_later: bool, wait: float) -> bool:
    """Whether the target that failed is the one to ask next."""
    last = tries[-1]
    if last.kind == "elsewhere":
        return False
    if last.kind == "silent" and (has_later or not last.progressed):
        return False
    failed = sum(t.target == last.target and not t.progressed for t in tries)
    broke = sum(t.target == last.target and t.progressed for t in tries)
    if failed >= policy.attempts or broke > policy.attempts:
        return False
    if last.retry_after is not None and last.retry_after > (policy.max if has_later else RETRY_AFTER_LIMIT):
        return False
    return wait <= RETRY_AFTER_LIMIT


def _wait(policy: Policy, tries: Sequence[Try], jitter: float) -> float:
    """Full jitter (AWS, "Exponential Backoff And Jitter"); a provider's Retry-After wins. Who broke off in the midst of an
    answer was up a moment ago, and somebody is reading: no wait."""
    last = tries[-1]
    if last.retry_after is not None:
        return last.retry_after
    if last.progressed:
        return 0.0
    failed = sum(t.target == last.target and not t.progressed for t in tries)
    return jitter * min(policy.max, policy.base * 2.0 ** (failed - 1))
