"""The models that the gateway names, as SDKs read them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import anthropic
import httpx
import openai
import pytest

from end_to_end import gateway_chats as chats
from end_to_end.harness import Authority, Provider, Proxy, running
from midstream.keys import new_token

ALL = ["gpt-4o", "anthropic/claude-haiku-4-5", "own/llama-3"]


@pytest.fixture(scope="module")
def keys() -> dict[str, tuple[str, str]]:
    """By name: the token, and its digest."""
    return {name: new_token() for name in ("all", "narrow")}


@pytest.fixture(scope="module")
def proxy(
    authority: Authority,
    provider: Provider,
    confdir: Path,
    keys: dict[str, tuple[str, str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Proxy]:
    config = f"""
    providers.own = {{ dialect = "openai_chat", base_url = "http://127.0.0.1:9/v1" }}
    keys.all = {{ sha256 = "{keys["all"][1]}" }}
    keys.narrow = {{ sha256 = "{keys["narrow"][1]}", models = ["gpt-*", "own/*"] }}
    [[routes]]
    model = "gpt-4o"
    targets = ["openai", "anthropic/claude-haiku-4-5"]
    [[routes]]
    model = "llama*"
    targets = ["own/llama-3"]
    [[routes]]
    provider = "openai"
    """
    with running(chats.gateway_proxy(tmp_path_factory.mktemp("models"), authority, provider, confdir, config)) as proxy:
        yield proxy


@contextlib.contextmanager
def openai_client(proxy: Proxy, token: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{chats.url_of(proxy)}/v1", api_key=token, max_retries=0) as client:
        yield client


def test_the_openai_sdk_lists_what_the_routes_name(proxy: Proxy, keys: dict[str, tuple[str, str]]) -> None:
    with openai_client(proxy, keys["all"][0]) as client:
        found = list(client.models.list())
        assert [model.id for model in found] == ALL
        assert [model.owned_by for model in found] == ["openai", "anthropic", "own"]
        for model in found:
            assert client.models.retrieve(model.id) == model
        with pytest.raises(openai.NotFoundError, match="the configuration names no model 'gpt-none'"):
            client.models.retrieve("gpt-none")


def test_the_anthropic_sdk_does_so_too(proxy: Proxy, keys: dict[str, tuple[str, str]]) -> None:
    token = keys["all"][0]
    with anthropic.Anthropic(base_url=chats.url_of(proxy), api_key=token, max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ALL
        assert client.models.retrieve("own/llama-3").display_name == "own/llama-3"


def test_a_key_sees_what_it_may_use(proxy: Proxy, keys: dict[str, tuple[str, str]]) -> None:
    with openai_client(proxy, keys["narrow"][0]) as client:
        assert [model.id for model in client.models.list()] == ["gpt-4o", "own/llama-3"]
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("anthropic/claude-haiku-4-5")
    assert httpx.get(f"{chats.url_of(proxy)}/v1/models").status_code == 401
    assert httpx.post(f"{chats.url_of(proxy)}/v1/models", headers={"x-api-key": keys["all"][0]}).status_code == 405
