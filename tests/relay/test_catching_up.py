"""A client that mitmproxy buffers for is waited for, with ever longer pauses, and not for ever."""

from __future__ import annotations

import asyncio
import time

import pytest

from midstream.relay.catching_up import HELD_LIMIT, POLL, POLL_AT_MOST, catch_up


class Held:
    """What is held at each look, the last of it for ever; `pauses`: those between the looks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *sizes: int) -> None:
        self._sizes = list(sizes)
        self._now = 0.0
        self.pauses: list[float] = []
        monkeypatch.setattr(asyncio, "sleep", self._sleep)
        monkeypatch.setattr(time, "monotonic", lambda: self._now)

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self._now += seconds

    def __call__(self) -> int:
        return self._sizes.pop(0) if len(self._sizes) > 1 else self._sizes[0]


def test_what_is_within_the_limit_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(monkeypatch, HELD_LIMIT)
    asyncio.run(catch_up(held))
    assert held.pauses == []


def test_it_comes_down_to_half_and_pauses_grow_to_their_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(monkeypatch, *[HELD_LIMIT + 1] * 8, HELD_LIMIT // 2)
    asyncio.run(catch_up(held))
    assert held.pauses == [POLL, 2 * POLL, 4 * POLL, *[POLL_AT_MOST] * 4]


def test_a_client_that_takes_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(monkeypatch, 2 * HELD_LIMIT)
    with pytest.raises(TimeoutError):
        asyncio.run(catch_up(held, patience=1))
    assert 1 < sum(held.pauses) <= 1 + 2 * POLL_AT_MOST


def test_one_that_takes_little_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [3 * HELD_LIMIT - n for n in range(20)]
    held = Held(monkeypatch, *sizes, 0)
    asyncio.run(catch_up(held, patience=0.2))
    assert sum(held.pauses) > 1
