"""Where to connect to instead of the host and port asked for: curl's --connect-to, with globs. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import NamedTuple

OURS: set[tuple[str, int]] = set()
"""Addresses that midstream itself listens on: a connection to them goes nowhere else, whatever a spec says of any host."""

_HOST = r"(\[[^\]\[]*\]|[^:\[\]]*)"
_SPEC = re.compile(rf"{_HOST}:(\d*):{_HOST}:(\d*)")


class ConnectSpec(NamedTuple):
    """host, port: which connections ("" and 0: any). to_host, to_port: where they go ("" and 0: as asked for)."""

    host: str
    port: int
    to_host: str
    to_port: int

    def redirect(self, host: str, port: int) -> tuple[str, int] | None:
        """Return where a connection meant for this address goes, or None if it is none of ours."""
        if self.host and not fnmatchcase(host.lower().rstrip("."), self.host):
            return None
        if self.port and port != self.port:
            return None
        return self.to_host or host, self.to_port or port


def parse_spec(option: str) -> ConnectSpec:
    """Parse HOST1:PORT1:HOST2:PORT2. Raises ValueError."""
    match = _SPEC.fullmatch(option.strip())
    if match is None:
        raise ValueError("expected HOST1:PORT1:HOST2:PORT2")
    host, port, to_host, to_port = match.groups()
    for number in (port, to_port):
        if number and not 1 <= int(number) <= 65535:
            raise ValueError(f"{number} is no port")
    return ConnectSpec(host.strip("[]").lower(), int(port or 0), to_host.strip("[]"), int(to_port or 0))


def redirect(specs: Iterable[ConnectSpec], host: str, port: int) -> tuple[str, int] | None:
    """Return where the first spec that matches sends a connection, or None where it goes as asked."""
    if (host, port) in OURS:
        return None
    return next((target for spec in specs if (target := spec.redirect(host, port)) is not None), None)


class Fresh(tuple[str, int]):
    """An address equal to no other: mitmproxy allows 5 connections per client to one address, which would stall the sixth
    stream of an HTTP/2 client (`ConnectionHandler.max_conns`)."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)
