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


def test_the_whole_time_is_still_up_after_a_piece_that_came_in_that_turn() -> None:
    async def read() -> None:
        loop = asyncio.get_running_loop()
        came = loop.create_future()
        async with asyncio.timeout(None) as timeout:
            clock = ProgressClock(timeout)
            clock.limit(0.0)
            loop.call_soon(came.set_result, None)
            await came
            clock.pause()
            clock.go_on()
            await asyncio.sleep(30)

    with pytest.raises(TimeoutError):
        asyncio.run(read())


def test_while_the_client_is_written_to_no_time_passes() -> None:
    async def read() -> None:
        async with asyncio.timeout(None) as timeout:
            clock = ProgressClock(timeout)
            clock.allow(0.05, "idle_timeout")
            clock.pause()
            await asyncio.sleep(0.2)
            clock.go_on()
            await asyncio.sleep(0)
            clock.allow(None, "idle_timeout")  # what came next

    asyncio.run(read())
