"""What others serve on the gateway: the live page, its data, the metrics. Each path is served to whoever may use the gateway."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from aiohttp import web

from midstream.relay.access import Caller
from midstream.relay.exchange import Exchange

type Page = Callable[[Exchange, Caller], Awaitable[web.StreamResponse]]

PAGES: dict[str, Page] = {}
"""By path; one that ends in `/` stands for all below it, and the longest wins. Process-wide: addons are modules of their own."""

OPEN: set[str] = set()
"""Paths of PAGES that tell nothing of anybody: where the gateway has keys, they are served also without one, so that a page
can ask for it."""


def page_of(path: str) -> Page | None:
    """Who serves a path, if anybody but the gateway itself does."""
    if path in PAGES:
        return PAGES[path]
    above = [known for known in PAGES if known.endswith("/") and known != "/" and path.startswith(known)]
    return PAGES[max(above, key=len)] if above else None


@contextmanager
def serving(pages: dict[str, Page], *, without_key: frozenset[str] = frozenset()) -> Iterator[None]:
    """Serve these for the time of the block."""
    PAGES.update(pages)
    OPEN.update(without_key)
    try:
        yield
    finally:
        OPEN.difference_update(without_key)
        for path in pages:
            PAGES.pop(path, None)
