"""Which host is whose: the providers known from the start. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Protocol


class Owner(Protocol):
    """Whose a host is, built in or configured: what recognition needs of a provider.

    name: the `provider` column. prices: its id in genai-prices, "" where it has none. dialect: what its chats are in, None
    where nobody has said.
    """

    @property
    def name(self) -> str: ...
    @property
    def prices(self) -> str: ...
    @property
    def dialect(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Provider:
    """name: the `provider` column; hosts: globs; prices: the provider's id in genai-prices ("" where it has none)."""

    name: str
    hosts: tuple[str, ...]
    prices: str = ""

    @property
    def dialect(self) -> str | None:
        api = CHAT_APIS.get(self.name)
        return api.dialect if api else None


PROVIDERS = (
    Provider("openai", ("api.openai.com", "*.api.openai.com"), "openai"),
    Provider("openai-chatgpt", ("chatgpt.com", "chat.openai.com"), "openai"),
    Provider(
        "azure",
        (
            "*.openai.azure.com",
            "*.cognitiveservices.azure.com",
            "*.services.ai.azure.com",
            "*.models.ai.azure.com",
            "models.inference.ai.azure.com",
        ),
        "azure",
    ),
    Provider("anthropic", ("api.anthropic.com",), "anthropic"),
    Provider("gemini", ("generativelanguage.googleapis.com", "cloudcode-pa.googleapis.com"), "google"),
    Provider(
        "vertex",
        (
            "aiplatform.googleapis.com",
            "*-aiplatform.googleapis.com",
            "*.aiplatform.googleapis.com",
            "firebasevertexai.googleapis.com",
        ),
        "google",
    ),
    Provider(
        "bedrock",
        (
            "bedrock-runtime.*.amazonaws.com",
            "bedrock-runtime.*.amazonaws.com.cn",
            "bedrock-agent-runtime.*.amazonaws.com",
            "bedrock-mantle.*.api.aws",
            "bedrock-runtime.*.api.aws",
        ),
        "aws",
    ),
    Provider("cohere", ("api.cohere.com", "api.cohere.ai"), "cohere"),
    Provider("mistral", ("api.mistral.ai", "codestral.mistral.ai"), "mistral"),
    Provider("groq", ("api.groq.com",), "groq"),
    Provider("deepseek", ("api.deepseek.com",), "deepseek"),
    Provider("xai", ("api.x.ai", "*.api.x.ai"), "x-ai"),
    Provider("openrouter", ("openrouter.ai",), "openrouter"),
    Provider("together", ("api.together.xyz", "api.together.ai"), "together"),
    Provider("fireworks", ("api.fireworks.ai",), "fireworks"),
    Provider("perplexity", ("api.perplexity.ai",), "perplexity"),
    Provider("cerebras", ("api.cerebras.ai",), "cerebras"),
    Provider("moonshot", ("api.moonshot.ai", "api.moonshot.cn"), "moonshotai"),
    Provider("alibaba", ("dashscope.aliyuncs.com", "dashscope-intl.aliyuncs.com", "dashscope-us.aliyuncs.com")),
    Provider("zai", ("api.z.ai", "open.bigmodel.cn"), "zai"),
    Provider("huggingface", ("router.huggingface.co", "api-inference.huggingface.co"), "huggingface"),
    Provider("github-copilot", ("api.githubcopilot.com", "api.*.githubcopilot.com")),
    Provider("github-models", ("models.github.ai",)),
    Provider("ollama", ("ollama.com",)),
    Provider("venice", ("api.venice.ai",), "venice"),
    Provider("vercel-gateway", ("ai-gateway.vercel.sh",)),
    Provider("cloudflare-gateway", ("gateway.ai.cloudflare.com",)),
    Provider("writer", ("api.writer.com",)),
    Provider("watsonx", ("*.ml.cloud.ibm.com",)),
    Provider("snowflake", ("*.snowflakecomputing.com",)),
    Provider("nvidia", ("integrate.api.nvidia.com",)),
    Provider("avian", ("api.avian.io",), "avian"),
    Provider("novita", ("api.novita.ai",), "novita"),
    Provider("minimax", ("api.minimax.io", "api.minimaxi.com"), "minimax"),
    Provider("sambanova", ("api.sambanova.ai",)),
    Provider("hyperbolic", ("api.hyperbolic.xyz",)),
    Provider("deepinfra", ("api.deepinfra.com",), "deepinfra"),
    Provider("doubleword", ("api.doubleword.ai",)),
    Provider("crusoe", ("api.crusoe.ai", "*.crusoecloud.com")),
    Provider("ovhcloud", ("*.endpoints.kepler.ai.cloud.ovh.net",), "ovhcloud"),
)

PRICES = {provider.name: provider.prices for provider in PROVIDERS}
"""A known provider's id in genai-prices, by its name."""


@dataclass(frozen=True, slots=True)
class ChatApi:
    """Where a provider takes chats.

    dialect: what all its models answer there. base_url: what the provider's own SDK takes for one, so that `/v1` is in it
    exactly where the dialect's paths lack it; "" where it differs by account or region.
    """

    dialect: str
    base_url: str = ""


CHAT_APIS = {
    "openai": ChatApi("openai_chat", "https://api.openai.com/v1"),
    "azure": ChatApi("openai_chat"),
    "anthropic": ChatApi("anthropic_messages", "https://api.anthropic.com"),
    "gemini": ChatApi("gemini", "https://generativelanguage.googleapis.com/v1beta"),
    "vertex": ChatApi("gemini"),
    "bedrock": ChatApi("bedrock_converse"),
    "cohere": ChatApi("cohere", "https://api.cohere.com"),
    "mistral": ChatApi("openai_chat", "https://api.mistral.ai/v1"),
    "groq": ChatApi("openai_chat", "https://api.groq.com/openai/v1"),
    "deepseek": ChatApi("openai_chat", "https://api.deepseek.com/v1"),
    "xai": ChatApi("openai_chat", "https://api.x.ai/v1"),
    "openrouter": ChatApi("openai_chat", "https://openrouter.ai/api/v1"),
    "together": ChatApi("openai_chat", "https://api.together.xyz/v1"),
    "fireworks": ChatApi("openai_chat", "https://api.fireworks.ai/inference/v1"),
    "perplexity": ChatApi("openai_chat", "https://api.perplexity.ai"),
    "cerebras": ChatApi("openai_chat", "https://api.cerebras.ai/v1"),
    "moonshot": ChatApi("openai_chat", "https://api.moonshot.ai/v1"),
    "zai": ChatApi("openai_chat", "https://api.z.ai/api/paas/v4"),
    "huggingface": ChatApi("openai_chat", "https://router.huggingface.co/v1"),
    "github-models": ChatApi("openai_chat", "https://models.github.ai/inference"),
    "ollama": ChatApi("ollama", "http://localhost:11434"),
    "venice": ChatApi("openai_chat", "https://api.venice.ai/api/v1"),
    "vercel-gateway": ChatApi("openai_chat", "https://ai-gateway.vercel.sh/v1"),
    "nvidia": ChatApi("openai_chat", "https://integrate.api.nvidia.com/v1"),
    "minimax": ChatApi("openai_chat", "https://api.minimax.io/v1"),
    "sambanova": ChatApi("openai_chat", "https://api.sambanova.ai/v1"),
    "hyperbolic": ChatApi("openai_chat", "https://api.hyperbolic.xyz/v1"),
    "deepinfra": ChatApi("openai_chat", "https://api.deepinfra.com/v1/openai"),
}
"""By provider; who is missing here must be configured with a dialect and a base_url before a chat can be sent there."""

MODELS = (
    ("gpt-oss*", ""),  # open weights: many serve them, OpenAI does not
    ("gpt-*", "openai"),
    ("ft:gpt-*", "openai"),
    ("chatgpt-*", "openai"),
    ("o[134]", "openai"),
    ("o[134]-*", "openai"),
    ("claude-*", "anthropic"),
    ("gemini-*", "gemini"),
    ("models/gemini-*", "gemini"),
    ("mistral-*", "mistral"),
    ("ministral-*", "mistral"),
    ("magistral-*", "mistral"),
    ("codestral-*", "mistral"),
    ("devstral-*", "mistral"),
    ("pixtral-*", "mistral"),
    ("open-mistral-*", "mistral"),
    ("open-mixtral-*", "mistral"),
    ("deepseek-chat", "deepseek"),
    ("deepseek-reasoner", "deepseek"),
    ("grok-*", "xai"),
    ("command-*", "cohere"),
    ("c4ai-aya-*", "cohere"),
    ("sonar*", "perplexity"),
    ("kimi-*", "moonshot"),
    ("moonshot-v1-*", "moonshot"),
)
"""Names by which everybody knows whose model it is, the first that matches; "" is nobody's in particular."""


@lru_cache(maxsize=1024)
def provider_of(host: str) -> Provider | None:
    """Return the known provider of a host name, or None."""
    host = host.lower().rstrip(".")
    for provider in PROVIDERS:
        if any(fnmatchcase(host, glob) for glob in provider.hosts):
            return provider
    return None


def provider_of_model(model: str) -> str:
    """Return the name of the provider whose model this evidently is, or ""."""
    return next((name for glob, name in MODELS if fnmatchcase(model, glob)), "")
