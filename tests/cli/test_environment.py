"""What a program's environment gets, and what it keeps."""

from __future__ import annotations

import pytest

from midstream.cli.environment import (
    BUNDLE_VARIABLES,
    Route,
    Upstream,
    child_environment,
    hides,
    is_local,
    no_proxy,
    upstream_of,
)

ROUTE = Route("127.0.0.1", 8099, "/b/bundle.pem", "/b/extra.pem")


def test_every_proxy_variable_in_both_cases() -> None:
    result = child_environment({}, ROUTE)
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "WSS_PROXY", "WS_PROXY"):
        assert result[name] == result[name.lower()] == "http://127.0.0.1:8099"


def test_all_proxy_stays_the_users() -> None:
    assert "ALL_PROXY" not in child_environment({}, ROUTE)
    assert child_environment({"ALL_PROXY": "socks5://x"}, ROUTE)["ALL_PROXY"] == "socks5://x"


def test_preset_bundles_give_way_to_ours_everywhere() -> None:
    preset = dict.fromkeys(BUNDLE_VARIABLES, "/etc/ssl/certs/ca-certificates.crt")
    result = child_environment(preset | {"NODE_EXTRA_CA_CERTS": "/etc/corp.pem"}, ROUTE)
    assert {result[name] for name in BUNDLE_VARIABLES} == {"/b/bundle.pem"}
    assert result["NODE_EXTRA_CA_CERTS"] == result["DENO_CERT"] == "/b/extra.pem"
    assert result["NODE_USE_ENV_PROXY"] == "1"


def test_what_is_no_business_of_ours_is_kept() -> None:
    result = child_environment({"PATH": "/bin", "OPENAI_API_KEY": "k", "SSL_CERT_DIR": "/corp"}, ROUTE)
    assert (result["PATH"], result["OPENAI_API_KEY"], result["SSL_CERT_DIR"]) == ("/bin", "k", "/corp")


@pytest.mark.parametrize(
    ("base", "local", "expected"),
    [
        ({}, False, "localhost,127.0.0.1,::1"),
        ({"NO_PROXY": "corp.example, 127.0.0.1"}, False, "corp.example,127.0.0.1,localhost,::1"),
        ({"no_proxy": "low.example", "NO_PROXY": "up.example"}, False, "low.example,localhost,127.0.0.1,::1"),
        ({}, True, ""),
        (
            {"NO_PROXY": "localhost,.localhost,127.0.0.0/8,127.0.0.1:11434,::1,[::1]:80,corp.example"},
            True,
            "corp.example",
        ),
    ],
)
def test_no_proxy_keeps_the_users_and_spares_this_machine(base: dict[str, str], local: bool, expected: str) -> None:
    assert no_proxy(base, local) == expected


@pytest.mark.parametrize(
    ("name", "local"), [("127.1.2.3", True), ("::1", True), ("localhost.example.com", False), ("128.0.0.1", False)]
)
def test_loopback_is_told_from_what_looks_like_it(name: str, local: bool) -> None:
    assert is_local(name) is local


@pytest.mark.parametrize(
    ("entry", "host", "hidden"),
    [
        ("*", "api.openai.com", True),
        (".openai.com", "api.openai.com", True),
        ("openai.com", "api.openai.com", True),
        ("*.openai.com", "api.openai.com", True),
        ("api.openai.com:443", "api.openai.com", True),
        ("ai.com", "api.openai.com", False),
        ("", "api.openai.com", False),
    ],
)
def test_entries_that_hide_a_provider(entry: str, host: str, hidden: bool) -> None:
    assert hides(entry, host) is hidden


def test_java_options_only_with_a_trust_store_and_after_the_users() -> None:
    assert "JAVA_TOOL_OPTIONS" not in child_environment({}, ROUTE)
    route = Route("127.0.0.1", 8099, "/b", "/e", java_trust_store="/home/a b/store.p12")
    options = child_environment({"JAVA_TOOL_OPTIONS": "-Xmx1g", "NO_PROXY": ".corp.example"}, route)[
        "JAVA_TOOL_OPTIONS"
    ]
    assert options.startswith("-Xmx1g -Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=8099 ")
    assert "-Dhttp.nonProxyHosts=*.corp.example|localhost|127.0.0.1|[::1] " in options
    assert '-Djavax.net.ssl.trustStore="/home/a b/store.p12"' in options


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://proxy.corp:3128"}, Upstream("http", "proxy.corp", 3128)),
        ({"https_proxy": "proxy.corp"}, Upstream("http", "proxy.corp", 80)),
        ({"ALL_PROXY": "https://u:p%40ss@proxy.corp"}, Upstream("https", "proxy.corp", 443, "u:p@ss")),
        ({"HTTPS_PROXY": "socks5://proxy.corp:1080"}, None),
        ({"HTTPS_PROXY": "http://[::1:x"}, None),
        ({"HTTPS_PROXY": "http://proxy.corp:99999"}, None),
    ],
)
def test_the_proxy_that_is_there_already(environment: dict[str, str], expected: Upstream | None) -> None:
    assert upstream_of(environment) == expected


def test_an_ipv6_upstream_is_bracketed() -> None:
    assert Upstream("http", "fd00::1", 3128).mode == "upstream:http://[fd00::1]:3128"
