"""Whether a trailing assistant message is the beginning of the answer (prefill), or a turn that is over: who takes it, and how.

Data, and small questions to it. A provider's `prefill` in midstream.toml is the user's word and goes before both.

Anthropic, none from Claude 4.6 on ("does not support assistant message prefill. The conversation must end with a user message"):
https://platform.claude.com/docs/en/about-claude/models/migration-guide
Gemini, none from 3.6 Flash and 3.5 Flash-Lite on ("these models and all future Gemini model releases"):
https://ai.google.dev/gemini-api/docs/latest-model
Ollama: https://github.com/ollama/ollama/issues/6778. OpenAI has no such thing: the message is a turn that is over.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from midstream.dialects.anthropic.models import claude
from midstream.wire.json_text import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefill:
    """How a provider takes a prefill.

    takes: whether its models do; None: it depends on the model, and nobody here knows the model.
    message, body: fields to add to the trailing message, and to the request's body.
    """

    takes: bool | None = None
    message: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)


UNMARKED = Prefill()

PROVIDERS: Mapping[str, Prefill] = {
    "openai": Prefill(takes=False),
    "azure": Prefill(takes=False),
    # "Last message must have role `user`": https://github.com/BerriAI/litellm/issues/3918
    "perplexity": Prefill(takes=False),
    # "Set this to `true` when adding an assistant message as prefix": https://docs.mistral.ai/api/
    "mistral": Prefill(takes=True, message={"prefix": True}),
    # With base_url https://api.deepseek.com/beta only, so not as built in:
    # https://api-docs.deepseek.com/guides/chat_prefix_completion
    "deepseek": Prefill(takes=False, message={"prefix": True}),
    # "Partial mode": https://platform.kimi.ai/docs/api/partial and https://help.aliyun.com/en/model-studio/partial-mode,
    # where models that think take none
    "moonshot": Prefill(takes=True, message={"partial": True}),
    "alibaba": Prefill(message={"partial": True}),
    # "Assistant Message Prefilling", of any text model: https://console.groq.com/docs/prompting
    "groq": Prefill(takes=True),
    # "Assistant Prefill": a message of the assistant's at the end; whose model it is decides, where that is known:
    # https://openrouter.ai/docs/api-reference/overview
    "openrouter": Prefill(takes=True),
    "ollama": Prefill(takes=True),
    # Servers that users name: vLLM, https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html, and SGLang
    # continue what they are told to; llama.cpp does so unasked, but refuses where the model thinks:
    # https://github.com/ggml-org/llama.cpp/pull/13174
    "vllm": Prefill(takes=True, body={"continue_final_message": True, "add_generation_prompt": False}),
    "sglang": Prefill(takes=True, body={"continue_final_message": True}),
    "llamacpp": Prefill(takes=True),
}
"""By provider; only the chat APIs of OpenAI's kind differ by it."""

_BY_MAKER = frozenset(("anthropic_messages", "gemini", "bedrock_converse", "bedrock_invoke"))
_NEVER = frozenset(("openai_responses", "openai_realtime", "gemini_live", "gemini_interactions"))
OPENAIS = re.compile(r"(^|/)(gpt-(?!oss)|chatgpt-|o\d(-|$)|ft:gpt-)")
_GEMINI_TAKES = re.compile(r"gemini-(?:pro|1|1\.\d|2|2\.\d|3|3\.[0-4]|3\.5(?!-flash-lite))(?:-(?!latest)|$)")


def takes_prefill(dialect: str, model: str, provider: str = "") -> bool | None:
    """Whether a model goes on with a trailing assistant message; None where nobody here knows.

    A refusal may still come (Claude and Qwen take none while they think), and a model may begin anew all the same.
    """
    of_model = _of_model(model)
    if dialect in _NEVER or of_model is False:
        return False
    if dialect in _BY_MAKER:
        return of_model
    if dialect == "ollama":
        return True
    takes = prefill_of(provider).takes
    return takes if takes is not None or provider in PROVIDERS else of_model


def prefill_of(provider: str) -> Prefill:
    """How a provider is told that the trailing message is a prefill; one that nobody here knows is told nothing."""
    return PROVIDERS.get(provider, UNMARKED)


def marked(body: Mapping[str, Any], provider: str) -> Json:
    """The body of an `openai_chat` request whose last message is a prefill, with what tells the provider so."""
    prefill, said = prefill_of(provider), dict(body)
    messages = said.get("messages")
    if prefill.message and isinstance(messages, list) and messages and isinstance(messages[-1], dict):
        said["messages"] = [*messages[:-1], {**messages[-1], **prefill.message}]
    return {**said, **prefill.body}


def _of_model(model: str) -> bool | None:
    """What is known by the model's name alone, whoever serves it."""
    name = model.lower()[-256:]
    known = claude(name)
    if known.known:
        return known.version < (4, 6)
    if "gemini-" in name:
        return bool(_GEMINI_TAKES.search(name))
    return False if OPENAIS.search(name) else None
