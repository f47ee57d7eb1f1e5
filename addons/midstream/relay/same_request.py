"""Whether a request is another try of an earlier one. Pure."""

from __future__ import annotations

import hashlib
import secrets
import struct

from midstream.relay.upstream import UpstreamRequest
from midstream.relay.upstream_headers import HOP_BY_HOP

IDEMPOTENCY_KEY = b"idempotency-key"
RETRY_COUNT = b"x-stainless-retry-count"

VARYING = HOP_BY_HOP | {
    RETRY_COUNT,
    b"content-length",
    b"date",
    b"x-request-id",
    b"x-client-request-id",
    b"x-correlation-id",
    b"traceparent",
    b"tracestate",
    b"baggage",
    b"b3",
    b"sentry-trace",
    b"uber-trace-id",
    b"x-amzn-trace-id",
    b"x-cloud-trace-context",
    b"x-datadog-trace-id",
    b"x-datadog-parent-id",
}
"""Headers that differ between two tries of one request. All others must be equal: they may be a credential, or shape the answer
(Accept-Encoding, anthropic-beta). So a request that is signed anew for each try (AWS) is never taken for a retry."""

_SALT = secrets.token_bytes(32)


def identity(request: UpstreamRequest) -> bytes:
    """A digest that two tries of one request share, and no two requests; it tells nothing of what is in them."""
    headers = sorted((name.lower(), value) for name, value in request.headers if name.lower() not in VARYING)
    parts = [request.method.encode(), request.url.encode("utf-8", "surrogatepass"), request.body]
    digest = hashlib.blake2b(key=_SALT, digest_size=32)
    for part in [*parts, *(text for header in headers for text in header)]:
        digest.update(struct.pack("!Q", len(part)))
        digest.update(part)
    return digest.digest()


def has_idempotency_key(request: UpstreamRequest) -> bool:
    """Whether its sender names what it asks for: whoever asks for it again wants the same answer."""
    return any(name.lower() == IDEMPOTENCY_KEY and value.strip() for name, value in request.headers)


def is_retry(request: UpstreamRequest) -> bool:
    """Whether this may be another try of a request with the same identity (which has the same Idempotency-Key, or none)."""
    counts = (value.strip() for name, value in request.headers if name.lower() == RETRY_COUNT)
    return has_idempotency_key(request) or any(count.isdigit() and count.strip(b"0") for count in counts)
