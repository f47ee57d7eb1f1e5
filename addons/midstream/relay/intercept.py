"""From a flow to what the relay is handed for it, and back: the flow is pointed at the relay, and given its own face again.

Knows mitmproxy's objects by their shape only, so that the library needs no mitmproxy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from midstream import flows
from midstream.relay import asked
from midstream.relay.job import GatewayJob, Head, Intercepted, Job
from midstream.relay.upstream import UpstreamRequest


@dataclass(frozen=True, slots=True)
class Original:
    """What a flow looked like before the relay had it, but for a credential in its query (`path`, and `asked` with it)."""

    job: Job | GatewayJob
    version: bytes
    scheme: bytes
    host: str
    port: int
    authority: bytes
    path: str
    asked: str
    headers: Any
    body: bytes | None
    fields: tuple[tuple[bytes, bytes], ...] = ()

    @classmethod
    def point(cls, flow: Any, job: Job | GatewayJob, headers: Any, address: tuple[str, int]) -> Self:
        """Point the flow at the relay, with these headers; whatever proxy it was to go through, the relay does.

        Sets what the request holds (`data`): mitmproxy's own setters would parse and write headers each time."""
        before, data = cls._of(flow, job), flow.request.data
        data.headers, data.scheme, data.authority = headers, b"http", b""
        data.http_version = b"HTTP/1.1"  # the relay's: an HTTP/1.0 client is mitmproxy's
        data.host, data.port = address
        flow.server_conn.via = None
        return before

    @classmethod
    def keep(cls, flow: Any, job: Job) -> Self:
        """Leave the flow as it is, but for a credential in its query."""
        before = cls._of(flow, job)
        flow.request.path = before.path
        return before

    @classmethod
    def _of(cls, flow: Any, job: Job | GatewayJob) -> Self:
        request, data = flow.request, flow.request.data
        return cls(
            job=job,
            version=data.http_version,
            scheme=data.scheme,
            host=data.host,
            port=data.port,
            authority=data.authority,
            path=asked.split_secrets(request.path)[0],  # Gemini's key may be in it, and flows are saved and logged
            asked=request.path,
            headers=data.headers,
            body=data.content,
            fields=data.headers.fields,
        )

    def edited(self, flow: Any) -> bool:
        """Whether a flow that was left as it is has been changed since: by an addon, or by whoever held it."""
        data = flow.request.data
        address = (data.scheme, data.host, data.port) == (self.scheme, self.host, self.port)
        said = data.headers.fields == self.fields and data.content == self.body
        return not (address and said and flow.request.path == self.path)

    def put_back(self, flow: Any) -> None:
        """The path as it was asked for, unless somebody has changed that."""
        if flow.request.path == self.path:
            flow.request.path = self.asked

    def restore(self, flow: Any) -> None:
        """From here on mitmweb, saved flows and logs show the provider, never the loopback."""
        request, data = flow.request, flow.request.data
        data.http_version = self.version
        data.scheme, data.host, data.port, data.authority = self.scheme, self.host, self.port, self.authority
        request.path, data.headers = self.path, self.headers
        if self.body is not None:  # else it was streamed: mitmproxy refuses to have one put there
            request.raw_content = self.body


def complete(flow: Any, head: Head | None) -> None:
    """Put the provider's head in the place of the relay's, of which nothing counts but the framing: past mitmproxy's checks.

    head: None where the flow has it already, or the answer is the relay's own."""
    response, old = flow.response, flow.request.data.http_version == b"HTTP/1.0"
    if head is None and not old:
        return
    framing = response.headers.pop("transfer-encoding", None)
    if head is not None:
        response.status_code, response.reason = head.status, head.reason
        response.headers = type(response.headers)(head.headers)
    if framing and not old:  # such a body ends with its connection, which mitmproxy sees to
        response.headers["transfer-encoding"] = framing


def upstream_request(flow: Any, proxy_auth: str) -> UpstreamRequest:
    """The request as its provider is to get it. proxy_auth: mitmproxy's upstream_auth."""
    request = flow.request
    return UpstreamRequest(
        method=request.method,
        url=flows.url_of(flow),
        address=_address(flow),
        headers=list(request.headers.fields),
        body=request.raw_content or b"",
        proxy=_upstream_proxy(flow.client_conn.proxy_mode),
        proxy_auth=proxy_auth,
    )


def gateway_job(
    flow: Any, held: Callable[[], int], modes: Sequence[Any], proxy_auth: str, intercepted: Intercepted | None = None
) -> GatewayJob:
    """What the gateway cannot see of a request itself. A credential in the query goes there and nowhere else. modes: mitmproxy's,
    the first that names a proxy is gone through."""
    request, peer, token = flow.request, flow.client_conn.peername, ""
    if intercepted is None:
        request.path, token = asked.split_secrets(request.path)
    return GatewayJob(
        peer=peer[0] if peer else "",
        authority=request.host_header or "",
        token=token,
        held=held,
        proxy=next(filter(None, map(_upstream_proxy, [flow.client_conn.proxy_mode, *modes])), ""),
        proxy_auth=proxy_auth,
        intercepted=intercepted,
    )


def _address(flow: Any) -> tuple[str, int] | None:
    """Where the client wants to get to, if it has said so by an address, and only the Host header or SNI names the provider."""
    host, port = flow.request.host, flow.request.port
    return (host, port) if flows.host_of(flow) != host else None


def _upstream_proxy(mode: Any) -> str:
    return f"{mode.scheme}://{mode.address[0]}:{mode.address[1]}" if mode.type_name == "upstream" else ""
