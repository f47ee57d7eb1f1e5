"""What the addons take from a flow: the program, the provider's name, the account, who broke off, the URL."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from mitmproxy import http
from mitmproxy.test import tflow

from midstream import flows
from midstream.dialects.registry import Match, recognise
from midstream.providers import provider_of

CHAT = "https://api.openai.com/v1/chat/completions"
BODY = b'{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}'


def asked(url: str = CHAT, **headers: str) -> http.HTTPFlow:
    f = tflow.tflow()
    f.request = http.Request.make("POST", url, BODY)
    for name, value in headers.items():  # afterwards: make() has the Host header follow the URL
        f.request.headers[name.replace("_", "-")] = value
    return f


def matched() -> Match:
    match = recognise("api.openai.com", "/v1/chat/completions", BODY)
    assert match is not None
    return match


@pytest.mark.parametrize(
    ("user_agent", "app"),
    [
        ("OpenAI/Python 3.54.0", "OpenAI/Python"),
        ("Anthropic/JS 0.60.1", "Anthropic/JS"),
        ("curl/8.5.0", "curl"),
        ("claude-cli/2.0.1 (external, cli)", "claude-cli"),
        ("python-httpx/0.28.1", "python-httpx"),
        ("Mozilla/5.0 (X11; Linux x86_64)", "Mozilla"),
        ("my-program", "my-program"),
        ("(a comment only)", ""),
        ("", ""),
    ],
)
def test_the_app_is_the_first_product_without_its_version(user_agent: str, app: str) -> None:
    assert flows.app_of(user_agent) == app


def test_an_app_is_fit_for_a_row_however_long_its_name() -> None:
    assert len(flows.app_of("x-" * 5000)) <= 80
    assert flows.app_of("sk-0123456789abcdefghij") == "[redacted]"


@pytest.mark.parametrize(
    ("url", "host", "named"),
    [
        ("https://api.openai.com/", "api.openai.com", "api.openai.com"),
        ("https://api.openai.com/", "localhost:8080", "api.openai.com"),  # reverse mode: the Host header is the proxy's
        ("https://104.18.7.192/", "api.openai.com", "api.openai.com"),  # transparent mode: only an address is known
        ("https://[2606:4700::6812]/", "api.openai.com", "api.openai.com"),
        ("http://127.0.0.1:11434/", "127.0.0.1:11434", "127.0.0.1"),
    ],
)
def test_the_host_header_names_an_address_and_never_overrides_a_name(url: str, host: str, named: str) -> None:
    assert flows.host_of(asked(url, host=host)) == named


@pytest.mark.parametrize(
    ("url", "host", "shown"),
    [
        ("https://api.openai.com/v1/x?a=1", "api.openai.com", "https://api.openai.com/v1/x?a=1"),
        ("http://localhost:11434/api/chat", "localhost:11434", "http://localhost:11434/api/chat"),
        ("http://[::1]:80/x", "[::1]", "http://[::1]/x"),
        ("https://104.18.7.192/x", "api.openai.com", "https://api.openai.com/x"),
    ],
)
def test_a_url_is_the_providers_as_the_client_asked_for_it(url: str, host: str, shown: str) -> None:
    assert flows.url_of(asked(url, host=host)) == shown


def recognised(method: str, url: str, body: bytes = b"", **headers: str) -> tuple[str, str] | None:
    f = asked(url, **headers)
    f.request.method, f.request.raw_content = method, body
    match = flows.recognise(f, provider_of)
    return (match.dialect.name, match.provider) if match else None


def test_a_request_is_recognised_by_what_its_method_asks() -> None:
    running = "https://api.openai.com/v1/responses/resp_1?stream=true"
    assert recognised("POST", CHAT, BODY) == ("openai_chat", "openai")
    assert recognised("GET", running) == ("openai_responses", "openai")
    assert recognised("GET", "https://api.openai.com/v1/responses", Upgrade="WebSocket") == (
        "openai_responses",
        "openai",
    )
    assert recognised("GET", CHAT) is None
    assert [recognised(method, CHAT, BODY) for method in ("HEAD", "OPTIONS", "PUT", "DELETE")] == [None] * 4
    assert [recognised(method, running) for method in ("POST", "DELETE")] == [None] * 2


def test_a_chats_socket_is_one_where_the_provider_has_none() -> None:
    f = asked(upgrade="websocket")
    assert flows.recognise_chat_socket(f, provider_of) is None  # a handshake is a GET
    f.request.method = "GET"
    match = flows.recognise_chat_socket(f, provider_of)
    assert match is not None
    assert match.dialect.name == "openai_chat"
    f.request.path = "/v1/responses"
    assert flows.recognise_chat_socket(f, provider_of) is None


def test_only_a_posts_response_tells_late() -> None:
    f = asked("https://api.openai.com/v1/new")
    f.response = http.Response.make(200, b"", {"content-type": "text/event-stream"})
    match = flows.recognise_late(f, provider_of)
    assert match is not None
    assert match.dialect.name == "unknown"
    f.request.method = "GET"
    assert flows.recognise_late(f, provider_of) is None


def test_a_body_is_decoded_and_a_broken_one_is_left_as_it_is() -> None:
    f = asked()
    f.request.headers["content-encoding"] = "gzip"
    f.request.raw_content = gzip.compress(BODY)
    assert flows.body_of(f.request) == BODY
    f.request.raw_content = b"no gzip at all"
    assert flows.body_of(f.request) == b"no gzip at all"
    f.request.raw_content = None  # it was streamed on
    assert flows.body_of(f.request) is None


def test_the_prompt_is_the_text_that_counts_as_input() -> None:
    texts, template = flows.prompt_of(matched(), BODY)
    assert "hi" in texts
    assert template is None or template > 0
    assert flows.prompt_of(matched(), b"no JSON")[0] == []


def test_an_account_tells_the_flow_its_id_and_the_row_where_it_is_from() -> None:
    f = asked(user_agent="curl/8.5.0")
    account = flows.account(f, matched(), "gpt-4o")
    record = account.observation.record
    assert f.metadata[flows.STREAM] == record.id
    assert (record.app, record.provider, record.dialect) == ("curl", "openai", "openai_chat")
    assert (record.model_requested, record.client) == ("gpt-4o", "127.0.0.1")
    f.client_conn.peername = None  # type: ignore[assignment]  # a client that is gone
    assert flows.account(f, matched(), "gpt-4o").observation.record.client == ""


@pytest.mark.parametrize(
    ("message", "alpn", "connected", "left"),
    [
        ("Client disconnected.", None, True, True),
        ("whatever", None, False, True),
        ("server closed connection", None, True, False),
        ("stream reset by client (CANCEL)", b"h2", True, True),
        ("stream reset by client (NO_ERROR)", b"h2", True, True),
        ("stream reset by client (INTERNAL_ERROR)", b"http/1.1", True, True),  # the provider has no streams to reset
        ("stream reset by client (INTERNAL_ERROR)", b"h2", True, False),
        ("", None, True, False),
    ],
)
def test_who_broke_off_is_read_from_the_connection_and_from_mitmproxys_words(
    message: str, alpn: bytes | None, connected: bool, left: bool
) -> None:
    f = asked()
    f.client_conn.state = tflow.tclient_conn().state if connected else type(f.client_conn.state).CLOSED
    f.server_conn.alpn = alpn
    assert flows.client_left(f, message) is left


def test_the_database_is_a_files_path(tmp_path: Path) -> None:
    assert flows.db_path("~/x.db") == Path.home() / "x.db"
    for option in ("", str(tmp_path)):
        with pytest.raises(ValueError, match=r"midstream_db: '.*' is not a file's path"):
            flows.db_path(option)
