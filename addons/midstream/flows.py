"""What the addons take from a mitmproxy flow. Knows its objects by their shape only, so that the library needs no mitmproxy."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from midstream import ledger
from midstream.config.in_force import InForce
from midstream.dialects import registry
from midstream.dialects.registry import Match, Whose, fields
from midstream.observation import NAME_LENGTH, Observation, StreamRecord, clean

DB_OPTION = ("midstream_db", str, "~/.midstream/streams.db", "SQLite database that gets one row for each LLM stream.")
CONFIG_OPTION = ("midstream_config", str, "", "midstream.toml: providers, routes, streams and gateway keys.")
"""The same in every addon that has them: mitmproxy warns of two different options of one name."""

STREAM = "midstream.stream"
"""Key of flow.metadata: the id of the flow's (latest) row."""

RELAYED = "midstream.relayed"
"""Key of flow.metadata: the relay measures this flow, nobody else needs to."""

TRACE_LENGTH = 128
"""Characters of a traceparent that are kept: it has 55, later versions may have more (W3C Trace Context)."""

_PRODUCT = re.compile(r"[^\s/(;]+(?:/(?=[A-Za-z])[^\s/(;]+)?")

_ADDRESS = re.compile(r"[\d.]+|.*:.*")


def start_anew(flow: Any) -> None:
    """Forget what was said of a flow when it passed before: replayed, it is a stream of its own; loaded, it is what it was."""
    if flow.live:
        for key in (STREAM, RELAYED):
            flow.metadata.pop(key, None)


class KeepingHost:
    """mitmproxy's options for a client of the gateway's own listener. There mitmproxy would overwrite the Host header before any
    hook sees it, and it is by the Host header that a web page which has its own name point at this machine is found out."""

    keep_host_header = True

    def __init__(self, options: Any) -> None:
        self._options = options

    def __getattr__(self, name: str) -> object:
        return getattr(self._options, name)


@contextmanager
def refused_as(error_type: type[Exception]) -> Iterator[None]:
    """Within it, what is wrong with an option is said as mitmproxy wants to be told. error_type: its OptionsError."""
    try:
        yield
    except ValueError as error:
        raise error_type(str(error)) from None  # mitmproxy logs it with all that it came from


def in_force(options: Any) -> InForce:
    """The configuration that midstream_config names. Raises ValueError."""
    try:
        return InForce.of(options.midstream_config)
    except ValueError as error:
        raise ValueError(f"midstream_config: {error}") from None


def db_path(option: str) -> Path:
    """The file that midstream_db names. Raises ValueError quoting it if it names none."""
    path = Path(option).expanduser()
    if not option or path.is_dir():
        raise ValueError(f"midstream_db: {option!r} is not a file's path")
    return path


def app_of(user_agent: str) -> str:
    """The program's name in a User-Agent, without its version: `OpenAI/Python 3.54.0` is OpenAI/Python, `curl/8.5` curl."""
    product = _PRODUCT.match(user_agent.strip())
    return clean(product.group(), 80) if product else ""


def host_of(flow: Any) -> str:
    """The provider's name: where the client connects to, or, where that is only an address (transparent mode), the Host
    header or SNI. The Host header never overrides a name: in reverse mode it may still be the proxy's own.
    """
    host: str = flow.request.host
    return str(flow.request.pretty_host) if _ADDRESS.fullmatch(host) else host


def body_of(request: Any) -> bytes | None:
    """The request's body without its content encoding; as it is where that is broken."""
    try:
        body: bytes | None = request.get_content(strict=False)
    except ValueError:
        body = request.raw_content
    return body


def is_handshake(request: Any) -> bool:
    """Whether a WebSocket is asked for."""
    return str(request.headers.get("upgrade", "")).lower() == "websocket"


def recognise(flow: Any, whose: Whose) -> Match | None:
    """What a request means to an LLM provider: a question, a response that runs already, a WebSocket; None: it is none's."""
    request = flow.request
    if is_handshake(request):
        return registry.recognise_websocket(host_of(flow), request.path, whose)
    if request.method == "GET":
        return registry.recognise_get(host_of(flow), request.path, whose)
    if request.method != "POST":
        return None
    return registry.recognise(host_of(flow), request.path, body_of(request), whose)


def recognise_chat_socket(flow: Any, whose: Whose) -> Match | None:
    """The chat for which a WebSocket is asked where its provider has none; None: it is none's, or the provider's own."""
    request = flow.request
    if request.method != "GET" or registry.recognise_websocket("", request.path):
        return None
    return registry.recognise(host_of(flow), request.path, None, whose)


def recognise_late(flow: Any, whose: Whose) -> Match | None:
    """What only the response's head shows to be an LLM's; None: it is none's."""
    request, response = flow.request, flow.response
    if request.method != "POST":
        return None
    content_type, body = response.headers.get("content-type", ""), body_of(request)
    return registry.recognise_late(host_of(flow), request.path, body, response.status_code, content_type, whose)


def account(flow: Any, match: Match, model: str, headers: Any = None) -> ledger.Account:
    """A new account for a stream of this flow, which from now on carries its id. headers: the client's own, where the flow
    shows others at the moment."""
    peer, headers = flow.client_conn.peername, flow.request.headers if headers is None else headers
    record = StreamRecord(
        id=ledger.new_id(),
        started_at=ledger.utc_now(),
        client=peer[0] if peer else "",
        app=app_of(headers.get("user-agent", "")),
        provider=match.provider,
        dialect=match.dialect.name,
        model_requested=clean(model, NAME_LENGTH),
    )
    flow.metadata[STREAM] = record.id
    return ledger.Account(
        Observation(record, time.monotonic()),
        prices=match.prices,
        streamed=match.facts.stream or str(headers.get("upgrade", "")).lower() == "websocket",
        trace=headers.get("traceparent", "")[:TRACE_LENGTH],
    )


def prompt_of(match: Match, body: bytes | None) -> tuple[list[str], int | None]:
    """What counts as input: the texts, and the tokens of the template around them (None: not known)."""
    said = fields(body)
    return match.dialect.prompt(said), match.dialect.template_tokens(said)


def client_left(flow: Any, message: str) -> bool:
    """Whether it was the client that broke off. mitmproxy words an HTTP/2 stream's reset the same for both sides."""
    if message == "Client disconnected." or not flow.client_conn.connected:
        return True
    reset = message.startswith("stream reset by client")
    return reset and (flow.server_conn.alpn != b"h2" or "CANCEL" in message or "NO_ERROR" in message)


def remembering(headers: Any) -> Any:
    """A kind of mitmproxy's Headers that knows the last answer of `get`: at each chunk mitmproxy asks for Transfer-Encoding, and
    compares the names of all headers, of which a provider's front end sends some twenty."""

    class Remembering(headers):  # type: ignore[misc]
        _known: tuple[Any, ...] = ()

        def get(self, name: Any, default: Any = None) -> Any:
            known = self._known
            if not known or known[0] is not self.fields or known[1:3] != (name, default):
                known = self._known = (self.fields, name, default, super().get(name, default))
            return known[3]

    return Remembering


def url_of(flow: Any) -> str:
    """The provider's URL as the client asked for it."""
    request = flow.request
    default = 443 if request.scheme == "https" else 80
    port = "" if request.port == default else f":{request.port}"
    host = host_of(flow)
    return f"{request.scheme}://{f'[{host}]' if ':' in host else host}{port}{request.path}"
