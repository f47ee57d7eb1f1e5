"""Who calls the gateway, and whether they may. Pure."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from midstream import keys
from midstream.config import Config
from midstream.relay.refusal import Refusal

GATEWAY_HOST = "midstream.internal"
"""The gateway's name, which only the proxy knows."""

_SALT = secrets.token_bytes(32)
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")
_CREDENTIAL_HEADERS = ("x-api-key", "x-goog-api-key", "api-key")
"""Where Anthropic's, Google's and Azure's SDKs put what they take for a provider's key."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls.

    owner: whose streams they see; tells the key's name, or nothing. key: the gateway key's name, None without keys.
    credential: what may be forwarded to a provider: never a gateway key. sha256: of the gateway key, as it was then.
    """

    owner: str
    key: str | None = None
    max_streams: int | None = None
    credential: str = field(default="", repr=False)
    sha256: str = field(default="", repr=False, compare=False)


def token_of(headers: Mapping[str, str], query_token: str) -> str:
    """The credential that a request carries: Authorization: Bearer, an SDK's own header, or the query's."""
    scheme, _, token = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return next((value for name in _CREDENTIAL_HEADERS if (value := headers.get(name, "").strip())), query_token)


def identify(
    config: Config, *, peer: str, authority: str, headers: Mapping[str, str], query_token: str, now: datetime
) -> Caller:
    """Return who calls. Raises Refusal: 401, or 403 where no keys are configured and the client is no local one."""
    token = token_of(headers, query_token)
    if not config.keys:
        _local_only(peer, authority, headers)
        forwarded = "" if token.startswith(keys.PREFIX) else token
        return Caller(owner_of(token), credential=forwarded)
    granted = keys.authorise(config.keys, token, now=now)
    if isinstance(granted, keys.Denied):
        raise _denied(granted)
    sha256 = config.keys[granted.name].sha256
    return Caller(f"key:{granted.name}", granted.name, granted.max_streams, sha256=sha256)


def owner_without_key(headers: Mapping[str, str], query_token: str) -> str:
    """Whose the streams are that a credential which is no gateway key has started through the proxy; "" without one. It opens
    nothing else: no key is made of it, and the gateway forwards it to nobody."""
    token = token_of(headers, query_token)
    return owner_of(token) if token and not token.startswith(keys.PREFIX) else ""


def check_chat(config: Config, caller: Caller, now: datetime) -> None:
    """Raises Refusal (401) if this caller may start no chat now: one without a key may read on, at most, and on an open socket a
    key can have expired meanwhile, or been replaced or taken away."""
    if caller.key is None and not config.keys:
        return
    key = config.keys.get(caller.key) if caller.key is not None else None
    if key is None or key.sha256 != caller.sha256:
        raise _denied(keys.Denied(401, "a chat needs a key that is known here"))
    if key.expired(now):
        raise _denied(keys.Denied(401, "this key has expired"))


def check_model(config: Config, caller: Caller, model: str, provider: str) -> None:
    """Raises Refusal (403) if the caller's key may not use this model."""
    key = config.keys.get(caller.key) if caller.key is not None else None
    if key is not None and not key.allows(provider, model):
        raise Refusal(403, "this key may not use this model", code="model_not_allowed")


def owner_of(credential: str) -> str:
    """A name for the holder of a credential that tells nothing of it, and differs in every run of the proxy."""
    return "caller:" + hmac.new(_SALT, credential.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:32]


def _denied(denied: keys.Denied) -> Refusal:
    challenge = {"WWW-Authenticate": 'Bearer realm="midstream"'} if denied.status == 401 else {}
    return Refusal(denied.status, denied.reason, headers=challenge)


def _local_only(peer: str, authority: str, headers: Mapping[str, str]) -> None:
    """Without keys only this machine is served: not a web page whose own name points here (DNS rebinding), and nobody whose
    request another proxy on this machine has forwarded."""
    if not is_loopback(peer) or any(name in headers for name in _FORWARDED):
        raise Refusal(403, "this gateway has no keys configured and answers clients on its own machine only")
    if not is_local_host(authority):
        raise Refusal(403, "this gateway has no keys configured and answers as localhost or midstream.internal only")


def is_loopback(address: str) -> bool:
    """Whether an IP address is this machine's own."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback


def is_local_host(authority: str) -> bool:
    """Whether a Host header names this machine: by a name that no stranger's DNS can claim, or a loopback address."""
    host = authority.strip().lower()
    if host.startswith("["):
        return is_loopback(host[1:].partition("]")[0])
    host = host.partition(":")[0].rstrip(".")
    return host in (GATEWAY_HOST, "localhost") or host.endswith(".localhost") or is_loopback(host)
