"""Which requests are broken on purpose, and how: the rules of `midstream_break`. Pure: the clock is handed in.

A rule is a fault and then words `name=value`, what it takes and whom it strikes (docs/faults.md):

    cut after=40 p=0.2 model=gpt-4o*
    status=429 retry-after=2 host=api.openai.com times=1
"""

from __future__ import annotations

import random
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal, cast

from midstream.dialects.registry import Match

type Kind = Literal[
    "status", "reset", "silence", "slow", "cut", "stall", "malformed", "error", "unterminated", "flapping"
]

DEFAULT_AFTER = 1
"""Tokens before a break where the rule does not say: after the first is where retrying ends and healing begins."""

SECONDS_LIMIT = 86_400.0
"""A day: longer than any client waits."""

COUNT_LIMIT = 1_000_000_000

_RETRY = ("retry-after", "retry-after-ms")
_TAKES: Mapping[Kind, tuple[str, ...]] = {
    "status": _RETRY,
    "reset": (),
    "silence": (),
    "slow": (),
    "cut": ("after",),
    "stall": ("after",),
    "malformed": ("frame",),
    "error": ("after", "status"),
    "unterminated": (),
    "flapping": ("status", *_RETRY),
}
"""What follows each fault besides the selectors."""

_EXAMPLES: Mapping[str, str] = {"status": "status=429", "slow": "slow=5"}
"""The faults that have a value themselves."""

_SELECTORS = ("host", "provider", "model", "p", "times", "every", "down", "up")
_IN_STREAM = frozenset(("cut", "stall", "malformed", "error", "unterminated"))
_SEED = re.compile(r"\s*seed=(\S+)\s*")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]{1,200}")


class RuleError(ValueError):
    """A rule that cannot be; str() quotes it and says what is possible."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What happens to one request.

    status: of the answer, or of the error within it. headers: of an answer made up. seconds: until the first token.
    after: tokens (content events) that pass. frame: the number of the bad one, from 1.
    """

    kind: Kind
    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    seconds: float = 0.0
    after: int = DEFAULT_AFTER
    frame: int = 1

    @property
    def in_stream(self) -> bool:
        """Whether it needs a streamed answer to strike; all others strike any request."""
        return self.kind in _IN_STREAM

    @property
    def said(self) -> str:
        """What a log line says of it."""
        tokens = f"after {self.after} token{'' if self.after == 1 else 's'}"
        match self.kind:
            case "status" | "flapping":
                return f"{self.kind} {self.status}"
            case "slow":
                return f"first token {self.seconds:g} s late"
            case "cut" | "stall":
                return f"{self.kind} {tokens}"
            case "error":
                return f"error {self.status} {tokens}"
            case "malformed":
                return f"malformed frame {self.frame}"
            case _:
                return self.kind


@dataclass(slots=True, kw_only=True)
class Rule:
    """A fault, and whom it strikes: every request that the globs match, less what the rest says.

    p: the share of them, at random. times: at most so many. every: only each so-many-th. down, up: for so many seconds from
    the first on, then not for so many, and again (up None: never again). alternating: the first, the third, …
    """

    fault: Fault
    host: str = "*"
    provider: str = "*"
    model: str = "*"
    p: float = 1.0
    times: int | None = None
    every: int = 1
    down: float | None = None
    up: float | None = None
    alternating: bool = False
    _random: random.Random = field(default_factory=random.Random)
    _seen: int = 0
    _struck: int = 0
    _since: float | None = None

    def seed(self, seed: str) -> None:
        self._random.seed(seed)

    def matches(self, host: str, match: Match) -> bool:
        """Whether it may strike this request; a fault inside a stream takes one that asks for a streamed answer."""
        facts = match.facts
        return (
            (facts.stream or not self.fault.in_stream)
            and fnmatchcase(host.lower().rstrip("."), self.host)
            and fnmatchcase(match.provider.lower(), self.provider)
            and fnmatchcase(facts.model, self.model)
        )

    def strikes(self, now: float) -> bool:
        """Whether it strikes the request that has just matched; counts it."""
        self._seen += 1
        if self._since is None:
            self._since = now
        if self._seen % self.every or not self._is_down(now - self._since):
            return False
        if self.times is not None and self._struck >= self.times:
            return False
        if self.p < 1 and self._random.random() >= self.p:
            return False
        self._struck += 1
        return True

    def _is_down(self, passed: float) -> bool:
        if self.down is None:
            return not self.alternating or self._seen % 2 == 1
        return (passed if self.up is None else passed % (self.down + self.up)) < self.down


class Faults:
    """All rules, in order: the first that strikes a request decides, the later ones do not count it."""

    def __init__(self, specs: Sequence[str]) -> None:
        """specs: a rule each; `seed=TEXT` alone makes what happens at random the same in each run. Raises RuleError."""
        seeds = [found[1] for spec in specs if (found := _SEED.fullmatch(spec))]
        self._rules = [parse_rule(spec) for spec in specs if not _SEED.fullmatch(spec)]
        for number, rule in enumerate(self._rules if seeds else ()):
            rule.seed(f"{seeds[-1]}/{number}")

    def __bool__(self) -> bool:
        return bool(self._rules)

    def choose(self, host: str, match: Match, now: float) -> Fault | None:
        """What happens to this request; None: nothing. now: seconds of a monotonic clock."""
        return next((rule.fault for rule in self._rules if rule.matches(host, match) and rule.strikes(now)), None)


def parse_rule(spec: str) -> Rule:
    """Parse one rule. Raises RuleError."""
    try:
        first, *rest = shlex.split(spec) or [""]
        kind, value = _fault(first)
        return _rule(kind, value, _words(kind, rest))
    except ValueError as error:
        raise RuleError(f"cannot parse {spec!r}: {error}") from None


def _fault(word: str) -> tuple[Kind, str]:
    name, _, value = word.partition("=")
    if name not in _TAKES:
        raise ValueError(f"{name!r} is no fault; there are {', '.join(_EXAMPLES.get(kind, kind) for kind in _TAKES)}")
    kind = cast(Kind, name)
    if kind in _EXAMPLES and not value:
        raise ValueError(f"{kind} needs a value, as {_EXAMPLES[kind]}")
    if kind not in _EXAMPLES and "=" in word:
        takes = " or ".join(f"{taken}={value}" for taken in _TAKES[kind][:2])
        raise ValueError(f"{kind} has no value of its own{f'; it takes {takes}' if takes else ''}")
    return kind, value


def _words(kind: Kind, words: Sequence[str]) -> dict[str, str]:
    said: dict[str, str] = {}
    possible = (*_TAKES[kind], *_SELECTORS)
    for word in words:
        name, equals, value = word.partition("=")
        if name not in possible:
            raise ValueError(f"{kind} takes no {name!r}; it takes {', '.join(possible)}")
        if not equals or not value:
            raise ValueError(f"{name} needs a value: {name}=…")
        if name in said:
            raise ValueError(f"{name} is said twice")
        said[name] = value
    return said


def _rule(kind: Kind, value: str, said: Mapping[str, str]) -> Rule:
    if "up" in said and "down" not in said:
        raise ValueError("up needs down: the seconds of each")
    p = _number("p", said.get("p", "1"))
    if not 0 < p <= 1:
        raise ValueError(f"p={said['p']}: a share over 0, up to 1")
    return Rule(
        fault=_with_values(kind, value, said),
        host=said.get("host", "*").lower(),
        provider=said.get("provider", "*").lower(),
        model=said.get("model", "*"),
        p=p,
        times=_count("times", said["times"]) if "times" in said else None,
        every=_count("every", said.get("every", "1")),
        down=_seconds("down", said["down"]) if "down" in said else None,
        up=_seconds("up", said["up"]) if "up" in said else None,
        alternating=kind == "flapping" and not {"down", "every"} & said.keys(),
    )


def _with_values(kind: Kind, value: str, said: Mapping[str, str]) -> Fault:
    defaults = {"error": "500", "flapping": "503"}
    status = value if kind == "status" else said.get("status", defaults.get(kind, ""))
    return Fault(
        kind=kind,
        status=_count("status", status, least=200, most=599) if status else 0,
        headers=tuple((name, _header(name, said[name])) for name in _RETRY if name in said),
        seconds=_seconds("slow", value) if kind == "slow" else 0.0,
        after=_count("after", said.get("after", str(DEFAULT_AFTER)), least=0),
        frame=_count("frame", said.get("frame", "1")),
    )


def _count(name: str, text: str, *, least: int = 1, most: int = COUNT_LIMIT) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", text) or not least <= int(text) <= most:
        raise ValueError(f"{name}={text}: a whole number from {least}{f' to {most}' if most < COUNT_LIMIT else ' on'}")
    return int(text)


def _number(name: str, text: str) -> float:
    if not re.fullmatch(r"[0-9]{0,9}\.?[0-9]{0,9}", text) or not re.search("[0-9]", text):
        raise ValueError(f"{name}={text}: a number")
    return float(text)


def _seconds(name: str, text: str) -> float:
    seconds = _number(name, text)
    if not 0 < seconds <= SECONDS_LIMIT:
        raise ValueError(f"{name}={text}: seconds over 0, up to {SECONDS_LIMIT:.0f}")
    return seconds


def _header(name: str, text: str) -> str:
    if not _HEADER_VALUE.fullmatch(text):
        raise ValueError(f"{name}: only printable ASCII can be in a header")
    return text
