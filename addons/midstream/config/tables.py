"""The tables of midstream.toml, one class each; what stands below an option is its line in the reference."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from midstream.config.errors import MissingKey
from midstream.config.values import (
    ENV,
    ApiKey,
    BaseUrl,
    DialectName,
    Digest,
    Folder,
    Glob,
    Host,
    Listed,
    Moment,
    OnBreak,
    Origin,
    Seconds,
    SecondsOrZero,
    Whole,
    sendable,
)
from midstream.healing.breakers import Limits
from midstream.providers import CHAT_APIS, PRICES, PROVIDERS, provider_of


class Table(BaseModel):
    """One table of the file: nothing unknown in it, nothing converted silently, nothing changed afterwards."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True, hide_input_in_errors=True
    )


class ProviderConfig(Table):
    """`[providers.NAME]`: a provider. The known ones are built in; what is left out here is then as it is there."""

    dialect: DialectName | None = None
    """The API that it speaks. Required unless built in."""
    base_url: BaseUrl | None = None
    """Where its API is, as one would give it to its own SDK. Required unless built in."""
    hosts: Listed[Host] = ()
    """Requests intercepted for these hosts (globs) belong to this provider."""
    api_key: ApiKey | None = None
    """Its API key: `env:NAME` takes it from the environment. Left out: the caller's own credential is forwarded."""
    prefill: bool | None = None
    """Whether its models continue a trailing assistant message. Left out: what is known of the provider and the model."""
    _name: str = PrivateAttr(default="")

    @property
    def name(self) -> str:
        return self._name

    @property
    def prices(self) -> str:
        """Its id in genai-prices; "" where it has none."""
        if (own := PRICES.get(self._name)) is not None:
            return own
        known = provider_of(urlsplit(self.base_url or "").hostname or "")
        return known.prices if known else ""

    def url(self, path: str) -> str:
        """The address of a path of its dialect. A version that stands on both sides (`/v1` and `/v1/messages`) is taken once."""
        first, _, rest = path.strip("/").partition("/")
        base = self.base_url or ""
        doubled = bool(rest) and urlsplit(base).path.rpartition("/")[2] == first
        return f"{base}/{rest if doubled else path.lstrip('/')}"

    def credential(self, environment: Mapping[str, str] = os.environ) -> str | None:
        """The key to send; None: the caller's own. Looked up at each use, so that it is stored nowhere. Raises MissingKey."""
        if self.api_key is None:
            return None
        text = self.api_key.get_secret_value()
        if not text.startswith(ENV):
            return text
        variable = text.removeprefix(ENV)
        value = environment.get(variable, "").strip()
        if not value:
            mend = f"{variable} is not set in this shell: set it where midstream runs"
            raise MissingKey(self._name, variable, "is not set", mend)
        if not sendable(value):
            mend = f"set {variable} to the key alone, where midstream runs"
            raise MissingKey(self._name, variable, "is no API key, with spaces or non-ASCII characters in it", mend)
        return value


def _built_in() -> dict[str, ProviderConfig]:
    result = {}
    for known in PROVIDERS:
        result[known.name] = ProviderConfig.model_validate(built_in_fields(known.name))
        result[known.name]._name = known.name
    return result


def built_in_fields(name: str) -> dict[str, Any]:
    """What is known from the start of a provider, as its table would say it; {} of a stranger."""
    hosts = next((known.hosts for known in PROVIDERS if known.name == name), None)
    if hosts is None:
        return {}
    api = CHAT_APIS.get(name)
    return {"hosts": hosts} | ({"dialect": api.dialect, "base_url": api.base_url or None} if api else {})


class Backoff(Table):
    """`backoff`: how long to wait before the next attempt. Full jitter: anything from 0 to base, twice that, and so on."""

    base: Seconds = 0.5
    """Seconds: the longest wait before the second attempt; it doubles with each further one."""
    max: Seconds = 8.0
    """Seconds: the longest wait of all. A provider's Retry-After wins over both."""


class Timeouts(Table):
    """`timeouts`: when an attempt has failed. Only progress counts: pings and comments do not reset a clock."""

    connect: Seconds = 10.0
    """Seconds for DNS, TCP and TLS together."""
    first_token: Seconds = 300.0
    """Seconds until the first token."""
    idle: Seconds = 300.0
    """Seconds between two tokens."""
    total: Seconds | None = None
    """Seconds for the whole stream, all attempts together. Left out: no limit."""


@dataclass(frozen=True, slots=True)
class Target:
    """Whom to ask, for which of its models."""

    provider: str
    model: str


class Route(Table):
    """`[[routes]]`: what happens to requests that match. The first route whose globs match wins."""

    provider: Glob = "*"
    """Glob on the provider asked for."""
    model: Glob = "*"
    """Glob on the model asked for."""
    targets: Listed[Glob] = ()
    """`provider` or `provider/model`, in order of preference. Left out: the provider asked for, alone."""
    attempts: Annotated[int, Field(ge=1, le=20)] = 2
    """At most so many on one target, before the first token."""
    backoff: Backoff = Backoff()
    """The wait between attempts."""
    timeouts: Timeouts = Timeouts()
    """When an attempt has failed."""
    on_break: OnBreak = "error"
    """What a break after the first token leads to: `continue` where it broke, `restart` the answer, or an `error`."""
    hold: SecondsOrZero = 0.0
    """Seconds to hold back the first tokens, so that an early break restarts unseen."""
    seam: Annotated[int, Field(ge=32, le=4096)] = 200
    """Characters of a continued answer that are held back at most, to see whether they repeat what was there already."""

    def matches(self, provider: str, model: str) -> bool:
        return fnmatchcase(provider, self.provider) and fnmatchcase(model, self.model)

    def targets_for(self, provider: str, model: str) -> tuple[Target, ...]:
        """Whom to ask in turn, when this provider was asked for this model."""
        if not self.targets:
            return (Target(provider, model),)
        named = (target.partition("/") for target in self.targets)
        return tuple(Target(name, own or model) for name, _, own in named)


class Healing(Table):
    """`[healing]`: what all routes share: circuit breakers and retry budgets, one of each for a target."""

    failures: Annotated[int, Field(ge=1, le=1_000)] = 5
    """Failures in a row after which a target's circuit breaker opens, and others are asked in its place."""
    cool_down: Seconds = 15.0
    """Seconds until an open breaker lets one request through, to see whether the target is back."""
    retry_budget: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Retries of a target as a share of the requests to it, beyond ten that come back at one a second; 0: no retries."""

    @property
    def limits(self) -> Limits:
        return Limits(self.failures, self.cool_down, self.retry_budget)


class Streams(Table):
    """`[streams]`: how long a stream lives without a reader, and what is kept of it."""

    grace: SecondsOrZero = 30.0
    """Seconds a resumable stream outlives its last reader."""
    keep: SecondsOrZero = 300.0
    """Seconds a finished stream can be read again."""
    reattach: SecondsOrZero = 0.0
    """Seconds an intercepted stream waits for its SDK's retry; 0: cancelled at once."""
    window: Annotated[int, Field(ge=16 * 1024, le=1 << 30)] = 256 * 1024
    """Bytes of each stream that are kept in memory."""
    spool: Annotated[int, Field(ge=0, le=1 << 40)] = 16 * 1024 * 1024
    """Bytes of each stream that are spooled to disk beyond that, before the provider is paused; 0: paused at once."""
    spool_dir: Folder = ""
    """Folder of the spool files. Empty: the system's folder for temporary files."""
    drain: SecondsOrZero = 10.0
    """Seconds that streams in flight may take to finish once the proxy is told to stop; then they end as errors. 0: at once."""

    @property
    def spool_folder(self) -> Path | None:
        return Path(self.spool_dir).expanduser() if self.spool_dir else None


class Retention(Table):
    """`[retention]`: how long the database keeps a row for each stream."""

    keep_days: Annotated[int, Field(ge=0, le=36_500)] = 365
    """Days; older streams are summed up by hour, provider and model, and their rows deleted. 0: every row is kept for ever."""


class Gateway(Table):
    """`[gateway]`: what midstream serves itself."""

    allowed_origins: Listed[Origin] = (
        "http://localhost:*",
        "https://localhost:*",
        "http://127.0.0.1:*",
        "https://127.0.0.1:*",
        "http://[::1]:*",
        "https://[::1]:*",
    )
    """Origins whose pages may call it, besides its own. `*` is any part of a host name, or any port; alone, every origin."""
    body_limit: Annotated[int, Field(ge=1024, le=1 << 30)] = 64 * 1024 * 1024
    """Bytes of a request's body, or of a WebSocket message, at most."""
    read_timeout: Seconds = 120.0
    """Seconds after which a client is dropped that does not read at all."""

    def allows_origin(self, origin: str, own: str = "") -> bool:
        """Whether a page may call the gateway. origin: its Origin header; own: the gateway's own origin, as it was addressed."""
        origin = origin.lower()
        if origin == own.lower() and origin:
            return True
        return any(glob == "*" or _origin_pattern(glob).fullmatch(origin) for glob in self.allowed_origins)


def _origin_pattern(glob: str) -> re.Pattern[str]:
    """`*` is any part of a host name; as a port, any port or none (the scheme's own)."""
    host, port = (glob[:-2], r"(?::\d{1,5})?") if glob.endswith(":*") else (glob, "")
    return re.compile(re.escape(host).replace(r"\*", r"[a-z0-9._-]*") + port)


class Key(Table):
    """`[keys.NAME]`: who may use the gateway. Without any it answers loopback clients only."""

    sha256: Digest
    """SHA-256 of the bearer token, in hexadecimal; the token itself is stored nowhere. `midstream keys new` makes both."""
    models: Listed[Glob] = ()
    """Globs of the models it may ask for, as `model` or `provider/model`. Left out: all."""
    expires: Moment | None = None
    """Date or date-time from which on it is refused: a date from its beginning on; UTC unless it says otherwise."""
    max_streams: Whole | None = None
    """Concurrent streams at most. Left out: no limit."""

    def expired(self, now: datetime) -> bool:
        return self.expires is not None and now >= self.expires

    def allows(self, provider: str, model: str) -> bool:
        """Whether it may ask for a model. provider: whose it is, where that is known."""
        names = (model, f"{provider}/{model}") if provider else (model,)
        return not self.models or any(fnmatchcase(name, glob) for glob in self.models for name in names)


BUILT_IN = _built_in()
"""The providers known from the start, by name."""
