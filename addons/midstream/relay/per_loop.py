"""What the streams of one event loop share: its turns, its pace to disk. A test has a loop of its own."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, Self
from weakref import WeakKeyDictionary


class PerLoop:
    """A base: `here` is the running event loop's own, made when it is first asked for, and gone with the loop."""

    _of_loop: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, Any]]

    def __init_subclass__(cls) -> None:
        cls._of_loop = WeakKeyDictionary()

    @classmethod
    def here(cls) -> Self:
        """Raises RuntimeError where no event loop runs."""
        loop = asyncio.get_running_loop()
        found: Self | None = cls._of_loop.get(loop)
        if found is None:
            found = cls._of_loop[loop] = cls()
        return found
