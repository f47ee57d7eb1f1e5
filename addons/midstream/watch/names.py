"""What is measured, by which name, in which unit, with which attributes. Data, and how Prometheus spells it.

`gen_ai.*` are OpenTelemetry's conventions, of which nothing is changed or renamed:
https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/gen-ai/gen-ai-metrics.md
`midstream.*` is what they lack. In Prometheus both are spelled by OpenTelemetry's rules:
https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
ASKED = "gen_ai.request.model"
SERVED = "gen_ai.response.model"
TOKEN_TYPE = "gen_ai.token.type"  # noqa: S105 - no password
ERROR = "error.type"
ADDRESS = "server.address"
PORT = "server.port"
OUTCOME = "midstream.outcome"
DELIVERY = "midstream.delivery"
APP = "midstream.app"
KEY = "midstream.key"
TARGET = "midstream.target"

FOLDED = {
    PROVIDER: "other",
    ASKED: "other",
    SERVED: "other",
    ERROR: "_OTHER",
    ADDRESS: "",
    PORT: "",
    APP: "other",
    KEY: "other",
    TARGET: "other",
}
"""What stands for a value that others choose (clients, providers, the configuration) once there are too many; "": nothing. The
values of all other attributes are ours, and few. `_OTHER` is OpenTelemetry's word for an error without a name."""

SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
"""The bucket boundaries that the conventions give."""

type Kind = Literal["counter", "gauge", "up_down", "histogram"]


@dataclass(frozen=True, slots=True, eq=False)
class Instrument:
    """unit: in UCUM, in braces what is merely counted. buckets: upper bounds, ascending. labels: every attribute it can have."""

    name: str
    kind: Kind
    unit: str
    about: str
    labels: tuple[str, ...]
    buckets: tuple[float, ...] = ()

    @property
    def prometheus(self) -> str:
        """Its name there, without the suffixes of a histogram's series."""
        unit = "" if self.unit.startswith("{") else "_" + _UNITS.get(self.unit, self.unit)
        return label_name(self.name) + unit + ("_total" if self.kind == "counter" else "")


_UNITS = {"s": "seconds"}


def label_name(name: str) -> str:
    """An attribute's or a metric's name as Prometheus spells it."""
    return name.replace(".", "_")


_CALL = (OPERATION, PROVIDER, ASKED, SERVED, ADDRESS, PORT)

DURATION = Instrument(
    "gen_ai.client.operation.duration", "histogram", "s", "GenAI operation duration.", (*_CALL, ERROR), SECONDS
)
FIRST_CHUNK = Instrument(
    "gen_ai.client.operation.time_to_first_chunk",
    "histogram",
    "s",
    "Time from the request to the first content that the client gets.",
    _CALL,
    SECONDS,
)
PER_CHUNK = Instrument(
    "gen_ai.client.operation.time_per_output_chunk",
    "histogram",
    "s",
    "Time from one content event of a stream to the next.",
    _CALL,
    SECONDS,
)
TOKEN_USAGE = Instrument(
    "gen_ai.client.token.usage",
    "histogram",
    "{token}",
    "Number of input and output tokens billed, for each attempt at a provider.",
    (*_CALL, TOKEN_TYPE),
    TOKENS,
)
STREAMS = Instrument(
    "midstream.streams",
    "counter",
    "{stream}",
    "Streams that are over.",
    (PROVIDER, ASKED, OUTCOME, DELIVERY, APP, KEY),
)
ACTIVE = Instrument(
    "midstream.active_streams", "up_down", "{stream}", "Streams that run now.", (OPERATION, PROVIDER, ASKED)
)
ATTEMPTS = Instrument(
    "midstream.attempts", "counter", "{attempt}", "Tries at a provider.", (PROVIDER, ASKED, OUTCOME, ERROR)
)
ATTEMPT_FIRST_CHUNK = Instrument(
    "midstream.attempt.time_to_first_chunk",
    "histogram",
    "s",
    "Time from asking a provider to its first content.",
    (PROVIDER, ASKED),
    SECONDS,
)
BREAKS = Instrument(
    "midstream.breaks", "counter", "{break}", "Attempts that failed after content.", (PROVIDER, ASKED, ERROR)
)
REROUTES = Instrument(
    "midstream.reroutes",
    "counter",
    "{reroute}",
    "Moves from this provider or model to another.",
    (PROVIDER, ASKED, ERROR),
)
RESUMES = Instrument(
    "midstream.resumes", "counter", "{resume}", "Clients' reconnections to a stream that ran.", (PROVIDER, ASKED)
)
PAUSED = Instrument(
    "midstream.paused", "counter", "s", "Time that a provider was held back for a slow client.", (PROVIDER, ASKED)
)
MALFORMED = Instrument("midstream.malformed", "counter", "{frame}", "Frames that could not be read.", (PROVIDER, ASKED))
COST = Instrument(
    "midstream.cost", "counter", "USD", "US dollars, where the price is known.", (PROVIDER, ASKED, SERVED, APP, KEY)
)
BREAKER = Instrument(
    "midstream.breaker.state",
    "gauge",
    "{state}",
    "A target's circuit breaker: 0 closed, 1 half open, 2 open.",
    (TARGET,),
)

INSTRUMENTS = (
    DURATION,
    FIRST_CHUNK,
    PER_CHUNK,
    TOKEN_USAGE,
    STREAMS,
    ACTIVE,
    ATTEMPTS,
    ATTEMPT_FIRST_CHUNK,
    BREAKS,
    REROUTES,
    RESUMES,
    PAUSED,
    MALFORMED,
    COST,
    BREAKER,
)

PROVIDERS = {
    "openai-chatgpt": "openai",
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "vertex": "gcp.vertex_ai",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}
"""Providers that the conventions call otherwise than we do."""

OPERATIONS = {
    "gemini": "generate_content",
    "gemini_interactions": "generate_content",
    "gemini_live": "generate_content",
    "openai_completions": "text_completion",
    "anthropic_complete": "text_completion",
}
"""By dialect; all others are `chat`."""

BREAKER_STATES = {"closed": 0, "half_open": 1, "open": 2}
