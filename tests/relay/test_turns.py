"""Turns on one event loop: a little at a time, and whoever has had least goes first."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import Any

import pytest

from midstream.relay.turns import QUANTUM, SMALL, Share, Turns


def run[T](work: Coroutine[None, None, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, 30))


async def greedy(name: str, granted: list[str], times: int, size: int = QUANTUM) -> None:
    """Always wants more."""
    share = Share()
    for _ in range(times):
        await Turns.here().take(share, size)
        granted.append(name)


def test_a_few_bytes_need_no_turn() -> None:
    async def work() -> None:
        crowd = [asyncio.create_task(greedy(str(n), [], 5)) for n in range(20)]
        await asyncio.sleep(0)
        with pytest.raises(StopIteration):  # it has ended without having waited
            Turns.here().take(Share(), SMALL).send(None)
        await asyncio.gather(*crowd)

    run(work())


def test_who_is_alone_need_not_wait() -> None:
    async def work() -> None:
        with pytest.raises(StopIteration):
            Turns.here().take(Share(), QUANTUM).send(None)

    run(work())


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_no_more_than_a_quantum_has_its_turn_while_the_event_loop_goes_round_once(parts: int) -> None:
    async def work() -> list[int]:
        granted, each = list[str](), list[int]()
        crowd = [asyncio.create_task(greedy(str(n), granted, 4, QUANTUM // parts)) for n in range(20)]
        while not all(task.done() for task in crowd):
            before = len(granted)
            await asyncio.sleep(0)
            each.append(len(granted) - before)
        return each

    each = run(work())
    assert max(each) <= parts
    assert sum(each) == 80


def test_what_is_due_now_and_then_goes_before_all_that_are_behind() -> None:
    async def work() -> list[int]:
        granted = list[str]()
        crowd = [asyncio.create_task(greedy(f"crowd {n}", granted, 50)) for n in range(50)]
        share, waited = Share(), list[int]()
        while len(granted) < 2000:
            await asyncio.sleep(0)
            if len(granted) % 100 == 0:
                before = len(granted)
                await Turns.here().take(share, SMALL + 1)
                waited.append(len(granted) - before)
        await asyncio.gather(*crowd)
        return waited

    waited = run(work())
    assert len(waited) > 5
    assert max(waited) <= 2  # of 50


def test_who_wants_all_they_can_get_have_the_same() -> None:
    async def work() -> Counter[str]:
        granted = list[str]()
        sizes = {f"{n} of {QUANTUM // parts}": QUANTUM // parts for parts in (1, 2, 3) for n in range(10)}
        crowd = [asyncio.create_task(greedy(name, granted, 1000, size)) for name, size in sizes.items()]
        while len(granted) < 2000:  # noqa: ASYNC110 - turns of the event loop are what is tested
            await asyncio.sleep(0)
        for task in crowd:
            task.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)
        return Counter({name: granted.count(name) * size for name, size in sizes.items()})

    had = run(work())
    assert max(had.values()) - min(had.values()) <= 2 * QUANTUM


def test_nobody_saves_up_turns() -> None:
    async def work() -> list[str]:
        granted, late = list[str](), Share()
        await Turns.here().take(late, QUANTUM)
        await greedy("busy", granted, 100)
        granted.clear()
        busy = asyncio.create_task(greedy("busy", granted, 20))

        async def catch_up() -> None:
            for _ in range(20):
                await Turns.here().take(late, QUANTUM)
                granted.append("late")

        await asyncio.gather(busy, catch_up())
        return granted

    first = run(work())[:10]
    assert 4 <= first.count("late") <= 6


def test_who_leaves_while_waiting_holds_nobody_up() -> None:
    async def work() -> list[str]:
        granted = list[str]()
        leaving = [asyncio.create_task(greedy("leaving", granted, 1)) for _ in range(10)]
        staying = [asyncio.create_task(greedy("staying", granted, 1)) for _ in range(3)]
        await asyncio.sleep(0)
        for task in leaving:
            task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)
        await asyncio.gather(*staying)
        return granted

    assert run(work()).count("staying") == 3


def test_each_event_loop_has_turns_of_its_own() -> None:
    async def leave_in_the_middle() -> Turns:
        tasks: list[asyncio.Task[Any]] = [asyncio.create_task(greedy("", [], 9)) for _ in range(9)]
        await asyncio.sleep(0)
        del tasks
        return Turns.here()

    first = run(leave_in_the_middle())
    assert run(leave_in_the_middle()) is not first
