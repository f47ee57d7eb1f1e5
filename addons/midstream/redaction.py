"""Take credentials out of what is written down: headers, query strings, JSON bodies, and the bytes of a stream.

Three nets, one behind the other: names that carry credentials, values that look like a provider's key, and every value that
one of the first two caught, wherever else it turns up (a provider that quotes the key it was sent). What is over-cautious
costs a recording some header; what is missed costs somebody a key.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, unquote_plus, urlsplit, urlunsplit

REDACTED = "redacted"

SECRET_MIN = 8
"""Characters a caught value must have to be looked for elsewhere. Shorter ones and plain words ("application/json" in some
`x-auth-…` header) are taken out where they are, but would garble half the recording."""

SECRET_LIMIT = 192
"""Forms of caught values that are looked for elsewhere, per exchange."""

HOLD_LIMIT = 64 * 1024
"""Bytes of an unfinished line that are held back so that a credential in it is seen whole."""

HOLD_TAIL = 8 * 1024
"""Bytes held back even of a line over HOLD_LIMIT: longer than any credential."""

_SECRET_HEADERS = frozenset(
    (
        "openai-organization",
        "openai-project",
        "anthropic-organization-id",
        "chatgpt-account-id",
        "x-goog-user-project",
        "x-goog-api-client-id",
        "x-amz-credential",
        "sec-websocket-protocol",  # browsers smuggle keys in it: openai-insecure-api-key.sk-…
        "x-forwarded-for",
        "x-real-ip",
        "forwarded",
        "cf-connecting-ip",
    )
)
_SECRET_HEADER_PARTS = (
    "auth",
    "key",
    "token",
    "secret",
    "cookie",
    "passw",
    "credential",
    "signature",
    "session",
    "jwt",
)
_HARMLESS_HEADERS = re.compile(
    r"(x-ratelimit-|ratelimit|access-control-|anthropic-(priority-)?(input-|output-)?(ratelimit|tokens)|x-ms-\w+-tokens|x-amzn-bedrock-\w+-token-count"
    r"|x-api-key-valid|idempotency-key$|sec-websocket-(key|accept)$|www-authenticate$)"
)
_SECRET_QUERY = re.compile(
    r"key|apikey|xapikey|accesstoken|token|authtoken|auth|authorization|code|signature|sig|password|passwd"
    r"|clientsecret|secret|refreshtoken|idtoken|sessiontoken|xamzsecuritytoken|xamzsignature|xamzcredential"
    r"|xgoogsignature|xgoogcredential|awsaccesskeyid|subscriptionkey|ocpapimsubscriptionkey"
)
_SECRET_FIELDS = re.compile(
    r"apikey|xapikey|xgoogapikey|accesstoken|refreshtoken|idtoken|authtoken|authorizationtoken|bearertoken"
    r"|sessiontoken|securitytoken|clientsecret|secretkey|secretaccesskey|awssecretaccesskey|awssessiontoken"
    r"|awsaccesskeyid|accesskeyid|privatekey|authorization|proxyauthorization|password|passwd|passphrase|secret|cookie"
    r"|credentials|subscriptionkey"
)
_FIELD = (
    rb"(?:x[-_]?)?(?:goog[-_]?)?api[-_]?key|(?:access|refresh|id|auth|authorization|bearer|session|security)[-_]?token"
    rb"|(?:client[-_]?)?secret|secret[-_]?(?:access[-_]?)?key|(?:aws[-_]?)?(?:secret[-_]?)?access[-_]?key(?:[-_]?id)?"
    rb"|aws[-_]?session[-_]?token|private[-_]?key|(?:proxy[-_]?)?authorization|passw(?:or)?d|passphrase|cookie|subscription[-_]?key"
)
# a JSON member; and one in JSON text inside a JSON string (tool arguments, say), where its quotes are escaped
_MEMBER = re.compile(rb'(?i)"(?:' + _FIELD + rb')"\s*:\s*"(?P<secret>(?:\\[^\r\n]|[^"\\\r\n])+)')
_NESTED = re.compile(
    rb'(?i)(?<!\\)(?P<b>\\+)"(?:' + _FIELD + rb')(?P=b)"\s*:\s*(?P=b)"(?P<secret>[^\r\n]+?)(?=(?<!\\)(?P=b)"|[\r\n]|\Z)'
)
_KEY = re.compile(
    rb"(?<![A-Za-z0-9])(?P<secret>"
    rb"(?:sk|xai|pplx|csk|nvapi|tvly|xoxb|xoxp|sess|glpat|ek)-[A-Za-z0-9_-]{16,}|(?:sk|rk|ek|gsk|hf|r8|fw)_[A-Za-z0-9]{16,}"
    rb"|AIza[0-9A-Za-z_-]{30,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|(?:AKIA|ASIA)[0-9A-Z]{16}"
    rb"|ya29\.[A-Za-z0-9_-]{20,}|eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,})"
)
_SCHEME = re.compile(rb"(?i)\b(?:bearer|basic)\s+(?=[A-Za-z0-9._~+/-]*[0-9=])(?P<secret>[A-Za-z0-9._~+/=-]{16,})")
_PATTERNS = (_MEMBER, _NESTED, _KEY, _SCHEME)
_WORDS = re.compile(r"[a-z]+(?:[-/ ][a-z]+)*")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def is_secret_header(name: str) -> bool:
    name = name.lower()
    if _HARMLESS_HEADERS.match(name):
        return False
    return name in _SECRET_HEADERS or any(part in name for part in _SECRET_HEADER_PARTS)


def looks_like_key(text: str) -> bool:
    """Whether there is something in the text that has the form of a credential."""
    data = text.encode("utf-8", "surrogateescape")
    return any(pattern.search(data) for pattern in _PATTERNS)


class Redactor:
    """Of one exchange: remembers each credential it takes out, so that the same value is masked wherever else it is."""

    def __init__(self) -> None:
        self._secrets: dict[bytes, None] = {}
        self._known: re.Pattern[bytes] | None = None

    def headers(self, headers: Iterable[tuple[str, str]]) -> dict[str, str]:
        """Return the headers, names in lower case, without those that carry credentials; repeated ones are joined."""
        kept: dict[str, str] = {}
        for name, value in ((name.lower(), value) for name, value in headers):
            if is_secret_header(name):
                self._caught_header(value)
            elif not looks_like_key(value):
                kept[name] = f"{kept[name]}, {value}" if name in kept else value
        return {name: self.text(value) for name, value in kept.items()}

    def url(self, url: str) -> str:
        """Return the URL without user and password, and with credentials in its query (and path) masked."""
        try:
            parts = urlsplit(url)
        except ValueError:
            return ""
        user, at, host = parts.netloc.rpartition("@")
        if at:
            self._caught(*user.split(":"))
        # the query first: what it gives away is then masked in the path too
        query = "&".join(self._parameter(p) for p in parts.query.split("&")) if parts.query else ""
        return urlunsplit((parts.scheme, self.text(host), self.text(parts.path), query, ""))

    def body(self, value: Any, key: str = "", *, schema: bool = False) -> Any:
        """Return a JSON value with the fields that carry credentials masked, at any depth.

        schema: the value's keys are names that a JSON schema gives to parameters ("properties"), not fields.
        """
        match value:
            case dict():
                return self._object(value, key, schema=schema)
            case list():
                return [self.body(item, key) for item in value]
            case str() if _SECRET_FIELDS.fullmatch(_plain(key)) or _plain(key) == "headers":
                self._caught(value)
                return REDACTED
            case str():
                return self.text(value)
            case int() | float() if _SECRET_FIELDS.fullmatch(_plain(key)) and not isinstance(value, bool):
                return 0
        return value

    def text(self, text: str) -> str:
        """Return the text with every credential in it replaced by as many asterisks."""
        return self.mask(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")

    def again(self, value: Any) -> Any:
        """Return a JSON value that was redacted before, with what was caught since then masked in it."""
        match value:
            case dict():
                return {self.text(name): self.again(inner) for name, inner in value.items()}
            case list():
                return [self.again(item) for item in value]
            case str():
                return self.text(value)
        return value

    def mask(self, data: bytes) -> bytes:
        """Return the bytes, as many, with every credential in them replaced by asterisks."""
        for pattern in _PATTERNS:
            data = pattern.sub(self._mask_match, data)
        return self._known.sub(lambda m: b"*" * len(m[0]), data) if self._known else data

    def _object(self, fields: Mapping[str, Any], key: str, *, schema: bool) -> dict[str, Any]:
        carries = _SECRET_FIELDS.fullmatch(_plain(key)) or _plain(key) == "headers"
        redacted = {}
        for name, value in fields.items():
            inner = "" if schema else (key if carries else name)
            redacted[self.text(name)] = self.body(value, inner, schema=name == "properties" and not schema)
        return redacted

    def _parameter(self, parameter: str) -> str:
        name, equals, value = parameter.partition("=")
        if not equals:
            return self.text(parameter)
        if _SECRET_QUERY.fullmatch(_plain(unquote_plus(name))) or looks_like_key(unquote_plus(value)):
            self._caught(value, unquote_plus(value))
            return f"{name}={REDACTED}"
        return f"{name}={self.text(value)}"

    def _caught_header(self, value: str) -> None:
        scheme, _, rest = value.partition(" ")
        self._caught(value, rest)
        if scheme.lower() == "basic":
            self._caught(*_decode_basic(rest).split(":", 1))
        for part in re.split(r"[;,]\s*", value):  # cookies; SigV4's Credential=…, Signature=…
            self._caught(part.partition("=")[2])

    def _caught(self, *values: str) -> None:
        for value in (value.strip().strip('"') for value in values):
            if len(value) >= SECRET_MIN and not _WORDS.fullmatch(value):
                for form in (value, quote(value, safe=""), json.dumps(value)[1:-1]):
                    self._remember(form.encode("utf-8", "surrogatepass"))
        longest_first = sorted(self._secrets, key=len, reverse=True)
        self._known = re.compile(b"|".join(re.escape(secret) for secret in longest_first)) if longest_first else None

    def _remember(self, secret: bytes) -> None:
        if len(self._secrets) < SECRET_LIMIT:
            self._secrets[secret] = None

    def _mask_match(self, match: re.Match[bytes]) -> bytes:
        secret = match["secret"]
        start = match.start("secret") - match.start()
        whole = match[0]
        return whole[:start] + b"*" * len(secret) + whole[start + len(secret) :]


def _decode_basic(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return ""


class StreamRedactor[T]:
    """Masks a stream cut into chunks at any byte. Chunk edges stay where they are: a mask is as long as what it hides.

    `feed` and `close` return the chunks that are settled, each with the label it came with; a line is held back until it is
    whole (at most HOLD_LIMIT bytes), since a credential may lie across chunks. Credentials inside a compressed body stay.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._held: list[tuple[T, int]] = []
        self._bytes = bytearray()

    def feed(self, label: T, data: bytes) -> list[tuple[T, bytes]]:
        """Take one chunk; return those that it settles."""
        self._held.append((label, len(data)))
        self._bytes += data
        settled = max(self._bytes.rfind(b"\n"), self._bytes.rfind(b"\r")) + 1
        if settled == 0 and len(self._bytes) > HOLD_LIMIT:
            settled = len(self._bytes) - HOLD_TAIL
        return self._settle(settled)

    def close(self) -> list[tuple[T, bytes]]:
        """Return the rest."""
        return self._settle(len(self._bytes))

    def _settle(self, upto: int) -> list[tuple[T, bytes]]:
        if not upto and self._bytes:
            return []
        # the whole of what is held, so that a credential across `upto` is masked before its first half leaves
        self._bytes[:] = self._redactor.mask(bytes(self._bytes))
        settled, at, count = [], 0, 0
        for label, size in self._held:
            if at + size > upto:
                break
            settled.append((label, bytes(self._bytes[at : at + size])))
            at += size
            count += 1
        del self._held[:count]
        del self._bytes[:at]
        return settled
