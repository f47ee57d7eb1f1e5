"""Which host is whose: the providers known from the start. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Provider:
    """name: the `provider` column; hosts: globs; prices: the provider's id in genai-prices ("" where it has none)."""

    name: str
    hosts: tuple[str, ...]
    prices: str = ""


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
    Provider("gemini", ("generativelanguage.googleapis.com",), "google"),
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


@lru_cache(maxsize=1024)
def provider_of(host: str) -> Provider | None:
    """Return the known provider of a host name, or None."""
    host = host.lower().rstrip(".")
    for provider in PROVIDERS:
        if any(fnmatchcase(host, glob) for glob in provider.hosts):
            return provider
    return None
