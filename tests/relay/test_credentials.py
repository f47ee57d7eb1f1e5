"""Which credential an intercepted request goes out with."""

from __future__ import annotations

from typing import Any

import pytest

from midstream.config import Config
from midstream.dialects.registry import DIALECTS
from midstream.relay.credentials import forwarded_headers, with_credential
from midstream.relay.refusal import Refusal
from midstream.relay.upstream import UpstreamRequest

OPENAI = "https://api.openai.com/v1/chat/completions"
BY_NAME = {dialect.name: dialect for dialect in DIALECTS}


def asked(url: str = OPENAI, **headers: str) -> UpstreamRequest:
    named = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    return UpstreamRequest(method="POST", url=url, headers=[(b"Content-Type", b"application/json"), *named], body=b"{}")


def sent(
    request: UpstreamRequest, name: str = "openai", dialect: str = "openai_chat", **table: Any
) -> tuple[str, dict[str, str]]:
    """Where it goes, and its headers without the one that all have."""
    config = Config.model_validate({"providers": {name: {"api_key": "sk-ours"} | table}})
    changed = with_credential(request, config.providers[name], BY_NAME[dialect])
    assert (changed.method, changed.body) == (request.method, request.body)
    headers = {k.decode().lower(): v.decode() for k, v in changed.headers}
    assert len(headers) == len(changed.headers)
    assert headers.pop("content-type") == "application/json"
    return changed.url, headers


def test_the_configured_key_takes_the_place_of_the_callers() -> None:
    assert sent(asked(Authorization="Bearer sk-theirs")) == (OPENAI, {"authorization": "Bearer sk-ours"})


def test_a_caller_without_a_credential_gets_the_configured_one() -> None:
    assert sent(asked())[1] == {"authorization": "Bearer sk-ours"}


@pytest.mark.parametrize(
    "header",
    [
        "Authorization",
        "X-Api-Key",
        "x-goog-api-key",
        "api-key",
        "Ocp-Apim-Subscription-Key",
        "Cookie",
        "OpenAI-Project",
    ],
)
def test_nothing_of_the_callers_credentials_goes_out(header: str) -> None:
    url, headers = sent(asked(f"{OPENAI}?a=1&key=theirs&access_token=theirs&api-key=theirs", **{header: "theirs"}))
    assert url == f"{OPENAI}?a=1"
    assert headers == {"authorization": "Bearer sk-ours"}


def test_what_is_no_credential_stays() -> None:
    kept = {"user-agent": "x", "idempotency-key": "i", "anthropic-beta": "b", "x-client-request-id": "r"}
    assert sent(asked(**kept))[1] == kept | {"authorization": "Bearer sk-ours"}


GEMINI = "https://generativelanguage.googleapis.com/v1beta"


@pytest.mark.parametrize(
    ("url", "name", "dialect", "theirs", "place"),
    [
        # the API that a dialect is named after says where its key goes, wherever the caller's was (Claude's OAuth token, say)
        ("https://api.anthropic.com/v1/messages", "anthropic", "anthropic_messages", "authorization", "x-api-key"),
        (f"{GEMINI}/models/m:generateContent?key=theirs", "gemini", "gemini", "", "x-goog-api-key"),
        (f"{GEMINI}/models/m:generateContent", "gemini", "gemini", "authorization", "x-goog-api-key"),
        (f"{GEMINI}/interactions?key=theirs", "gemini", "gemini_interactions", "", "x-goog-api-key"),
        (f"{GEMINI}/openai/chat/completions", "gemini", "openai_chat", "authorization", "authorization"),
        ("https://api.mistral.ai/v1/chat/completions", "mistral", "openai_chat", "x-api-key", "authorization"),
        # another's server: where its clients put theirs
        ("https://openrouter.ai/api/v1/messages", "openrouter", "anthropic_messages", "authorization", "authorization"),
        ("https://openrouter.ai/api/v1/messages", "openrouter", "anthropic_messages", "x-api-key", "x-api-key"),
        ("https://openrouter.ai/api/v1/messages", "openrouter", "anthropic_messages", "", "x-api-key"),
        # providers with a place of their own
        (
            "https://aiplatform.googleapis.com/v1/models/m:generateContent",
            "vertex",
            "gemini",
            "x-goog-api-key",
            "authorization",
        ),
    ],
)
def test_a_key_goes_where_the_api_wants_it(url: str, name: str, dialect: str, theirs: str, place: str) -> None:
    given = {theirs: "Bearer theirs"} if theirs else {}
    key = "Bearer sk-ours" if place == "authorization" else "sk-ours"
    assert sent(asked(url, **given), name, dialect) == (url.partition("?")[0], {place: key})


@pytest.mark.parametrize(
    ("name", "place"), [("azure", "api-key"), ("my-azure", "api-key")], ids=["by its name", "by its host"]
)
def test_an_azure_deployments_key_has_a_header_of_its_own(name: str, place: str) -> None:
    url = "https://mine.openai.azure.com/openai/deployments/d/chat/completions?api-version=1"
    table: Any = {
        "dialect": "openai_chat",
        "base_url": "https://mine.openai.azure.com",
        "hosts": ["mine.openai.azure.com"],
    }
    assert sent(asked(url, authorization="Bearer x"), name, **table) == (url, {place: "sk-ours"})


def test_a_key_for_a_server_of_ones_own_goes_where_its_clients_put_theirs() -> None:
    table: Any = {"dialect": "openai_chat", "base_url": "https://llm.example/v1", "hosts": ["llm.example"]}
    url = "https://llm.example/v1/chat/completions"
    for header in ("api-key", "ocp-apim-subscription-key"):
        assert sent(asked(url, **{header: "theirs"}), "mine", **table)[1] == {header: "sk-ours"}
    assert sent(asked(url), "mine", **table)[1] == {"authorization": "Bearer sk-ours"}


def same(request: UpstreamRequest, name: str = "openai", **table: Any) -> bool:
    config = Config.model_validate({"providers": {name: table}})
    return with_credential(request, config.providers[name], BY_NAME["openai_chat"]) is request


def test_without_a_key_the_request_stays_as_it_is() -> None:
    assert same(asked(authorization="Bearer theirs"), prefill=True)


def test_what_is_signed_stays_as_it_is() -> None:
    url = "https://bedrock-runtime.eu-west-1.amazonaws.com/model/m/converse"
    signed = {"authorization": "AWS4-HMAC-SHA256 Credential=AKIA/x, Signature=y", "x-amz-date": "20260101T000000Z"}
    assert same(asked(url, **signed), "bedrock", api_key="k")
    assert same(asked(f"{url}?X-Amz-Signature=y&X-Amz-Credential=x"), "bedrock", api_key="k")
    assert not same(asked(url, authorization="Bearer bedrock-api-key"), "bedrock", api_key="k")


def test_a_key_does_not_go_out_in_the_clear() -> None:
    assert same(asked("http://api.openai.com/v1/chat/completions"), api_key="k")
    table = {"dialect": "openai_chat", "base_url": "http://vllm.lan:8000/v1", "hosts": ["vllm.lan"], "api_key": "k"}
    assert not same(asked("http://vllm.lan:8000/v1/chat/completions"), "mine", **table)  # the user's own word


def test_a_key_goes_to_no_other_customers_host() -> None:
    """*.openai.azure.com is Azure's, but anybody can have a name below it."""
    stranger = asked("https://stranger.openai.azure.com/openai/deployments/d/chat/completions")
    assert same(stranger, "azure", api_key="k", base_url="https://mine.openai.azure.com")
    assert same(stranger, "azure", api_key="k")
    mine = asked("https://mine.openai.azure.com/openai/deployments/d/chat/completions")
    assert not same(mine, "azure", api_key="k", base_url="https://mine.openai.azure.com")


@pytest.mark.parametrize("url", ["https://api.openai.com.evil.example/v1", "https://[bad/v1", "https:///v1", ""])
def test_a_key_goes_to_no_host_that_is_not_the_providers(url: str) -> None:
    assert same(asked(url), api_key="k")


def test_a_key_that_the_environment_lacks_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(Refusal, match="NO_SUCH_KEY") as refused:
        sent(asked(authorization="Bearer theirs"), api_key="env:NO_SUCH_KEY")
    assert refused.value.status == 500


def test_an_aws_session_is_not_forwarded() -> None:
    given = [(b"X-Amz-Security-Token", b"t"), (b"x-amzn-bedrock-trace", b"ENABLED")]
    assert forwarded_headers(given) == [(b"x-amzn-bedrock-trace", b"ENABLED")]
