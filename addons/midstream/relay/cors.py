"""Which web pages may call the gateway, and the headers that tell their browsers so (Fetch standard, "CORS protocol"). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from midstream.config import Gateway

EXPOSED = "X-Stream-Id, X-Midstream-Target, X-Midstream-Dropped, Location, Content-Range, Retry-After"
"""Response headers that a page's script may read."""

METHODS = "GET, POST, DELETE, OPTIONS"
HEADERS = "Authorization, Content-Type, Accept, Last-Event-ID, Prefer, Range, Cache-Control, Idempotency-Key"
MAX_AGE = 600
"""Seconds a browser may remember a preflight's answer: a change of configuration takes no longer."""

HEADERS_LENGTH = 2000
_NAMES = re.compile(r"[\w!#$%&'*+.^`|~-]+(\s*,\s*[\w!#$%&'*+.^`|~-]+)*", re.ASCII)


def allowed(gateway: Gateway, origin: str, authority: str, *, site: str = "") -> bool:
    """Whether a request may be answered, by where a browser says that it comes from.

    origin: the Origin header, "" where there is none (not a page's script, or a same-origin GET). authority: the gateway's own
    host and port, as it was addressed; http or https, since TLS may end at another proxy. site: Sec-Fetch-Site, which also
    tells of the requests that have no Origin (an <img> of another site's page).
    """
    if not origin:
        return site.lower() not in ("cross-site", "same-site")
    return any(gateway.allows_origin(origin, f"{scheme}://{authority}") for scheme in ("http", "https"))


def headers(origin: str) -> dict[str, str]:
    """The headers of an answer to an allowed origin ("": none asked)."""
    if not origin:
        return {"Vary": "Origin"}
    return {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": EXPOSED, "Vary": "Origin"}


def preflight(origin: str, asked: Mapping[str, str]) -> dict[str, str]:
    """The headers that answer an allowed origin's preflight. asked: its Access-Control-Request-… headers, in lower case."""
    names = asked.get("access-control-request-headers", "").strip()
    wanted = names if len(names) <= HEADERS_LENGTH and _NAMES.fullmatch(names) else HEADERS
    answer = headers(origin) | {
        "Access-Control-Allow-Methods": METHODS,
        "Access-Control-Allow-Headers": wanted,
        "Access-Control-Max-Age": str(MAX_AGE),
    }
    if asked.get("access-control-request-private-network", "") == "true":
        answer["Access-Control-Allow-Private-Network"] = "true"
    return answer
