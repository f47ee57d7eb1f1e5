"""Headers on their way to a provider, and which of them go no further than the next hop. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from multidict import CIMultiDict

type Headers = Sequence[tuple[bytes, bytes]]

HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
"""RFC 9110 section 7.6.1: headers that concern one connection only."""


def request_headers(headers: Headers) -> CIMultiDict[str]:
    """As aiohttp takes them. It writes them as UTF-8, and leaves out what cannot be: bytes that are none become the characters
    that they are in Latin-1."""
    kept, cookies = CIMultiDict[str](), list[str]()
    for name, value in headers:
        lower, text = name.lower(), _text(value)
        if lower == b"cookie":
            cookies.append(
                text
            )  # of an HTTP/2 client they may come one by one, and go on in one line (RFC 9113, 8.2.3)
        elif lower not in HOP_BY_HOP and lower != b"content-length":
            kept.add(name.decode("latin-1"), text)
    if cookies:
        kept["Cookie"] = "; ".join(cookies)
    return kept


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
