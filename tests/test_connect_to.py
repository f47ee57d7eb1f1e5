"""Which connections are sent elsewhere, and which specifications are refused."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from mitmproxy import exceptions
from mitmproxy.proxy.server_hooks import ServerConnectionHookData
from mitmproxy.test import taddons, tflow

from connect_to import ConnectTo
from midstream import connect


def dialled(specs: list[str], host: str, port: int = 443) -> tuple[str, int]:
    addon = ConnectTo()
    with taddons.context(addon) as context:
        context.configure(addon, midstream_connect_to=specs)
        server = tflow.tserver_conn()
        server.state = server.state.CLOSED
        server.address, server.sni = (host, port), host
        addon.server_connect(ServerConnectionHookData(server=server, client=tflow.tclient_conn()))
        assert server.sni == host
        return server.address[0], server.address[1]


@pytest.mark.parametrize(
    ("spec", "host", "port", "expected"),
    [
        ("api.openai.com:443:127.0.0.1:8800", "api.openai.com", 443, ("127.0.0.1", 8800)),
        ("api.openai.com:443:127.0.0.1:8800", "API.OpenAI.com.", 443, ("127.0.0.1", 8800)),
        ("api.openai.com:443:127.0.0.1:8800", "api.openai.com", 80, ("api.openai.com", 80)),
        ("api.openai.com:443:127.0.0.1:8800", "xapi.openai.com", 443, ("xapi.openai.com", 443)),
        ("*.openai.com:443:127.0.0.1:8800", "eu.openai.com", 443, ("127.0.0.1", 8800)),
        ("::127.0.0.1:8800", "anything", 80, ("127.0.0.1", 8800)),
        (":443:127.0.0.1:", "anything", 443, ("127.0.0.1", 443)),
        ("h:::8800", "h", 443, ("h", 8800)),
        ("[::1]:443:[fe80::2]:1", "::1", 443, ("fe80::2", 1)),
    ],
)
def test_a_connection_goes_where_the_specification_says(
    spec: str, host: str, port: int, expected: tuple[str, int]
) -> None:
    assert dialled([spec], host, port) == expected


def test_the_first_that_matches_wins() -> None:
    assert dialled(["b:443:x:1", "a:443:y:2", "::z:3"], "a") == ("y", 2)


def test_without_specifications_nothing_changes() -> None:
    assert dialled([], "a") == ("a", 443)


@pytest.mark.parametrize(
    "spec", ["", "a", "a:1:b", "a:1:b:2:c", "a:x:b:2", "a:1:b:70000", "a:0:b:1", "::1:443:b:2", "[::1:443:b:2"]
)
def test_a_bad_specification_is_quoted(spec: str) -> None:
    addon = ConnectTo()
    with taddons.context(addon) as context, pytest.raises(exceptions.OptionsError) as e:
        context.configure(addon, midstream_connect_to=["good:443:h:1", spec])
    assert repr(spec) in str(e.value)


def test_an_ipv6_target_has_no_brackets() -> None:
    assert ip_address(connect.parse_spec("a:1:[::1]:2").to_host).version == 6


def test_a_connection_to_what_midstream_itself_serves_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "OURS", {("127.0.0.1", 9)})
    assert dialled(["::elsewhere:1"], "127.0.0.1", 9) == ("127.0.0.1", 9)
    assert dialled(["::elsewhere:1"], "127.0.0.1", 10) == ("elsewhere", 1)
