"""New clients come in one by one while the event loop is busy, and at once while it is not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from midstream.arrivals import AT_MOST, LOOK, QUIET, Arrivals
from relay.fake_loop import FakeLoop


@pytest.fixture
def loop() -> Iterator[FakeLoop]:
    loop = FakeLoop()
    yield loop
    loop.close()


class Clients:
    """Some that arrive, and those of them who have come in."""

    def __init__(self, loop: FakeLoop) -> None:
        self.inside: list[int] = []
        self.tasks: list[asyncio.Task[None]] = []
        self._loop = loop
        self._arrivals = Arrivals(lambda: self.worked)
        self.worked = 0.0

    def arrive(self, count: int) -> None:
        def all_at_once() -> None:
            self.tasks += [asyncio.create_task(self._arrive(len(self.tasks) + n)) for n in range(count)]

        self._loop.do(all_at_once)

    async def _arrive(self, number: int) -> None:
        await self._arrivals.turn()
        self.inside.append(number)


def test_who_is_alone_comes_in_at_once(loop: FakeLoop) -> None:
    clients = Clients(loop)
    for number in range(3):
        clients.arrive(1)
        assert len(clients.inside) == number + 1
        loop.advance(1.0)


@pytest.mark.parametrize("late", [0.0, 1.0])
def test_of_many_each_look_lets_one_in_while_the_loop_has_time(loop: FakeLoop, late: float) -> None:
    """However late the look is: what else the machine does is no reason to wait."""
    clients = Clients(loop)
    clients.arrive(4)
    for number in range(4):
        assert clients.inside == list(range(number + 1))
        clients.worked += QUIET / 2
        loop.advance(LOOK + late)


def test_while_the_loop_is_busy_the_next_waits_but_not_for_ever(loop: FakeLoop) -> None:
    clients, step = Clients(loop), LOOK + QUIET
    clients.arrive(2)
    until = loop.now + AT_MOST
    while loop.now + step < until:
        clients.worked += 2 * QUIET
        loop.advance(step)
        assert clients.inside == [0]
    clients.worked += 2 * QUIET
    loop.advance(step)
    assert clients.inside == [0, 1]


def test_who_has_left_keeps_nobody_waiting(loop: FakeLoop) -> None:
    clients = Clients(loop)
    clients.arrive(3)
    loop.do(clients.tasks[1].cancel)
    loop.advance(LOOK)
    assert clients.inside == [0, 2]


def test_once_all_are_in_nothing_is_looked_at_any_more(loop: FakeLoop) -> None:
    clients = Clients(loop)
    clients.arrive(2)
    loop.advance(LOOK)
    loop.advance(LOOK)
    assert clients.inside == [0, 1]
    assert not loop._scheduled  # type: ignore[attr-defined]  # its timers
