"""From a flow to what the relay is handed for it, and back: the flow is pointed at the relay, and given its own face again.

Knows mitmproxy's objects by their shape only, so that the library needs no mitmproxy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from midstream import flows
from midstream.relay import asked
from midstream.relay.job import GatewayJob, Intercepted, Job
from midstream.relay.upstream import UpstreamRequest


@dataclass(frozen=True, slots=True)
class Original:
    """What a flow looked like before the relay had it, but for a credential in its query."""

    job: Job | GatewayJob
    scheme: bytes
    host: str
    port: int
    authority: bytes
    path: str
    headers: Any
    body: bytes | None

    @classmethod
    def point(cls, flow: Any, job: Job | GatewayJob, headers: Any, address: tuple[str, int]) -> Self:
        """Point the flow at the relay, with these headers; whatever proxy it was to go through, the relay does.

        Sets what the request holds (`data`): mitmproxy's own setters would parse and write headers each time."""
        request, data = flow.request, flow.request.data
        shown = asked.split_secrets(request.path)[0]  # Gemini's key may be in it, and flows are saved and logged
        before = cls(
            job, data.scheme, data.host, data.port, data.authority, shown, request.headers, request.raw_content
        )
        data.headers, data.scheme, data.authority = headers, b"http", b""
        data.host, data.port = address
        flow.server_conn.via = None
        return before

    @classmethod
    def keep(cls, flow: Any, job: Job, host: str) -> Self:
        """Leave the flow as it is, but for its host's name, which is written alike (`Own` in direct.py)."""
        request, data = flow.request, flow.request.data
        shown = asked.split_secrets(request.path)[0]
        before = cls(job, data.scheme, data.host, data.port, data.authority, shown, request.headers, None)
        request.path, data.host = shown, host
        return before

    def restore(self, flow: Any) -> None:
        """From here on mitmweb, saved flows and logs show the provider, never the loopback."""
        request, data = flow.request, flow.request.data
        data.scheme, data.host, data.port, data.authority = self.scheme, self.host, self.port, self.authority
        request.path, data.headers = self.path, self.headers
        if self.body is not None:  # else it is there; or it was streamed, and mitmproxy refuses to have one put there
            request.raw_content = self.body


def upstream_request(flow: Any, proxy_auth: str) -> UpstreamRequest:
    """The request as its provider is to get it. proxy_auth: mitmproxy's upstream_auth."""
    request = flow.request
    return UpstreamRequest(
        method=request.method,
        url=flows.url_of(flow),
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


def _upstream_proxy(mode: Any) -> str:
    return f"{mode.scheme}://{mode.address[0]}:{mode.address[1]}" if mode.type_name == "upstream" else ""
