"""Which request heads reach the relay's HTTP server: those that every HTTP implementation reads alike. Pure.

mitmproxy lets more through than an HTTP server takes: control characters, folded lines, heads of any size. What it would refuse
is refused here, in words that the client can use, so that nothing of a stranger's making is left to be guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from midstream.relay.refusal import Refusal, error_body

TARGET_LIMIT = 64 * 1024
"""Bytes of a request's path and query: a GET's `prompt=` is in it. 414 beyond."""

FIELD_LIMIT = 64 * 1024
"""Bytes of one header's value, as the providers' side has it. 431 beyond."""

HEADERS_LIMIT = 128 * 1024
"""Bytes of all headers together. 431 beyond."""

COUNT_LIMIT = 100
"""Headers of one request (Apache takes as many). 431 beyond."""

LENGTH_LIMIT = (1 << 63) - 1
"""What a Content-Length beyond it is taken for: no HTTP server counts further."""

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET = re.compile(rb"/[\x21-\x7e]*")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")


def fault_of(method: bytes, target: bytes, fields: Iterable[tuple[bytes, bytes]]) -> Refusal | None:
    """What is wrong with a head, if anything (RFC 9110 and 9112). target: in origin form."""
    if not _TOKEN.fullmatch(method):
        return Refusal(400, "the request's method is no HTTP token")
    if len(target) > TARGET_LIMIT:
        return Refusal(414, f"the path and query are longer than {TARGET_LIMIT} bytes: send a body by POST")
    if not _TARGET.fullmatch(target):
        return Refusal(400, "the path has characters that must be percent-encoded, or does not begin with a slash")
    count = size = 0
    for name, value in fields:
        count, size = count + 1, size + len(name) + len(value)
        if count > COUNT_LIMIT or size > HEADERS_LIMIT or len(value) > FIELD_LIMIT:
            return Refusal(
                431, f"more than {COUNT_LIMIT} headers, or {HEADERS_LIMIT} bytes of them", code="headers_too_large"
            )
        if not _TOKEN.fullmatch(name):
            return Refusal(400, "a header's name is no HTTP token")
        if not _VALUE.fullmatch(value):
            return Refusal(
                400, f"the header {name[:40].decode('ascii').lower()} has a control character or a line end in it"
            )
    return None


def countable(headers: Mapping[str, str], body: bytes | None = None) -> str:
    """The Content-Length to pass on instead of the one there is; "" where it can stay. It cannot for a body too large for
    anybody, and for one that is here whole: an HTTP/2 client may have declared another."""
    length = headers.get("content-length", "").lstrip("0")
    if body is not None and length:
        return str(len(body))
    return str(LENGTH_LIMIT) if length.isdecimal() and (len(length) > 19 or int(length) > LENGTH_LIMIT) else ""


def answer(refusal: Refusal) -> tuple[int, bytes, dict[str, str]]:
    """A refusal as a status, a body and headers, for whoever answers before the gateway could."""
    headers = {"content-type": "application/json", "cache-control": "no-store", "connection": "close"}
    return refusal.status, error_body(refusal.failure), headers
