"""Where mitmweb's own page is served: `midstream run --web`."""

from __future__ import annotations

import socket

from midstream.cli.paths import LOOPBACK
from midstream.cli.settings import Settings

PORT = 8081
"""mitmweb's own choice."""

NEIGHBOURS = 100
"""Ports behind it that are tried, so that the page is where it was the last time."""


def page_port(settings: Settings) -> int | None:
    """The port for the page where mitmweb's own choice is one that the user has it listen on; None: it is well as it is."""
    if "web_port" in settings.names or PORT not in settings.ports:
        return None
    candidates = (port for port in range(PORT + 1, PORT + NEIGHBOURS) if port not in settings.ports)
    return next(filter(_is_free, candidates), None)


def _is_free(port: int) -> bool:
    try:
        socket.create_server((LOOPBACK, port)).close()
    except OSError:
        return False
    return True
