"""The request that puts a client's question to one target. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import quote, urlsplit, urlunsplit

from midstream.config import ProviderConfig, Target
from midstream.conversation import Conversation, Inexpressible, Written
from midstream.dialects import registry
from midstream.dialects.base import Dialect
from midstream.dialects.prefill import marked
from midstream.relay.access import Caller
from midstream.relay.ask import Ask
from midstream.relay.credentials import credential_headers, forwarded_headers, with_credential
from midstream.relay.refusal import Refusal
from midstream.relay.upstream import UpstreamRequest
from midstream.relay.upstream_headers import Headers
from midstream.wire.json_text import as_dict, dump_json, parse_json

BY_NAME: Mapping[str, Dialect] = {dialect.name: dialect for dialect in reversed(registry.DIALECTS)}

NOBODY = Caller("")
"""Whose credential goes to a provider that was not asked for: none but the configured one."""

_FIXED: Mapping[str, tuple[tuple[bytes, bytes], ...]] = {
    "anthropic_messages": ((b"anthropic-version", b"2023-06-01"),),
}
"""Headers without which an API refuses."""

_OURS: Headers = (
    (b"content-type", b"application/json"),
    (b"accept", b"text/event-stream, application/json"),
    (b"user-agent", b"midstream"),
)
_VERSION = re.compile(r"/v1(?=/)")


class RuledOut(Exception):
    """This target cannot be asked this; str() says why. `refusal`: what to tell the client if nobody else can either."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A request ready to be sent.

    dialect: of the answer. model: as the provider is asked for it. own: the answer is one to the client's own request, in its
    own dialect and form. dropped: what the target's dialect cannot say, or its model refuses.
    """

    provider: str
    prices: str
    dialect: Dialect
    model: str
    request: UpstreamRequest
    own: bool = False
    dropped: tuple[str, ...] = ()

    @property
    def target(self) -> str:
        return f"{self.provider}/{self.model}" if self.model else self.provider


def prepare(
    ask: Ask,
    target: Target,
    prices: str = "",
    conversation: Conversation | None = None,
    *,
    prefilled: bool = False,
) -> Prepared:
    """The request for a target. Raises RuledOut.

    conversation: what to ask instead of the client's own words, for a stream that is to go on; prefilled: its last message is
    the beginning of the answer. prices: of the provider asked for, where the configuration does not know it.
    """
    provider = ask.config.provider(target.provider)
    sent = target.provider == ask.provider and ask.sent is not None
    if not sent and (provider is None or provider.base_url is None):
        raise RuledOut(Refusal(501, f"{target.provider} has no base_url", code="provider_unknown"))
    dialect = dialect_of(ask, target)
    if dialect is None:
        raise RuledOut(
            Refusal(501, f"what {target.provider} speaks is not known: give it a dialect", code="dialect_not_supported")
        )
    if dialect is not ask.dialect or conversation is not None:
        return _written(ask, target, provider, dialect, prices, conversation, prefilled=prefilled)
    dropped: tuple[str, ...] = ()
    if target.provider == ask.provider and target.model == ask.model and ask.sent is not None:
        request = _own_credential(ask.sent, provider, dialect)
    else:
        body, dropped = _adapted(ask, target, dialect)
        request = _renamed(ask, target, provider, dialect, body)
    return Prepared(
        provider=target.provider,
        prices=provider.prices if provider else prices,
        dialect=dialect,
        model=target.model,
        request=request,
        own=True,
        dropped=dropped,
    )


def prepare_to_read_on(ask: Ask, target: Target, path: str, prices: str = "") -> Prepared:
    """The request that reads on in a stream which its provider keeps. Raises RuledOut."""
    first = prepare(ask, target, prices)
    parts = urlsplit(first.request.url)
    start = parts.path.removesuffix(ask.path.partition("?")[0])
    url = urlunsplit((parts.scheme, parts.netloc, start + path, "", "")) if ask.sent is not None else ""
    if not url:
        raise RuledOut(Refusal(501, "only an intercepted stream is read on"))
    kept = [(k, v) for k, v in first.request.headers if k.lower() not in (b"content-type", b"content-encoding")]
    return replace(first, request=replace(first.request, method="GET", url=url, headers=kept, body=b""))


def dialect_of(ask: Ask, target: Target) -> Dialect | None:
    """What to ask a target in; None where nobody knows.

    The provider asked for takes what the client speaks: who has OpenAI's chat API often has its other ones, or says 404
    itself."""
    provider = ask.config.provider(target.provider)
    spoken = provider.dialect if provider is not None else None
    if spoken == ask.dialect.name:
        return ask.dialect
    family = spoken == "openai_chat" and ask.dialect.name.startswith("openai_")
    if target.provider == ask.provider and (ask.sent is not None or family):
        return ask.dialect
    return BY_NAME.get(spoken or "")


def _written(
    ask: Ask,
    target: Target,
    provider: ProviderConfig | None,
    dialect: Dialect,
    prices: str,
    conversation: Conversation | None,
    *,
    prefilled: bool,
) -> Prepared:
    """The request in the target's words. It always streams: so its progress can be seen, whatever the client wants."""
    if dialect.write_request is None:
        raise RuledOut(
            Refusal(501, f"requests cannot be translated to {dialect.name} yet", code="dialect_not_supported")
        )
    try:
        asked = conversation or ask.read()
        written = dialect.write_request(replace(asked, model=target.model, stream=True, include_usage=True))
        if prefilled and dialect.name == "openai_chat":
            written = replace(written, body=marked(written.body, target.provider))
    except Inexpressible as error:
        raise RuledOut(Refusal(400, f"{target.provider} cannot be asked this: {error}")) from None
    except ValueError as error:
        raise RuledOut(Refusal(400, str(error))) from None
    return Prepared(
        provider=target.provider,
        prices=provider.prices if provider else prices,
        dialect=dialect,
        model=target.model,
        request=_request(ask, target, provider, dialect, written),
        dropped=written.dropped,
    )


def _request(
    ask: Ask, target: Target, provider: ProviderConfig | None, dialect: Dialect, written: Written
) -> UpstreamRequest:
    body = dump_json(dict(written.body)).encode()
    if target.provider == ask.provider and dialect is ask.dialect and ask.sent is not None:
        url = renamed_path(ask.sent.url, ask.model, target.model)
        return _own_credential(_decoded(replace(ask.sent, url=url, body=body)), provider, dialect)
    assert provider is not None  # noqa: S101 - what `prepare` has seen to
    kept = forwarded_headers(ask.headers) if dialect is ask.dialect else _OURS
    return UpstreamRequest(
        method="POST",
        url=provider.url(written.path),
        headers=_complete(kept, ask, target, provider, dialect),
        body=body,
        proxy=ask.proxy,
        proxy_auth=ask.proxy_auth,
    )


def _adapted(ask: Ask, target: Target, dialect: Dialect) -> tuple[bytes, tuple[str, ...]]:
    """The client's own words, for another model less what that is known to refuse. Who has answered so far is the first target,
    whatever name the client has for it."""
    body = renamed_body(ask.body, ask.model, target.model)
    if target.model == ask.model or dialect.adapt is None:
        return body, ()
    fields = registry.fields(body)
    try:
        said, dropped = dialect.adapt(fields, next(iter(ask.targets), target).model, target.model)
    except Inexpressible as error:
        raise RuledOut(Refusal(400, f"{target.provider} cannot be asked this: {error}")) from None
    return (body if said == fields else dump_json(said).encode()), dropped


def _renamed(
    ask: Ask, target: Target, provider: ProviderConfig | None, dialect: Dialect, body: bytes
) -> UpstreamRequest:
    """The client's own words, at another address or for another model."""
    if target.provider == ask.provider and ask.sent is not None:
        url = renamed_path(ask.sent.url, ask.model, target.model)
        return _own_credential(_decoded(replace(ask.sent, url=url, body=body)), provider, dialect)
    assert provider is not None  # noqa: S101 - what `prepare` has seen to
    return UpstreamRequest(
        method="POST",
        url=provider.url(renamed_path(_path_below_base(ask), ask.model, target.model)),
        headers=_complete(forwarded_headers(ask.headers), ask, target, provider, dialect),
        body=body,
        proxy=ask.proxy,
        proxy_auth=ask.proxy_auth,
    )


def _path_below_base(ask: Ask) -> str:
    """The path as it stands below a base_url. A provider may have its API below a prefix of its own (`/openai/v1/…`)."""
    path, question, query = ask.path.partition("?")
    if ask.sent is not None:
        found = next((m for pattern in ask.dialect.paths if (m := pattern.search(path))), None)
        path = path[found.start() :] if found else path
    if ask.dialect.name.startswith("openai_"):
        path = _VERSION.sub("", path, count=1)
    return path + question + query


def _decoded(request: UpstreamRequest) -> UpstreamRequest:
    """Its body is ours now, and has no content encoding."""
    return replace(request, headers=[(k, v) for k, v in request.headers if k.lower() != b"content-encoding"])


def _own_credential(request: UpstreamRequest, provider: ProviderConfig | None, dialect: Dialect) -> UpstreamRequest:
    """The provider's configured key in place of the client's, if there is one."""
    if provider is None or provider.api_key is None:
        return request
    try:
        return with_credential(request, provider, dialect)
    except Refusal as refusal:
        raise RuledOut(refusal) from None


def _complete(kept: Headers, ask: Ask, target: Target, provider: ProviderConfig, dialect: Dialect) -> Headers:
    """Headers with the credential and whatever else the API wants."""
    caller = ask.caller if target.provider == ask.provider else NOBODY
    try:
        credential = credential_headers(provider, dialect, caller)
    except Refusal as refusal:
        raise RuledOut(refusal) from None
    said = {name.lower() for name, _ in kept}
    return [*kept, *credential, *(h for h in _FIXED.get(dialect.name, ()) if h[0] not in said)]


def renamed_path(path: str, asked: str, model: str) -> str:
    """The path, where it names the model (Gemini), with the model as its provider calls it."""
    if not asked or asked == model:
        return path
    for written in (asked, quote(asked, safe="")):
        path = path.replace(f"/{written}:", f"/{quote(model, safe='')}:")
    return path


def renamed_body(body: bytes, asked: str, model: str) -> bytes:
    """The body; where the provider calls the model otherwise than the client did (`openai/gpt-4o`), with that name in it."""
    if asked == model:
        return body
    try:
        fields = as_dict(parse_json(body))
    except ValueError:
        return body
    return dump_json(fields | {"model": model}).encode() if "model" in fields else body
