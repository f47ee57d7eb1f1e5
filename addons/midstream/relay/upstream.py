"""The provider's side: connections pooled across all clients, with mitmproxy's upstream certificate and proxy options."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import aiohttp
import yarl
from aiohttp.client_proto import ResponseHandler

from midstream.connect import ConnectSpec, parse_spec, redirect
from midstream.relay.provider_tls import client_certificate, client_context
from midstream.relay.turns import QUANTUM, SMALL, Share, Turns
from midstream.relay.upstream_headers import HOP_BY_HOP, Headers, request_headers
from midstream.relay.upstream_words import first_line, reason_of

KEEPALIVE = 90.0
"""Seconds an idle provider connection is kept; the providers' own front ends close theirs after 60 to 600."""

READ_SIZE = 32 * 1024
"""Bytes read ahead of a provider before it is paused (aiohttp pauses at twice this, plus READ_AT_ONCE, over TLS twice that)."""

READ_AT_ONCE = 64 * 1024
"""Bytes taken from a socket at once; asyncio's 256 KiB are a thousand chunks, for which all other streams wait, and which are
read and passed on for a client that may never take them."""

PIECE = QUANTUM
"""Bytes passed on at once: what is made of a piece (events, frames) is many times its size, and other streams wait for it."""

CONNECT = 10.0
"""Seconds for DNS, TCP and TLS to a provider, where no route says otherwise."""

_DEFAULT_HEADERS = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")


class UpstreamError(Exception):
    """No response could be had from the provider; `kind` is the row's error_type."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamOptions:
    """What mitmproxy's options say of provider connections.

    insecure: ssl_insecure. trusted_ca, trusted_dir: ssl_verify_upstream_trusted_ca and …_confdir. client_certs: a PEM file,
    or a folder of HOST.pem. connect_to: midstream_connect_to.
    """

    insecure: bool = False
    trusted_ca: str = ""
    trusted_dir: str = ""
    client_certs: str = ""
    connect_to: Sequence[ConnectSpec] = ()

    @classmethod
    def of(cls, options: Any) -> Self:
        """Read them. options: mitmproxy's."""
        return cls(
            insecure=options.ssl_insecure,
            trusted_ca=options.ssl_verify_upstream_trusted_ca or "",
            trusted_dir=options.ssl_verify_upstream_trusted_confdir or "",
            client_certs=options.client_certs or "",
            connect_to=[parse_spec(spec) for spec in getattr(options, "midstream_connect_to", ())],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamRequest:
    """A request as the provider shall get it.

    address: where the provider is, if not where the URL's host is by its name. proxy: the upstream proxy's URL, "" for none;
    proxy_auth: `user:password`.
    """

    method: str
    url: str
    headers: Headers
    body: bytes
    address: tuple[str, int] | None = None
    proxy: str = ""
    proxy_auth: str = ""


class UpstreamResponse:
    """A provider's response: its head, then its body in whatever pieces arrive, as on the wire."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.reason = "".join(c for c in response.reason or "" if " " <= c <= "~")  # it goes into a head, and into logs
        self.headers: Headers = [(k, v) for k, v in response.raw_headers if k.lower() not in HOP_BY_HOP]

    def header(self, name: str) -> str:
        return self._response.headers.get(name, "")

    def pieces(self) -> AsyncIterator[bytes]:
        """What has arrived, as soon as anything has. Waiting for the next piece can be cancelled, and taken up again: nothing is
        lost. Raises UpstreamError when the body breaks off."""
        return _Pieces(self._response.content)

    def close(self) -> None:
        """Give the connection up: back to the pool if the body was read to its end, else closed, so that the provider stops."""
        self._response.close() if not self._response.content.at_eof() else self._response.release()


class _Pieces:
    """A body as it comes, each piece in its turn. No generator: that would be over once it is cancelled."""

    def __init__(self, content: aiohttp.StreamReader) -> None:
        self._content = content
        self._share, self._turns = Share(), Turns.here()
        self._data, self._at = b"", 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._at >= len(self._data):
            await self._read()
        if len(self._data) <= SMALL:  # a token, as a rule
            self._at = len(self._data)
            return self._data
        size = min(len(self._data) - self._at, PIECE)
        await self._turns.take(self._share, size)
        self._at += size
        return self._data[self._at - size : self._at]

    async def _read(self) -> None:
        try:
            data = await self._content.readany()
        except aiohttp.ClientPayloadError as error:  # which words it as if the client had erred
            raise UpstreamError("connection_error", "the provider broke off in the midst of the body") from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise UpstreamError(
                "connection_error", f"the provider broke off: {first_line(str(error)) or type(error).__name__}"
            ) from error
        if not data:
            raise StopAsyncIteration
        self._data, self._at = data, 0


BREAKING: list[Callable[..., Awaitable[UpstreamResponse]]] = []
"""Who breaks requests on purpose (`FaultyUpstream.open`), for all relays of this process; mostly nobody."""


class _Connection(ResponseHandler):
    """aiohttp's (3.14), but for what happens while reading is paused: there the parser pauses too, and when the provider closes
    the connection meanwhile, what it has not parsed is thrown away, up to 256 KiB. It pauses against compression bombs, and
    nothing is decompressed here."""

    __slots__ = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        _read_less(transport)

    def resume_reading(self, *how: Any, **more: Any) -> None:
        if self._reading_paused:  # aiohttp asks for it behind every read
            super().resume_reading(*how, **more)

    def pause_reading(self) -> None:
        self._reading_paused = True
        if self.transport is not None:
            with contextlib.suppress(AttributeError, NotImplementedError, RuntimeError):  # it is closing
                self.transport.pause_reading()


def _read_less(transport: Any) -> None:
    """READ_AT_ONCE instead of what asyncio (3.12 to 3.14) has as an attribute: of a socket's transport, or of TLS's protocol."""
    tls: Any = getattr(transport, "_ssl_protocol", None)
    if tls is not None and hasattr(tls, "_ssl_buffer_view"):
        tls.max_size, tls._ssl_buffer = READ_AT_ONCE, bytearray(READ_AT_ONCE)
        tls._ssl_buffer_view = memoryview(tls._ssl_buffer)
        tls._set_read_buffer_limits(READ_AT_ONCE)
    elif hasattr(transport, "max_size"):
        transport.max_size = READ_AT_ONCE


class Upstream:
    """One connection pool for all clients of this mitmdump."""

    def __init__(self, options: UpstreamOptions) -> None:
        self._options = options
        self._contexts: dict[str, ssl.SSLContext] = {}
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE, ttl_dns_cache=60)
        made_by: Any = partial(_Connection, loop=asyncio.get_running_loop())
        connector._factory = made_by
        self._session = aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            skip_auto_headers=_DEFAULT_HEADERS,
            read_bufsize=READ_SIZE,
            max_line_size=65_536,
            max_field_size=65_536,
        )

    async def open(
        self, request: UpstreamRequest, *, connect: float | None = CONNECT, stream: str = ""
    ) -> UpstreamResponse:
        """Send a request and return once the response's head is there.

        connect: seconds for DNS, TCP and TLS together. stream: the id of the row, for log lines. Raises UpstreamError;
        cancellation closes the connection.
        """
        if BREAKING:
            return await BREAKING[-1](request, stream, lambda asked: self._open(asked, connect))
        return await self._open(request, connect)

    async def _open(self, request: UpstreamRequest, connect: float | None) -> UpstreamResponse:
        url = _url(request)
        host = url.raw_host or ""  # nobody has checked that the other can be read: it is the client's word
        headers = request_headers(request.headers)
        headers.setdefault("Host", url.raw_authority)
        auth = aiohttp.BasicAuth(*request.proxy_auth.split(":", 1)) if ":" in request.proxy_auth else None
        try:
            response = await self._session.request(
                request.method,
                self._where(url, request.address),
                headers=headers,
                data=request.body,
                allow_redirects=False,
                proxy=request.proxy or None,
                proxy_auth=auth,
                ssl=self._context(host) if url.scheme == "https" else True,
                server_hostname=host or None,
                timeout=aiohttp.ClientTimeout(total=None, connect=connect),
            )
        except aiohttp.ClientSSLError as error:
            raise UpstreamError("tls_error", reason_of(error, host)) from error
        except aiohttp.ClientConnectorDNSError as error:
            raise UpstreamError("dns_error", reason_of(error, host)) from error
        except TimeoutError as error:
            raise UpstreamError("connect_timeout", f"no connection to {host} within {connect} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UpstreamError("connection_error", reason_of(error, host)) from error
        if response.status < 200:
            response.close()
            raise UpstreamError("connection_error", f"{host}: it switches to another protocol, unasked")
        return UpstreamResponse(response)

    def _where(self, url: yarl.URL, address: tuple[str, int] | None) -> yarl.URL:
        """The URL with the address that midstream_connect_to wants, or that the client went to; Host and the TLS server name stay
        the provider's."""
        specs = self._options.connect_to
        target = redirect(specs, url.raw_host or "", url.port or 0)
        if target is None and address is not None:
            target = redirect(specs, *address) or address
        return url.with_host(target[0]).with_port(target[1]) if target else url

    def _context(self, host: str) -> ssl.SSLContext:
        options = self._options
        certificate = client_certificate(options.client_certs, host)
        if certificate not in self._contexts:
            self._contexts[certificate] = client_context(
                options.trusted_ca, options.trusted_dir, certificate, insecure=options.insecure
            )
        return self._contexts[certificate]

    async def close(self) -> None:
        await self._session.close()
        await asyncio.sleep(0)  # lets the transports' own close callbacks run


def _url(request: UpstreamRequest) -> yarl.URL:
    try:
        return yarl.URL(request.url, encoded=True)
    except ValueError as error:
        host = first_line(request.url.partition("://")[2].partition("/")[0])
        raise UpstreamError("dns_error", f"{host!r} is no host's name") from error
