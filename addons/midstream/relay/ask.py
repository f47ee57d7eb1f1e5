"""What a client asks, before it is put to anybody. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from midstream.config import Config, Route, Target
from midstream.conversation import Conversation
from midstream.dialects import registry
from midstream.dialects.base import Dialect
from midstream.relay.access import Caller, token_of
from midstream.relay.asked import split_secrets
from midstream.relay.upstream import UpstreamRequest
from midstream.relay.upstream_headers import Headers


@dataclass(slots=True, kw_only=True)
class Ask:
    """One client's question, before it is put to anybody.

    dialect, path (with its query), headers, body: as the client worded it; the body without content encoding. provider,
    model: asked for. targets: whom to ask in turn. config: in force when it came. caller: whose credential may go to the
    provider asked for. sent: the request as it was on its way to that provider, which gets it unchanged; None where it came
    to the gateway. stream: a streamed answer is wanted. conversation: what it says, in no provider's words, once somebody
    has asked for it with `read`.
    """

    dialect: Dialect
    provider: str
    model: str
    path: str
    body: bytes
    route: Route
    targets: tuple[Target, ...]
    config: Config
    caller: Caller
    headers: Headers = ()
    sent: UpstreamRequest | None = None
    stream: bool = True
    proxy: str = ""
    proxy_auth: str = field(default="", repr=False)
    conversation: Conversation | None = None

    def read(self) -> Conversation:
        """The request in no provider's words. Raises ValueError where its dialect cannot be read, or its body is wrong."""
        if self.conversation is None:
            if self.dialect.read_conversation is None:
                raise ValueError(f"{self.dialect.name} cannot be translated")
            path = self.path.partition("?")[0]
            self.conversation = self.dialect.read_conversation(path, registry.fields(self.body))
        return self.conversation


def intercepted(config: Config, request: UpstreamRequest, match: registry.Match, body: bytes) -> Ask:
    """What an intercepted request asks. body: the request's, without content encoding."""
    route = config.route_for(match.provider, match.facts.model)
    headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in request.headers}
    bare, in_query = split_secrets(request.url)
    return Ask(
        dialect=match.dialect,
        provider=match.provider,
        model=match.facts.model,
        path=path_of(bare),
        body=body,
        route=route,
        targets=route.targets_for(match.provider, match.facts.model),
        config=config,
        caller=Caller("", credential=token_of(headers, in_query)),
        headers=request.headers,
        sent=request,
        stream=match.facts.stream,
        proxy=request.proxy,
        proxy_auth=request.proxy_auth,
    )


def path_of(url: str) -> str:
    """A URL's path and query, whatever its host: that is the client's word, and may be none."""
    _, slash, path = url.partition("://")[2].partition("/")
    return slash + path.partition("#")[0]
