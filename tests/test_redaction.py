"""No credential survives, wherever it was planted; and what is none is left alone."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midstream.redaction import HOLD_LIMIT, REDACTED, Redactor, StreamRedactor

ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"
SECRET = st.text(ALPHABET, min_size=16, max_size=60).map(lambda s: "q7" + s)
QUIRKY = st.text(ALPHABET + '+/=_-.~"\\é', min_size=16, max_size=40).map(lambda s: "q7" + s)
KEY_FORM = st.sampled_from(
    ("sk-", "sk-ant-api03-", "sk-proj-", "gsk_", "xai-", "hf_", "AIzaSyDDDDDDDDDDDDDDDDDD", "ek_")
)
HEADERS = (
    "authorization", "Authorization", "x-api-key", "api-key", "x-goog-api-key", "Cookie", "set-cookie", "openai-organization",
    "openai-project", "proxy-authorization", "x-amz-security-token", "ocp-apim-subscription-key", "x-my-secret", "x-auth",
    "helicone-auth", "cf-access-client-secret", "x-portkey-api-key", "sec-websocket-protocol", "chatgpt-account-id",
)  # fmt: skip
QUERY = (
    "key", "api_key", "apikey", "api-key", "access_token", "token", "X-Amz-Security-Token", "X-Amz-Signature", "sig",
    "client_secret", "subscription-key", "code", "X-Goog-Signature",
)  # fmt: skip
FIELDS = (
    "api_key", "apiKey", "api-key", "API_KEY", "x-api-key", "access_token", "accessToken", "refresh_token", "client_secret",
    "clientSecret", "authorization", "Authorization", "authorization_token", "password", "aws_secret_access_key", "private_key",
    "session_token",
)  # fmt: skip


def wrap(value: Any, path: list[str | int]) -> Any:
    for step in reversed(path):
        value = {step: value, "n": 1} if isinstance(step, str) else [0] * step + [value]
    return value


PATH = st.lists(st.one_of(st.sampled_from(("tools", "metadata", "input", "x")), st.integers(0, 2)), max_size=5)


@given(QUIRKY, st.sampled_from(HEADERS), st.sampled_from(("", "Bearer ", "Token ", "sid=", "a=b; session=")))
def test_no_secret_header_survives(secret: str, name: str, scheme: str) -> None:
    redacted = Redactor().headers([("Accept", "*/*"), (name, scheme + secret), ("x-echo", f"you sent {secret}!")])
    assert secret not in str(redacted)
    assert redacted["accept"] == "*/*"


@given(SECRET, st.sampled_from(QUERY), st.booleans())
def test_no_secret_in_a_query_survives(secret: str, name: str, quoted: bool) -> None:
    value, echo = (quote("/" + secret, safe=""), "") if quoted else (secret, secret)
    url = Redactor().url(f"https://me:{secret}x@api.example.com/v1/{echo}?alt=sse&{name}={value}&again={echo}")
    assert secret not in url
    assert "alt=sse" in url
    assert url.startswith("https://api.example.com/v1/")


@given(QUIRKY, st.sampled_from(FIELDS), PATH, PATH)
def test_no_secret_body_field_survives(secret: str, name: str, above: list[str | int], below: list[str | int]) -> None:
    body = Redactor().body(wrap({name: wrap(secret, below), "model": "gpt-4o"}, above))
    assert secret not in json.dumps(body, ensure_ascii=False)
    assert json.dumps(secret)[1:-1] not in json.dumps(body)
    assert "gpt-4o" in json.dumps(body)


@given(SECRET, KEY_FORM, PATH)
def test_what_looks_like_a_key_is_masked_anywhere(secret: str, form: str, path: list[str | int]) -> None:
    redactor = Redactor()
    assert secret not in json.dumps(redactor.body(wrap(f"use {form}{secret}, please", path)))
    assert secret not in redactor.headers([("x-note", form + secret)]).get("x-note", "")
    assert secret not in redactor.url(f"https://h/p/{form}{secret}?a={form}{secret}")
    assert secret.encode() not in redactor.mask(f"data: {form}{secret}\n".encode())


@given(SECRET, st.sampled_from(FIELDS), st.integers(0, 3))
def test_members_of_json_within_json_strings_are_masked(secret: str, name: str, depth: int) -> None:
    text = json.dumps({name: secret, "city": "Paris"})
    for _ in range(depth):
        text = json.dumps({"arguments": text})
    masked = Redactor().mask(text.encode())
    assert secret.encode() not in masked
    assert len(masked) == len(text)
    assert b"Paris" in masked
    json.loads(masked)


@given(st.data(), SECRET)
def test_a_secret_split_across_chunks_is_masked_and_the_edges_stay(data: st.DataObject, secret: str) -> None:
    redactor = Redactor()
    redactor.headers([("authorization", f"Bearer {secret}")])
    key = "sk-" + secret[::-1]
    body = f'data: {{"error":"bad key {secret}"}}\r\n\r\ndata: {{"client_secret":"{secret}ü","t":"{key}"}}\n\n{secret}'.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=12)))
    chunks = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    stream: StreamRedactor[int] = StreamRedactor(redactor)
    settled = [s for n, chunk in enumerate(chunks) for s in stream.feed(n, chunk)] + stream.close()
    assert [n for n, _ in settled] == list(range(len(chunks)))
    assert [len(chunk) for _, chunk in settled] == [len(chunk) for chunk in chunks]
    joined = b"".join(chunk for _, chunk in settled)
    assert secret.encode() not in joined
    assert key.encode() not in joined
    assert joined.startswith(b'data: {"error":"bad key ')


def test_basic_credentials_are_caught_decoded_too() -> None:
    redactor = Redactor()
    encoded = base64.b64encode(b"someone:pa55word-1234").decode()
    assert redactor.headers([("Authorization", f"Basic {encoded}")]) == {}
    assert redactor.text("no entry for pa55word-1234") == "no entry for *************"


def test_a_secret_caught_after_a_header_was_kept_is_masked_in_it() -> None:
    headers = Redactor().headers([("x-first", "for abcd1234efgh"), ("x-api-key", "abcd1234efgh")])
    assert headers == {"x-first": "for ************"}


def test_what_was_caught_late_is_masked_again_where_it_was_kept() -> None:
    redactor = Redactor()
    body = redactor.body({"messages": [{"content": "my name is abcd1234efgh"}]})
    redactor.headers([("x-api-key", "abcd1234efgh")])
    assert redactor.again(body) == {"messages": [{"content": "my name is ************"}]}


def test_what_is_no_credential_is_left_alone() -> None:
    headers = [
        ("x-ratelimit-remaining-tokens", "149999984"),
        ("anthropic-ratelimit-input-tokens-limit", "50000"),
        ("content-type", "text/event-stream; charset=utf-8"),
        ("x-request-id", "req_9b29e4d9569098cfbdd2d6afe87df7ba"),
        ("idempotency-key", "stainless-python-retry-1"),
    ]
    assert Redactor().headers(headers) == dict(headers)
    body = {
        "model": "gpt-4o",
        "logprobs": {"content": [{"token": "Hello", "bytes": [72]}]},
        "max_tokens": 5,
        "tools": [
            {
                "parameters": {
                    "type": "object",
                    "properties": {"password": {"type": "string", "description": "the password"}},
                }
            }
        ],
        "messages": [{"content": "Give me a basic introduction to task-oriented-dialogue-systems, bearer of news."}],
    }
    assert Redactor().body(body) == body


def test_headers_inside_a_body_are_taken_for_credentials() -> None:
    body = {
        "tools": [
            {"type": "mcp", "server_url": "https://mcp.example", "headers": {"X-Whatever": "abc", "y": {"z": "d"}}}
        ]
    }
    assert Redactor().body(body)["tools"][0]["headers"] == {"X-Whatever": REDACTED, "y": {"z": REDACTED}}


def test_a_plain_word_in_a_secret_header_is_not_looked_for_elsewhere() -> None:
    redactor = Redactor()
    redactor.headers([("x-auth-format", "application/json")])
    assert redactor.text("application/json") == "application/json"


@pytest.mark.parametrize("size", [1, 1000, HOLD_LIMIT])
def test_what_is_held_back_is_bounded(size: int) -> None:
    stream: StreamRedactor[None] = StreamRedactor(Redactor())
    fed = settled = 0
    for _ in range(min(4 * HOLD_LIMIT // size, 3000)):
        fed += size
        settled += sum(len(chunk) for _, chunk in stream.feed(None, b"\0" * size))
        assert fed - settled <= HOLD_LIMIT + size


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_arbitrary_bytes_never_raise_and_keep_their_length(chunks: list[bytes]) -> None:
    stream: StreamRedactor[None] = StreamRedactor(Redactor())
    settled = [s for chunk in chunks for _, s in stream.feed(None, chunk)] + [s for _, s in stream.close()]
    assert [len(s) for s in settled] == [len(c) for c in chunks]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_arbitrary_json_never_raises(body: Any) -> None:
    json.dumps(Redactor().body(body))
