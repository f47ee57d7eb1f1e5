"""What follows a failure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midstream.healing.failures import Kind
from midstream.healing.plan import ATTEMPTS_LIMIT, Again, Policy, Step, Stop, Try, first_target, next_step

TWO = Policy(targets=2, attempts=3, base=0.5, max=8.0)
ALONE = Policy(targets=1, attempts=2, base=0.5, max=8.0)


def after(
    *tries: Try,
    policy: Policy = TWO,
    left: float | None = None,
    jitter: float = 0.5,
    sick: frozenset[int] = frozenset(),
    budget: bool = True,
    ruled_out: frozenset[int] = frozenset(),
) -> Step:
    return next_step(
        policy,
        tries,
        left=left,
        jitter=jitter,
        healthy=lambda target: target not in sick,
        may_retry=lambda _: budget,
        ruled_out=ruled_out,
    )


FAILED = Try(0, "transient")


def test_the_same_target_is_asked_again_while_attempts_last_then_the_next() -> None:
    assert after(FAILED) == Again(0, 0.25)
    assert after(FAILED, FAILED) == Again(0, 0.5)
    assert after(FAILED, FAILED, FAILED) == Again(1)
    second = Try(1, "transient")
    assert after(FAILED, FAILED, FAILED, second, second) == Again(1, 0.5)
    assert isinstance(after(FAILED, FAILED, FAILED, second, second, second), Stop)


def test_backoff_is_full_jitter_and_has_a_ceiling() -> None:
    many = Policy(attempts=20, base=1.0, max=4.0)
    waits = [after(*[FAILED] * n, policy=many, jitter=0.999) for n in range(1, 6)]
    assert [round(w.wait) for w in waits if isinstance(w, Again)] == [1, 2, 4, 4, 4]
    assert after(FAILED, policy=many, jitter=0.0) == Again(0, 0.0)


def test_retry_after_wins_over_the_backoff() -> None:
    assert after(Try(0, "transient", retry_after=2.0), jitter=0.0) == Again(0, 2.0)


def test_a_long_retry_after_is_not_waited_for_where_another_can_be_asked() -> None:
    long = Try(0, "transient", retry_after=30.0)
    assert after(long) == Again(1)
    assert after(long, policy=ALONE) == Again(0, 30.0)
    assert isinstance(after(Try(0, "transient", retry_after=3600.0), policy=ALONE), Stop)


def test_a_silent_target_is_left_for_the_next_and_never_asked_again() -> None:
    assert after(Try(0, "silent")) == Again(1)
    assert isinstance(after(Try(0, "silent"), policy=ALONE), Stop)


def test_a_target_that_stalled_in_the_midst_of_an_answer_is_asked_again_if_there_is_no_other() -> None:
    stalled = Try(0, "silent", progressed=True)
    assert after(stalled) == Again(1)
    assert after(stalled, policy=ALONE) == Again(0, 0.0)


def test_breaks_are_counted_apart_from_attempts_that_brought_nothing() -> None:
    broke = Try(0, "transient", progressed=True)
    assert after(broke, FAILED, FAILED) == Again(0, 0.5)
    assert after(broke, broke, broke) == Again(0)
    assert after(broke, broke, broke, broke) == Again(1)


def test_after_a_break_nobody_waits() -> None:
    assert after(Try(0, "transient", progressed=True), jitter=0.9) == Again(0, 0.0)


def test_what_another_may_take_goes_there_at_once() -> None:
    assert after(Try(0, "elsewhere")) == Again(1)
    assert isinstance(after(Try(0, "elsewhere"), policy=ALONE), Stop)


def test_what_is_final_ends_it() -> None:
    assert isinstance(after(Try(0, "final")), Stop)


def test_an_open_breaker_sends_on_but_is_no_reason_to_give_up() -> None:
    assert after(FAILED, sick=frozenset({0})) == Again(1)
    assert after(FAILED, sick=frozenset({0}), policy=ALONE) == Again(0, 0.25)
    three = Policy(targets=3)
    assert after(Try(0, "elsewhere"), policy=three, sick=frozenset({1})) == Again(2)
    assert after(Try(0, "elsewhere"), policy=three, sick=frozenset({1, 2})) == Again(1)


def test_who_was_not_asked_first_for_an_open_breaker_is_asked_before_all_is_given_up() -> None:
    three = Policy(targets=3)
    assert after(Try(1, "elsewhere"), sick=frozenset({0})) == Again(0)
    assert after(Try(1, "silent"), sick=frozenset({0})) == Again(0)
    assert after(Try(1, "elsewhere"), policy=three, sick=frozenset({0})) == Again(2)
    assert after(Try(1, "elsewhere"), policy=three, sick=frozenset({0, 2})) == Again(2)
    assert after(Try(1, "elsewhere"), policy=three, sick=frozenset({2})) == Again(0)
    assert after(Try(1, "elsewhere"), Try(2, "elsewhere"), policy=three, sick=frozenset({0})) == Again(0)
    assert after(Try(0, "elsewhere"), Try(2, "elsewhere"), policy=three, sick=frozenset({1})) == Again(1)
    assert isinstance(after(Try(1, "elsewhere"), ruled_out=frozenset({0})), Stop)


def test_nobody_is_gone_back_to() -> None:
    assert isinstance(after(Try(1, "elsewhere"), Try(0, "elsewhere")), Stop)
    assert isinstance(after(Try(0, "transient"), Try(1, "elsewhere")), Stop)


def test_a_target_that_cannot_be_asked_this_is_passed_over() -> None:
    three = Policy(targets=3)
    assert after(Try(0, "elsewhere"), policy=three, ruled_out=frozenset({1})) == Again(2)
    assert isinstance(after(Try(0, "elsewhere"), ruled_out=frozenset({1})), Stop)


def test_without_retry_budget_only_the_next_target_is_asked() -> None:
    assert after(FAILED, budget=False) == Again(1)
    assert isinstance(after(FAILED, budget=False, policy=ALONE), Stop)


def test_the_budget_is_not_touched_by_what_is_no_retry() -> None:
    taken: list[int] = []

    def may_retry(target: int) -> bool:
        taken.append(target)
        return True

    for tried in (Try(0, "elsewhere"), Try(0, "silent"), Try(0, "final")):
        next_step(TWO, [tried], left=None, jitter=0.0, healthy=lambda _: True, may_retry=may_retry)
    assert not taken


def test_the_time_for_the_whole_stream_bounds_the_waits() -> None:
    assert isinstance(after(FAILED, left=0.0), Stop)
    slow = Try(0, "transient", retry_after=5.0)
    assert after(slow, left=4.0) == Again(1)
    assert isinstance(after(slow, left=4.0, policy=ALONE), Stop)
    assert after(slow, left=6.0, policy=ALONE) == Again(0, 5.0)


def test_the_first_target_is_the_first_healthy_one() -> None:
    assert first_target(TWO, lambda _: True) == 0
    assert first_target(TWO, lambda target: target == 1) == 1
    assert first_target(TWO, lambda _: False) == 0


KINDS: tuple[Kind, ...] = ("transient", "silent", "elsewhere", "final")


@given(
    st.integers(1, 4),
    st.integers(1, 20),
    st.lists(st.tuples(st.sampled_from(KINDS), st.booleans(), st.none() | st.floats(0, 100)), min_size=60, max_size=60),
    st.sets(st.integers(0, 3)),
)
def test_every_stream_comes_to_an_end(
    targets: int, attempts: int, fates: list[tuple[Kind, bool, float | None]], sick: set[int]
) -> None:
    """Whatever goes wrong: attempts are bounded, on each target and in all. A target that was left is never gone back to; one
    that was passed over for its open breaker may be asked after those behind it, and is, before all is given up."""
    policy, tries = Policy(targets, attempts), list[Try]()
    step: Step = Again(first_target(policy, lambda t: t not in sick))
    for kind, progressed, wait in fates:
        if isinstance(step, Stop):
            break
        left = {tried.target for tried in tries} - {tries[-1].target if tries else None}
        assert step.target not in left
        assert 0 <= step.wait <= 60
        tries.append(Try(step.target, kind, progressed, wait))
        step = after(*tries, policy=policy, sick=frozenset(sick))
    assert isinstance(step, Stop)
    assert len(tries) <= ATTEMPTS_LIMIT
    if step.why == "no target is left":
        assert {tried.target for tried in tries} == set(range(targets))
    for number in range(targets):
        mine = [t for t in tries if t.target == number]
        assert sum(not t.progressed for t in mine) <= attempts
        assert sum(t.progressed for t in mine) <= attempts + 1


@pytest.mark.parametrize("progressed", [True, False])
def test_breaks_without_end_are_not_healed_without_end(*, progressed: bool) -> None:
    broken = Try(0, "transient", progressed=progressed)
    many = Policy(attempts=20)
    assert isinstance(after(*[broken] * (6 if progressed else 20), policy=many), Stop)
