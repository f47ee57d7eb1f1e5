"""A request in a provider's words, with that provider's credential. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from midstream.config import Choice, Config, MissingKey, ProviderConfig, Route
from midstream.conversation import Conversation, Inexpressible
from midstream.dialects.base import Dialect
from midstream.dialects.registry import DIALECTS
from midstream.relay.access import Caller
from midstream.relay.refusal import Refusal
from midstream.relay.upstream import HOP_BY_HOP, Headers, UpstreamRequest
from midstream.wire.json_text import dump_json

BY_NAME: Mapping[str, Dialect] = {dialect.name: dialect for dialect in reversed(DIALECTS)}

_CREDENTIALS: Mapping[str, str] = {"anthropic_messages": "x-api-key", "gemini": "x-goog-api-key"}
"""Where a dialect's API wants its key, if not in `Authorization: Bearer`."""

_OWN_CREDENTIALS: Mapping[str, str] = {"azure": "api-key", "vertex": ""}
"""The same, for providers that differ from their dialect; "": a bearer token."""

_FIXED: Mapping[str, tuple[tuple[bytes, bytes], ...]] = {
    "anthropic_messages": ((b"anthropic-version", b"2023-06-01"),),
}
"""Headers without which an API refuses."""

_KEPT_BACK = HOP_BY_HOP | frozenset(
    (b"host", b"content-length", b"content-encoding", b"cookie", b"origin", b"referer", b"expect", b"forwarded")
)
_KEPT_BACK_START = (b"sec-", b"x-midstream-", b"x-forwarded-", b"access-control-")
_SECRET_HEADERS = frozenset((b"authorization", b"x-api-key", b"x-goog-api-key", b"api-key"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A request ready to be sent. model: as the provider is asked for it; dropped: what its dialect could not say."""

    provider: ProviderConfig
    dialect: Dialect
    route: Route
    model: str
    request: UpstreamRequest
    dropped: tuple[str, ...] = ()


def prepare(config: Config, choice: Choice, conversation: Conversation, caller: Caller) -> Prepared:
    """Write a conversation for the first target of the choice. Raises Refusal."""
    target = choice.targets[0]
    provider = config.provider(target.provider)
    dialect = BY_NAME.get(provider.dialect or "") if provider is not None else None
    if provider is None or dialect is None or dialect.write_request is None:
        raise Refusal(501, f"chats cannot be sent to {target.provider} yet", code="dialect_not_supported")
    asked = replace(conversation, model=target.model, stream=True, include_usage=True)
    try:
        written = dialect.write_request(asked)
    except Inexpressible as error:
        raise Refusal(400, f"{target.provider} cannot be asked this: {error}") from None
    request = UpstreamRequest(
        method="POST",
        url=provider.url(written.path),
        headers=[
            (b"content-type", b"application/json"),
            (b"accept", b"text/event-stream, application/json"),
            (b"user-agent", b"midstream"),
            *credential_headers(provider, dialect, caller),
            *_FIXED.get(dialect.name, ()),
        ],
        body=dump_json(dict(written.body)).encode(),
    )
    return Prepared(
        provider=provider,
        dialect=dialect,
        route=choice.route,
        model=target.model,
        request=request,
        dropped=written.dropped,
    )


def credential_headers(provider: ProviderConfig, dialect: Dialect, caller: Caller) -> Headers:
    """The provider's own key, or the caller's credential where none is configured and it is no gateway key."""
    try:
        configured = provider.credential()
    except MissingKey as error:
        raise Refusal(500, str(error), code="provider_key_missing", type="server_error") from None
    if configured is None and caller.key is not None:
        raise Refusal(
            500,
            f"no API key is configured for {provider.name}: a gateway key is never forwarded to a provider",
            code="provider_key_missing",
            type="server_error",
        )
    secret = configured or caller.credential
    if not secret or any(c < " " or c == "\x7f" for c in secret):
        return []
    name = _OWN_CREDENTIALS.get(provider.name, _CREDENTIALS.get(dialect.name, ""))
    value = secret.encode("utf-8", "surrogateescape")
    return [(name.encode(), value)] if name else [(b"authorization", b"Bearer " + value)]


def forwarded_headers(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """A client's headers as far as they concern the provider: none of its credentials, nothing of its browser or its hop."""
    return [
        (name, value)
        for name, value in headers
        if (lower := name.lower()) not in _KEPT_BACK
        and lower not in _SECRET_HEADERS
        and not lower.startswith(_KEPT_BACK_START)
    ]
