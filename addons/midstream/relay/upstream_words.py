"""What went wrong with a provider's connection, in words for a client and a row. Pure."""

from __future__ import annotations

import aiohttp


def reason_of(error: Exception, host: str) -> str:
    """What went wrong at this host, without aiohttp's own words: they name Python objects by their addresses."""
    if isinstance(error, aiohttp.ClientResponseError):  # its own words quote what was sent, and where to
        return f"{host}: its answer is not HTTP that can be read ({first_line(error.message)})"
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    words = (
        getattr(cause, "verify_message", None) or getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    )
    return f"{host}: {words}"


def first_line(text: str) -> str:
    """An error's first words, without the bytes that a parser quotes behind them."""
    return "".join(
        c
        for c in text.strip().split("\n", 1)[0].partition(": bytearray")[0].partition(": b'")[0][:80]
        if c.isprintable()
    )
