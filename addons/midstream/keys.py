"""Who may use the gateway: its keys, and how many streams each has open. Pure, but for the randomness of a new token."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from midstream.config import Key

PREFIX = "mst_"
"""What tokens begin with, so that people and secret scanners recognise one."""

TOKEN_BYTES = 32
"""256 bits: nobody guesses one, so a plain SHA-256 keeps it, without salt or stretching."""


@dataclass(frozen=True, slots=True)
class Granted:
    """name: the key's, for the row. max_streams: its cap on concurrent streams, for Meter.take."""

    name: str
    max_streams: int | None = None


@dataclass(frozen=True, slots=True)
class Denied:
    """status: 401, nobody known; 403, somebody known who may not. reason: for the client; says nothing about other keys."""

    status: Literal[401, 403]
    reason: str


def authorise(
    keys: Mapping[str, Key], token: str, *, now: datetime, model: str | None = None, provider: str = ""
) -> Granted | Denied:
    """Whether the bearer of a token may use the gateway.

    now: aware. model: what is asked for, "" where the request names none; None asks only who it is. provider: the model's,
    where it is known, so that a glob may say `provider/model`.
    """
    if not token:
        return Denied(401, "a key is required: Authorization: Bearer TOKEN, or access_token=TOKEN in the query")
    name = _name_of(keys, token)
    if name is None:
        return Denied(401, "this key is not known here")
    key = keys[name]
    if key.expired(now):
        return Denied(401, "this key has expired")
    if model is not None and not key.allows(provider, model):
        return Denied(
            403, "this key may not use this model" if model else "this key is limited to some models: name one"
        )
    return Granted(name, key.max_streams)


def _name_of(keys: Mapping[str, Key], token: str) -> str | None:
    """Compare with every key, in constant time each: how long it takes tells nothing about which one was near."""
    digest = digest_of(token)
    found = None
    for name, key in keys.items():
        if hmac.compare_digest(key.sha256, digest):
            found = name
    return found


def digest_of(token: str) -> str:
    """A token as the configuration keeps it. Takes whatever a header may hold, lone surrogates too."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def new_token() -> tuple[str, str]:
    """A new token and its SHA-256."""
    token = PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
    return token, digest_of(token)


class Meter:
    """Counts the open streams of each key. Names without any are forgotten, so it grows with the streams, not the names."""

    def __init__(self) -> None:
        self._open: dict[str, int] = {}

    def take(self, name: str, cap: int | None) -> bool:
        """Count one more stream, unless that is over the cap. Each True must be given back."""
        count = self._open.get(name, 0)
        if cap is not None and count >= cap:
            return False
        self._open[name] = count + 1
        return True

    def give(self, name: str) -> None:
        """A stream has ended. One too many is no harm."""
        count = self._open.pop(name, 0)
        if count > 1:
            self._open[name] = count - 1

    def open(self, name: str) -> int:
        return self._open.get(name, 0)

    def __len__(self) -> int:
        """Names with open streams."""
        return len(self._open)
