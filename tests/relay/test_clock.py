"""Time that is up in the very turn of the event loop in which something comes: what came is not lost."""

from __future__ import annotations

import asyncio

import pytest

from midstream.relay.clock import ProgressClock


def test_what_came_in_time_is_written_although_time_was_up_meanwhile() -> None:
    written = list[str]()

    async def write() -> None:
        await asyncio.sleep(0)  # as a log that has to make room first
        written.append("piece")

    async def read() -> None:
        loop = asyncio.get_running_loop()
        came = loop.create_future()
        async with asyncio.timeout(None) as timeout:
            clock = ProgressClock(timeout)
            clock.allow(0.0, "idle_timeout")  # is up as soon as the event loop comes round
            loop.call_soon(came.set_result, None)
            await came
            clock.pause()
            await write()
            clock.go_on()
            await asyncio.sleep(30)  # nothing more comes

    with pytest.raises(TimeoutError):
        asyncio.run(read())
    assert written == ["piece"]


def test_time_that_is_up_while_nothing_comes_ends_the_wait() -> None:
    async def read() -> None:
        async with asyncio.timeout(None) as timeout:
            ProgressClock(timeout).allow(0.0, "idle_timeout")
            await asyncio.sleep(30)

    with pytest.raises(TimeoutError):
        asyncio.run(read())
