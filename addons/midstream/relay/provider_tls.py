"""TLS with providers, as mitmproxy's options for the upstream side want it; sessions are taken up by later connections.

A provider then need not prove again who it is, which is most of what a handshake costs both sides; with TLS 1.2 that also saves a
round trip. asyncio has no way of its own to say so.
"""

from __future__ import annotations

import ssl
import time
from pathlib import Path

import certifi

HOSTS = 64
"""Hosts whose last session is kept; the one that was connected to longest ago goes first."""

ANEW = 300.0
"""Seconds that one session of a host is taken up. CPython (3.12 and 3.13, at least) never frees what `SSLObject.session` returns:
6.5 KiB each, which for every connection would be a leak."""


def client_context(trusted_ca: str, trusted_dir: str, certificate: str, *, insecure: bool) -> ssl.SSLContext:
    """For connections to providers. trusted_ca, trusted_dir: whom to trust instead of certifi's authorities; "": no such."""
    custom = trusted_ca or trusted_dir
    context = ssl.create_default_context(
        cafile=trusted_ca or (None if custom else certifi.where()), capath=trusted_dir or None
    )
    context.set_alpn_protocols(["http/1.1"])
    _take_up_sessions(context)
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate:
        context.load_cert_chain(certificate)
    return context


def client_certificate(path: str, host: str) -> str:
    """mitmproxy's rule for client_certs: a file serves every host, a folder holds HOST.pem."""
    if not path:
        return ""
    place = Path(path).expanduser()
    if place.is_dir():
        place = place / f"{host}.pem"
    return str(place) if place.is_file() else ""


def _take_up_sessions(context: ssl.SSLContext) -> None:
    """Have each new connection of this context take up a session of an earlier one to its host, if the host agrees."""
    sessions = _Sessions()

    class Resuming(ssl.SSLObject):
        begun = False

        def do_handshake(self) -> None:
            """Called again and again until it is done, and raises until then."""
            host = self.server_hostname or ""
            if not self.begun and (session := sessions.of(host, time.monotonic())) is not None:
                self.session = session
            self.begun = True
            super().do_handshake()
            sessions.note(host, self)

    context.sslobject_class = Resuming


class _Sessions:
    """The last connection to each host, and the session that is taken up: asked for seldom, see ANEW."""

    def __init__(self) -> None:
        self._last: dict[str, ssl.SSLObject] = {}
        self._taken: dict[str, tuple[float, ssl.SSLSession]] = {}

    def of(self, host: str, now: float) -> ssl.SSLSession | None:
        taken = self._taken.get(host)
        if taken is not None and now - taken[0] < ANEW:
            return taken[1]
        last = self._last.get(host)
        session = last.session if last is not None else None  # as of now: TLS 1.3 sends tickets behind the handshake
        if session is not None:
            self._taken[host] = now, session
        return session

    def note(self, host: str, connection: ssl.SSLObject) -> None:
        self._last.pop(host, None)
        while len(self._last) >= HOSTS:
            oldest = next(iter(self._last))
            del self._last[oldest]
            self._taken.pop(oldest, None)
        self._last[host] = connection
