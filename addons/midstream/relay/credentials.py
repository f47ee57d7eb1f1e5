"""Which credential goes to a provider, in which header; and what of a client's headers goes nowhere. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from midstream.config import MissingKey, ProviderConfig
from midstream.dialects.base import Dialect
from midstream.providers import CHAT_APIS, provider_of
from midstream.redaction import is_secret_header
from midstream.relay import asked
from midstream.relay.access import Caller
from midstream.relay.refusal import Refusal
from midstream.relay.upstream import UpstreamRequest
from midstream.relay.upstream_headers import HOP_BY_HOP, Headers

_CREDENTIALS: Mapping[str, str] = {
    "anthropic_messages": "x-api-key",
    "anthropic_complete": "x-api-key",
    "gemini": "x-goog-api-key",
    "gemini_interactions": "x-goog-api-key",
}
"""Where a dialect's API wants its key, if not in `Authorization: Bearer`."""

_OWN_CREDENTIALS: Mapping[str, str] = {"azure": "api-key", "vertex": ""}
"""The same, for providers that differ from their dialect; "": a bearer token."""

_KEPT_BACK = HOP_BY_HOP | frozenset(
    (b"host", b"content-length", b"content-encoding", b"cookie", b"origin", b"referer", b"expect", b"forwarded")
)
_KEPT_BACK_START = (b"sec-", b"x-midstream-", b"x-forwarded-", b"x-amz-", b"access-control-")
_KEY_HEADERS = (b"api-key", b"x-api-key", b"x-goog-api-key", b"ocp-apim-subscription-key")
_SECRET_HEADERS = frozenset((b"authorization", *_KEY_HEADERS))

_ACCOUNT_HEADERS = frozenset(
    (b"cookie", b"openai-organization", b"openai-project", b"chatgpt-account-id", b"x-goog-user-project")
)
"""What names the account of the caller's key: beside a key of another account providers refuse it."""

_EVERYBODYS = ("azure", "crusoe", "ovhcloud", "snowflake")
"""Providers under whose built-in globs any customer has hosts: a key goes to those that the configuration names outright."""


def credential_headers(provider: ProviderConfig, dialect: Dialect, caller: Caller) -> Headers:
    """The provider's own key, or the caller's credential where none is configured and it is no gateway key."""
    configured = _configured(provider)
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
    host = urlsplit(provider.base_url or "").hostname or ""
    return [_header(secret, _place(provider, dialect, host, None))]


def with_credential(request: UpstreamRequest, provider: ProviderConfig, dialect: Dialect) -> UpstreamRequest:
    """An intercepted request with the provider's configured key in place of the caller's credential, wherever that was.

    As it is where no key is configured, where the caller signed it (AWS), and where the key would go in the clear or to a host
    that is another customer's. Raises Refusal (500) if the key is to come from an environment variable that does not have one.
    """
    if provider.api_key is None or _signed(request) or not _trusted(provider, request.url):
        return request
    secret = _configured(provider) or ""
    place = _place(provider, dialect, urlsplit(request.url).hostname or "", _place_of_theirs(request))
    taken = _SECRET_HEADERS | _ACCOUNT_HEADERS
    kept = [(name, value) for name, value in request.headers if name.lower() not in taken]
    return replace(request, url=asked.split_secrets(request.url)[0], headers=[*kept, _header(secret, place)])


def forwarded_headers(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """A client's headers as far as they concern whichever provider: none of its credentials, nor of what names its account, be
    they for a gateway on the way (`Helicone-Auth`) or for the provider that it asked; nothing of its browser or its hop."""
    return [
        (name, value)
        for name, value in headers
        if (lower := name.lower()) not in _KEPT_BACK
        and not lower.startswith(_KEPT_BACK_START)
        and not is_secret_header(lower.decode("latin-1"))
    ]


def _configured(provider: ProviderConfig) -> str | None:
    try:
        return provider.credential()
    except MissingKey as error:
        raise Refusal(500, str(error), code="provider_key_missing", type="server_error") from None


def _place(provider: ProviderConfig, dialect: Dialect, host: str, theirs: str | None) -> str:
    """The header that takes the key; "": `Authorization: Bearer`. theirs: the same of the caller's own, None if there is none.

    A dialect tells where the API wants it that the dialect is named after. A server of another's that speaks it too wants its
    key where its clients put theirs: OpenRouter takes Anthropic's messages with a bearer token.
    """
    known = provider_of(host)
    name = known.name if known is not None and provider.name not in CHAT_APIS else provider.name
    if name in _OWN_CREDENTIALS:
        return _OWN_CREDENTIALS[name]
    api = CHAT_APIS.get(name)
    official = api is not None and api.dialect == dialect.name
    return _CREDENTIALS.get(dialect.name, "") if official or theirs is None else theirs


def _place_of_theirs(request: UpstreamRequest) -> str | None:
    names = {name.lower() for name, _ in request.headers}
    key = next((name.decode() for name in _KEY_HEADERS if name in names), None)
    return "" if key is None and b"authorization" in names else key


def _header(secret: str, name: str) -> tuple[bytes, bytes]:
    value = secret.encode("utf-8", "surrogateescape")
    return (name.encode(), value) if name else (b"authorization", b"Bearer " + value)


def _signed(request: UpstreamRequest) -> bool:
    """Whether it carries an AWS signature (version 4), made with a secret that never travels: a changed request breaks it."""
    signatures = (value for name, value in request.headers if name.lower() == b"authorization")
    return any(value.startswith(b"AWS4-") for value in signatures) or "x-amz-signature=" in request.url.lower()


def _trusted(provider: ProviderConfig, url: str) -> bool:
    """Whether the key may go there: not in the clear, unless the configuration itself says http, and not to a stranger."""
    try:
        parts, base = urlsplit(url), urlsplit(provider.base_url or "")
        host, own = parts.hostname or "", base.hostname or ""
    except ValueError:
        return False
    if parts.scheme != "https" and base.scheme == "https":
        return False
    known = provider_of(host)
    shared = [h for h in known.hosts if "*" in h] if known is not None and known.name in _EVERYBODYS else []
    return host == own or any(fnmatchcase(host, glob) for glob in provider.hosts if glob not in shared)
