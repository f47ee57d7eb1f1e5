from __future__ import annotations

import copy

import pytest
from mistralai.client.models import AssistantMessage

from midstream.dialects.prefill import PROVIDERS, UNMARKED, marked, prefill_of, takes_prefill
from midstream.dialects.registry import DIALECTS
from midstream.providers import PROVIDERS as KNOWN

SERVERS = {"vllm", "sglang", "llamacpp"}
"""Names that users give to servers of their own."""


@pytest.mark.parametrize(
    ("model", "takes"),
    [
        ("claude-3-5-haiku-20241022", True),
        ("claude-haiku-4-5", True),
        ("claude-opus-4.5", True),
        ("claude-sonnet-4-6", False),
        ("claude-opus-5", False),
        ("claude-fable-5", False),
        ("claude-opus-latest", False),
        ("deepseek-chat", None),
    ],
)
def test_claude_takes_a_prefill_before_4_6(model: str, takes: bool | None) -> None:
    assert takes_prefill("anthropic_messages", model) is takes


@pytest.mark.parametrize(
    ("model", "takes"),
    [
        ("gemini-1.5-pro", True),
        ("gemini-2.0-flash", True),
        ("gemini-2.5-flash-lite", True),
        ("gemini-3-flash-preview", True),
        ("gemini-3.1-pro", True),
        ("gemini-3.5-flash", True),
        ("gemini-3.5-flash-lite", False),
        ("gemini-3.6-flash", False),
        ("gemini-3.7-flash", False),
        ("gemini-3.10-pro", False),
        ("gemini-4-pro", False),
        ("gemini-flash-latest", False),
        ("gemini-pro-latest", False),
        ("gemma-3-27b-it", None),
    ],
)
def test_gemini_takes_a_prefill_before_3_6_flash_and_3_5_flash_lite(model: str, takes: bool | None) -> None:
    assert takes_prefill("gemini", model) is takes


@pytest.mark.parametrize(
    ("provider", "model", "takes"),
    [
        ("openai", "gpt-4.1", False),
        ("openai", "anything", False),
        ("mistral", "mistral-large-latest", True),
        ("deepseek", "deepseek-chat", False),
        ("moonshot", "kimi-k2", True),
        ("alibaba", "qwen-max", None),
        ("groq", "llama-3.3-70b-versatile", True),
        ("perplexity", "sonar", False),
        ("vllm", "qwen3", True),
        ("", "qwen3", None),
        ("mine", "gpt-4o", False),
        ("mine", "claude-haiku-4-5", True),
        ("openrouter", "mistralai/mistral-small", True),
        ("openrouter", "anthropic/claude-sonnet-4.5", True),
        ("openrouter", "anthropic/claude-opus-4.6", False),
        ("openrouter", "openai/gpt-4o", False),
        ("openrouter", "openai/gpt-oss-120b", True),
        ("openrouter", "google/gemini-3.6-flash", False),
        ("openrouter", "openai/o3", False),
    ],
)
def test_of_openais_kind_the_provider_and_the_model_decide(provider: str, model: str, takes: bool | None) -> None:
    assert takes_prefill("openai_chat", model, provider) is takes


def test_ollama_goes_on_and_responses_never_does() -> None:
    assert takes_prefill("ollama", "qwen3") is True
    assert takes_prefill("openai_responses", "grok-4", "xai") is False


def test_how_each_is_told() -> None:
    assert prefill_of("mistral").message == prefill_of("deepseek").message == {"prefix": True}
    assert prefill_of("moonshot").message == {"partial": True}
    assert prefill_of("vllm").body == {"continue_final_message": True, "add_generation_prompt": False}
    assert prefill_of("mine") is UNMARKED
    assert UNMARKED.takes is None


def test_a_request_is_marked_as_its_provider_wants_it() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    was = copy.deepcopy(body)
    assert marked(body, "mistral")["messages"][-1] == {"role": "assistant", "content": "b", "prefix": True}
    assert marked(body, "vllm") == {**body, "continue_final_message": True, "add_generation_prompt": False}
    assert marked(body, "mine") == marked(body, "groq") == body == was
    assert marked({"messages": []}, "mistral") == {"messages": []}


def test_mistrals_sdk_takes_the_mark() -> None:
    message = marked({"messages": [{"role": "assistant", "content": "b"}]}, "mistral")["messages"][0]
    assert AssistantMessage.model_validate(message).prefix is True


def test_the_table_names_providers_that_there_are() -> None:
    assert PROVIDERS.keys() - SERVERS <= {provider.name for provider in KNOWN}


@pytest.mark.parametrize("dialect", [dialect.name for dialect in DIALECTS])
@pytest.mark.parametrize("model", ["", "x" * 10_000, "claude", "\ud83d", "gemini-", "o1"])
def test_any_name_has_an_answer(dialect: str, model: str) -> None:
    assert takes_prefill(dialect, model) in (True, False, None)
