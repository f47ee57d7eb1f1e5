"""Dial another host and port than the one asked for, for demos and tests; TLS server name, Host header and URL stay.

    mitmdump -s addons/connect_to.py --set midstream_connect_to=api.openai.com:443:127.0.0.1:8800

What curl's --connect-to does, with globs besides: HOST1:PORT1:HOST2:PORT2, an empty HOST1 or PORT1 stands for any, an empty
HOST2 or PORT2 for the one asked for, and IPv6 addresses go in brackets. The first that matches wins.
"""

from __future__ import annotations

from collections.abc import Sequence

from mitmproxy import ctx, exceptions
from mitmproxy.addonmanager import Loader
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

from midstream import connect


class ConnectTo:
    """The addon: changes the address of a server connection just before it is dialled.

    mitmproxy takes such a connection for another host's when the client's next request comes, and dials anew.
    """

    def __init__(self) -> None:
        self._specs: list[connect.ConnectSpec] = []

    def load(self, loader: Loader) -> None:
        loader.add_option(
            "midstream_connect_to",
            Sequence[str],
            [],
            "Dial HOST2:PORT2 for connections to HOST1:PORT1, as curl's --connect-to; HOST1 may be a glob or empty (any).",
        )

    def configure(self, updated: set[str]) -> None:
        if "midstream_connect_to" not in updated:
            return
        specs = []
        for option in ctx.options.midstream_connect_to:
            try:
                specs.append(connect.parse_spec(option))
            except ValueError as e:
                raise exceptions.OptionsError(f"midstream_connect_to: cannot parse {option!r}: {e}") from None
        self._specs = specs

    def server_connect(self, data: ServerConnectionHookData) -> None:
        if data.server.address is None:
            return
        host, port = data.server.address[:2]
        target = connect.redirect(self._specs, host, port)
        if target is not None:
            data.server.address = target


addons = [ConnectTo()]
