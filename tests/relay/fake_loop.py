"""An event loop whose clock a test turns, and whose threads do their work at once: the same steps lead to the same state."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

TURNS = 60
"""Of the loop, until all that can happen without the clock has happened: no chain of wake-ups here is longer."""


class FakeLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def time(self) -> float:
        return self.now

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def settle(self) -> None:
        """Let everything happen that waits for nobody."""
        self.run_until_complete(_turns())

    def advance(self, seconds: float) -> None:
        self.now += seconds
        self.settle()

    def do[T](self, work: Callable[[], T]) -> T:
        """Call what wants a running loop, then settle."""

        async def call() -> T:
            return work()

        result = self.run_until_complete(call())
        self.settle()
        return result


async def _turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)
