"""A flow is pointed at the relay and given its own face again; what the relay is handed for it."""

from __future__ import annotations

from typing import Any

import pytest
from mitmproxy import http
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import tflow

from midstream.relay import intercept
from midstream.relay.job import GatewayJob

GEMINI = "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse&key=AIzaSecret"
JOB = GatewayJob(peer="127.0.0.1", authority="")


def asked(url: str = GEMINI, mode: str = "regular") -> http.HTTPFlow:
    f = tflow.tflow()
    f.request = http.Request.make("POST", url, b"{}", http.Headers(x_goog_api_key="AIzaSecret"))
    f.client_conn.proxy_mode = ProxyMode.parse(mode)
    return f


def pointed(f: http.HTTPFlow) -> intercept.Original:
    original = intercept.Original.point(f, JOB, http.Headers(host="midstream"), ("127.0.0.1", 4711))
    f.request.path, f.request.raw_content = "/", b""
    return original


def test_a_pointed_flow_goes_to_the_relay_and_through_no_other_proxy() -> None:
    f = asked()
    f.server_conn.via = ("http", ("proxy", 3128))
    pointed(f)
    assert (f.request.scheme, f.request.host, f.request.port) == ("http", "127.0.0.1", 4711)
    assert "AIzaSecret" not in str(f.request.headers)
    assert f.server_conn.via is None


def test_a_restored_flow_is_as_it_was_but_for_the_credential_in_its_query() -> None:
    f, before = asked(), asked()
    pointed(f).restore(f)
    assert f.request.url == before.request.url.replace("&key=AIzaSecret", "")
    assert (f.request.headers, f.request.raw_content) == (before.request.headers, b"{}")


def test_a_body_that_was_streamed_is_not_put_back() -> None:
    f = asked()
    f.request.raw_content = None
    original = intercept.Original.point(f, JOB, http.Headers(), ("127.0.0.1", 4711))
    f.request.raw_content = b"as it was left"
    original.restore(f)
    assert f.request.raw_content == b"as it was left"


def test_the_provider_is_asked_with_the_credential() -> None:
    request = intercept.upstream_request(asked(), "user:password")
    assert (request.url, request.body, request.proxy, request.proxy_auth) == (GEMINI, b"{}", "", "user:password")


@pytest.mark.parametrize(
    ("own", "modes", "proxy"),
    [
        ("regular", ["regular"], ""),
        ("upstream:https://one:3128", ["regular"], "https://one:3128"),
        ("reverse:http://midstream.internal@8081", ["regular", "upstream:http://two:8080"], "http://two:8080"),
    ],
)
def test_the_gateway_goes_through_the_first_upstream_proxy_that_a_mode_names(
    own: str, modes: list[str], proxy: str
) -> None:
    parsed: list[Any] = [ProxyMode.parse(mode) for mode in modes]
    assert intercept.gateway_job(asked(mode=own), int, parsed, "").proxy == proxy


def test_a_credential_in_the_query_goes_to_the_gateway_alone() -> None:
    f = asked("http://midstream.internal/v1/streams?access_token=secret&limit=1")
    job = intercept.gateway_job(f, int, [], "")
    assert (job.token, f.request.path) == ("secret", "/v1/streams?limit=1")
