"""TLS sessions, taken up by later connections: a provider need not prove again who it is, which is most of what a handshake costs
both sides; with TLS 1.2 that also saves a round trip. asyncio has no way of its own to say so."""

from __future__ import annotations

import ssl

HOSTS = 64
"""Hosts whose last session is kept; the one that was connected to longest ago goes first."""


def take_up_sessions(context: ssl.SSLContext) -> None:
    """Have each new connection of this context take up the session of the last one to its host, if the host agrees."""
    last: dict[str, ssl.SSLObject] = {}

    class Resuming(ssl.SSLObject):
        begun = False

        def do_handshake(self) -> None:
            """Called again and again until it is done, and raises until then."""
            host = self.server_hostname or ""
            before = last.get(host)
            if not self.begun and before is not None and before.session is not None:
                self.session = before.session  # as of now: TLS 1.3 sends tickets behind the handshake
            self.begun = True
            super().do_handshake()
            last.pop(host, None)
            while len(last) >= HOSTS:
                del last[next(iter(last))]
            last[host] = self

    context.sslobject_class = Resuming
