"""What stands behind `=` in midstream.toml: the types of its values, each with a complaint that says what would be right."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, StringConstraints

DAY = 86_400
"""Seconds: no time-out is longer."""

ENV = "env:"

_HOST_GLOB = re.compile(r"[\w.*?!\[\]-]+|\[?[0-9a-fA-F:]*:[0-9a-fA-F:]*:[0-9a-fA-F:.]*\]?")
_ORIGIN = re.compile(r"(?:https?|[a-z][a-z0-9+.-]*)://(?:\[[0-9a-f:.]+\]|[a-z0-9._*-]+)(?::(?:\d{1,5}|\*))?")
_ENV_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)

type DialectName = Literal[
    "openai_chat", "openai_responses", "anthropic_messages", "gemini", "ollama", "bedrock_converse", "cohere"
]
type OnBreak = Literal["continue", "restart", "error"]


def _base_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        port_is_right = parts.port != 0
    except ValueError:
        raise ValueError("should be a URL such as https://api.example.com/v1") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_right or re.search(r"\s", value):
        raise ValueError("should be a URL such as https://api.example.com/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("should have no credentials, query or fragment in it; a key belongs in api_key")
    return value.rstrip("/")


def _host(value: str) -> str:
    if not _HOST_GLOB.fullmatch(value):
        raise ValueError('should be a host name such as "api.example.com" or "*.example.com": no scheme, port or path')
    return value.lower()


def _api_key(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if text.startswith(ENV) and not _ENV_NAME.fullmatch(text.removeprefix(ENV)):
        raise ValueError('should be "env:NAME", where NAME is an environment variable')
    if not sendable(text):
        raise ValueError("should be a key of printable ASCII without spaces, or env:NAME")
    return value


def sendable(text: str) -> bool:
    """Whether a text can go into a header as a credential, and nothing but it."""
    return text.isascii() and text.isprintable() and bool(text) and " " not in text


def _sha256(value: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", value, re.ASCII):
        raise ValueError(
            f"should be the SHA-256 of the token, 64 hexadecimal digits (`midstream keys new`); these are {len(value)} characters"
        )
    return value.lower()


def _expires(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime.combine(value, time(), UTC)
    raise ValueError("should be a date or date-time without quotes, such as 2027-01-01 or 2027-01-01T12:00:00Z")


def _origin(value: str) -> str:
    if value != "*" and not _ORIGIN.fullmatch(value.lower()):
        raise ValueError(
            'should be an origin such as "https://app.example.com" or "https://*.example.com:*", or "*": no path'
        )
    return value.lower()


def _folder(value: str) -> str:
    if value and not Path(value).expanduser().is_absolute():
        raise ValueError('should be an absolute path, or one that begins with "~/"')
    return value


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("should not be empty")
    return value


type Seconds = Annotated[float, Field(gt=0, le=DAY, allow_inf_nan=False)]
type SecondsOrZero = Annotated[float, Field(ge=0, le=DAY, allow_inf_nan=False)]
type Whole = Annotated[int, Field(ge=1)]
type Glob = Annotated[str, AfterValidator(_not_blank)]
type BaseUrl = Annotated[str, AfterValidator(_base_url)]
type Host = Annotated[str, AfterValidator(_host)]
type Origin = Annotated[str, AfterValidator(_origin)]
type ApiKey = Annotated[SecretStr, AfterValidator(_api_key)]
type Digest = Annotated[str, AfterValidator(_sha256)]
type Moment = Annotated[datetime, BeforeValidator(_expires)]
type Folder = Annotated[str, AfterValidator(_folder)]
type Listed[T] = Annotated[tuple[T, ...], Field(strict=False)]
type Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
"""Of providers and keys: their names are seen in rows, logs, metrics and in `provider/model`."""
