"""An intercepted request, changed no further than another delivery of its answer needs. Pure."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

from midstream.conversation import Inexpressible
from midstream.dialects import registry
from midstream.dialects.base import Dialect
from midstream.relay.upstream import UpstreamRequest
from midstream.relay.upstream_headers import Headers
from midstream.wire.json_text import dump_json

_LEFT_OUT = frozenset(
    (
        b"accept",
        b"accept-encoding",  # nobody but us reads the answer's body
        b"content-encoding",  # the body is sent decoded
        b"content-length",
        b"content-type",
        b"last-event-id",
        b"prefer",
        b"range",
    )
)
_LEFT_OUT_START = b"sec-websocket-"
_ADDED: Headers = ((b"content-type", b"application/json"), (b"accept", b"text/event-stream, application/json"))


def streaming(request: UpstreamRequest, dialect: Dialect) -> UpstreamRequest:
    """The same request, its body not encoded, for an answer that streams and reports its usage.

    What the dialect cannot read goes out as it is: its provider says what is wrong with it.
    """
    url, body = _streamed(request.url, request.body, dialect)
    kept = [
        (k, v)
        for k, v in request.headers
        if (low := k.lower()) not in _LEFT_OUT and not low.startswith(_LEFT_OUT_START)
    ]
    return replace(request, method="POST", url=url, headers=[*kept, *_ADDED], body=body)


def _streamed(url: str, body: bytes, dialect: Dialect) -> tuple[str, bytes]:
    said = registry.fields(body)
    if dialect.read_conversation is None or dialect.write_request is None:
        return url, body
    try:
        conversation = dialect.read_conversation(urlsplit(url).path, said)
        before = dialect.write_request(conversation)
        after = dialect.write_request(replace(conversation, stream=True, include_usage=True))
    except (ValueError, Inexpressible):
        return url, body
    changed = {k: v for k, v in after.body.items() if k not in before.body or before.body[k] != v}
    return _with_path(url, before.path, after.path), dump_json(said | changed).encode() if changed else body


def _with_path(url: str, before: str, after: str) -> str:
    """The URL, where a dialect says in its path whether the answer streams (Gemini), with the path's end changed alike."""
    same = next((i for i, (old, new) in enumerate(zip(before, after, strict=False)) if old != new), 0)
    path, _, query = url.partition("?")
    if before == after or not path.endswith(before[same:]):
        return url
    ending, _, more = after[same:].partition("?")
    joined = "&".join(filter(None, (query, more)))
    return path.removesuffix(before[same:]) + ending + (f"?{joined}" if joined else "")
