"""Circuit breakers and retry budgets, by a clock that is handed in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from midstream.healing.breakers import RESERVE, TARGETS_LIMIT, Breaker, Budget, Limits, Targets

LIMITS = Limits(failures=3, cool_down=10.0, budget=0.2)


def opened() -> Breaker:
    breaker = Breaker()
    for _ in range(3):
        breaker.fail(LIMITS, 0.0)
    return breaker


def test_it_opens_after_failures_in_a_row() -> None:
    breaker = Breaker()
    for _ in range(2):
        breaker.fail(LIMITS, 0.0)
    assert breaker.allows(LIMITS, 0.0)
    breaker.fail(LIMITS, 0.0)
    assert breaker.state(LIMITS, 0.0) == "open"
    assert not breaker.allows(LIMITS, 9.9)


def test_a_success_between_them_starts_the_count_anew() -> None:
    breaker = Breaker()
    for _ in range(10):
        breaker.fail(LIMITS, 0.0)
        breaker.fail(LIMITS, 0.0)
        breaker.succeed()
    assert breaker.state(LIMITS, 0.0) == "closed"


def test_after_the_cool_down_one_probe_goes_through_and_no_second() -> None:
    breaker = opened()
    assert breaker.state(LIMITS, 10.0) == "half_open"
    assert breaker.allows(LIMITS, 10.0)
    breaker.begin(LIMITS, 10.0)
    assert not breaker.allows(LIMITS, 10.1)


def test_the_probe_closes_it_or_opens_it_again() -> None:
    breaker = opened()
    breaker.begin(LIMITS, 10.0)
    breaker.fail(LIMITS, 11.0)
    assert breaker.state(LIMITS, 20.9) == "open"
    breaker.begin(LIMITS, 21.0)
    breaker.succeed()
    assert breaker.state(LIMITS, 21.0) == "closed"


def test_a_probe_whose_client_left_does_not_keep_the_door_shut() -> None:
    breaker = opened()
    breaker.leave(breaker.begin(LIMITS, 10.0))
    assert breaker.allows(LIMITS, 10.1)
    breaker.begin(LIMITS, 10.1)
    assert breaker.allows(LIMITS, 20.2)  # it never came back at all


def test_nobody_but_the_probe_ends_the_probe() -> None:
    """A client that leaves a stream begun before the failures, or asked for because there was nobody else, says nothing of it."""
    breaker = Breaker()
    long = breaker.begin(LIMITS, 0.0)
    for _ in range(3):
        breaker.fail(LIMITS, 0.0)
    breaker.leave(breaker.begin(LIMITS, 1.0))  # while it is open, for want of another target
    probe = breaker.begin(LIMITS, 10.0)
    beside = breaker.begin(LIMITS, 10.0)
    for other in (long, beside):
        breaker.leave(other)
        assert not breaker.allows(LIMITS, 10.1)
    breaker.leave(probe)
    assert breaker.allows(LIMITS, 10.1)


def test_a_probe_that_was_forgotten_does_not_end_the_one_after_it() -> None:
    breaker = opened()
    forgotten = breaker.begin(LIMITS, 10.0)
    breaker.begin(LIMITS, 20.1)
    breaker.leave(forgotten)
    assert not breaker.allows(LIMITS, 20.2)


@given(st.lists(st.tuples(st.sampled_from(["deposit", "retry"]), st.floats(0, 5)), max_size=200))
def test_retries_never_exceed_their_share_and_the_reserve(steps: list[tuple[str, float]]) -> None:
    now, budget, requests, retries = 0.0, Budget(0.0), 0, 0
    for what, pause in steps:
        now += pause
        if what == "deposit":
            budget.deposit(LIMITS)
            requests += 1
        else:
            retries += budget.withdraw(LIMITS, now)
    assert retries <= LIMITS.budget * requests + RESERVE + now


def test_a_storm_of_failures_is_not_doubled() -> None:
    budget, retries = Budget(0.0), 0
    for _ in range(1_000):
        budget.deposit(LIMITS)
        retries += budget.withdraw(LIMITS, 0.0)
    assert 200 <= retries <= 200 + RESERVE + 1


def test_no_budget_allows_no_retry() -> None:
    assert not Budget(0.0).withdraw(Limits(budget=0.0), 100.0)


def test_only_so_many_targets_are_remembered() -> None:
    targets = Targets()
    kept = targets.of("kept", 0.0)
    for number in range(TARGETS_LIMIT * 2):
        targets.of(number, 0.0)
        assert targets.of("kept", 0.0) is kept
    assert len(list(targets.breakers())) == TARGETS_LIMIT
