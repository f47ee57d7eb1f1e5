"""TLS with providers, as mitmproxy's options for the upstream side want it; sessions are taken up by later connections.

A provider then need not prove again who it is, which is most of what a handshake costs both sides; with TLS 1.2 that also saves a
round trip. asyncio has no way of its own to say so.
"""

from __future__ import annotations

import ssl
from pathlib import Path

import certifi

HOSTS = 64
"""Hosts whose last session is kept; the one that was connected to longest ago goes first."""


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
