"""Every fault, against every dialect, delivery and `on_break` policy: what comes of it, and what must.

Each cell asks for a model of its own, whose name tells the proxy everything: the route goes by how it begins, the fault by the
whole of it. So all cells run at once through one proxy, and a fault strikes the first attempt of its own cell alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from end_to_end.fault_clients import (
    RAISED,
    Asking,
    Got,
    Refused,
    bedrock,
    native,
    over_cohere,
    redelivered,
)
from end_to_end.fault_providers import ALL, BEDROCK, COHERE, SPARE, WHOLE
from end_to_end.harness import Proxy
from end_to_end.sdk_clients import TORN
from translated import ANTHROPIC, CHAT, GOOGLE, OLLAMAS, RESPONSES

type Policy = Literal["continue", "restart", "error"]
type Verdict = Literal["rescued", "honest error", "wrong"]

POLICIES: tuple[Policy, ...] = ("continue", "restart", "error")
FAULTS = {
    "503": "status=503",
    "429": "status=429 retry-after=1",
    "reset": "reset",
    "silence": "silence",
    "slow": "slow=5",
    "flapping": "flapping",
    "error-0": "error after=0",
    "cut": "cut after=10",
    "stall": "stall after=10",
    "error": "error after=10 status=529",
    "unterminated": "unterminated",
    "malformed": f"malformed frame={SPARE}",
}
"""By the name in the table: the rule, less whom it strikes."""

ANY_REQUEST = ("503", "429", "reset", "silence", "slow", "flapping")
"""Faults that strike an answer asked for whole as well; the others need a stream."""

FIRST_TOKEN, TOTAL = 3, 15
"""Seconds of the routes' time-outs: of a whole answer, which shows no progress, only the total is one."""

HANGS = 25.0
"""Seconds by which every answer must have ended, one way or another: the total, and time for a slow machine."""

PROVIDERS = {
    CHAT: "openai",
    RESPONSES: "openai",
    ANTHROPIC: "anthropic",
    GOOGLE: "gemini",
    OLLAMAS: "ollama",
    BEDROCK: "bedrock",
    COHERE: "cohere",
}
_BASES = {CHAT: "/v1", RESPONSES: "/v1", GOOGLE: "/v1beta"}
FIVE = (CHAT, RESPONSES, ANTHROPIC, GOOGLE, OLLAMAS)


@dataclass(frozen=True)
class Client:
    """One line of the table. delivery: `stream` and `whole` are native; what begins with `gateway` is asked there."""

    dialect: str
    delivery: str

    @property
    def asking(self) -> Asking:
        if self.delivery in ("stream", "whole"):
            stream = self.delivery == "stream"
            makers = {BEDROCK: bedrock, COHERE: over_cohere}
            made = makers[self.dialect](stream=stream) if self.dialect in makers else None
            return made or native(self.dialect, stream=stream)
        where, _, form = self.delivery.rpartition(" ")
        return redelivered(form, self.dialect, gateway=where == "gateway")

    @property
    def raises(self) -> tuple[type[Exception], ...]:
        """What tells its user of an error."""
        return (*RAISED[self.dialect], *TORN) if self.delivery in ("stream", "whole") else (Refused,)


CLIENTS = (
    *(Client(dialect, delivery) for dialect in ALL for delivery in ("stream", "whole")),
    *(
        Client(dialect, f"gateway {form}")
        for dialect in (CHAT, ANTHROPIC)
        for form in ("sse", "websocket", "ndjson", "text")
    ),
    *(Client(dialect, f"asked {form}") for dialect in (CHAT, ANTHROPIC) for form in ("websocket", "ndjson", "text")),
)


@dataclass(frozen=True)
class Cell:
    fault: str
    client: Client
    policy: Policy

    @property
    def model(self) -> str:
        """Names the cell, and is one name for it alone."""
        return "-".join((self.policy, self.client.dialect, self.fault, self.client.delivery.replace(" ", "-")))

    @property
    def asked_for(self) -> str:
        """The gateway is told whose model it is: no maker's looks like it."""
        gateway = self.client.delivery.startswith("gateway")
        return f"{PROVIDERS[self.client.dialect]}/{self.model}" if gateway else self.model


def cells() -> list[Cell]:
    """All of them; those that wait for a time-out first."""
    found = [
        Cell(fault, client, policy)
        for fault in FAULTS
        for client in CLIENTS
        for policy in POLICIES
        if client.delivery != "whole" or fault in ANY_REQUEST
    ]
    return sorted(found, key=lambda cell: cell.fault not in ("silence", "slow", "stall"))


def rules(all_: Iterable[Cell]) -> list[str]:
    """What breaks: the first request of each cell. One that flaps sees to its second itself."""
    times = {"flapping": ""}
    return [f"{FAULTS[cell.fault]} model={cell.model} {times.get(cell.fault, 'times=1')}" for cell in all_]


def toml(port: int) -> str:
    """Each provider has a spare one of its own dialect, for whom it is left."""
    tables = [
        f'[providers.spare-{dialect}]\ndialect = "{dialect}"\napi_key = "sk-spare"\n'
        f'base_url = "https://localhost:{port}/{dialect}{_BASES.get(dialect, "")}"\n'
        for dialect in ALL
    ]
    tables += [
        f'[[routes]]\nprovider = "{PROVIDERS[dialect]}"\nmodel = "{policy}-{dialect}-*"\ntargets = ["{PROVIDERS[dialect]}", "spare-{dialect}"]\n'
        f'attempts = 2\nbackoff = {{ base = 0.05, max = 2.0 }}\non_break = "{policy}"\n'
        f"timeouts = {{ connect = 10, first_token = {FIRST_TOKEN}, idle = {FIRST_TOKEN}, total = {TOTAL} }}\n"
        for dialect in ALL
        for policy in POLICIES
    ]
    return "[healing]\nfailures = 1000\nretry_budget = 1.0\n" + "\n".join(tables)


@dataclass(frozen=True)
class Result:
    verdict: Verdict
    told: str = ""


def run(proxy: Proxy, all_: list[Cell], *, at_once: int = 48) -> Mapping[Cell, Result]:
    """Ask for every cell."""
    with ThreadPoolExecutor(at_once) as threads:
        return dict(zip(all_, threads.map(lambda cell: judged(cell, proxy), all_), strict=True))


def judged(cell: Cell, proxy: Proxy) -> Result:
    got, began, raised = Got(), time.monotonic(), None
    try:
        cell.client.asking(proxy, cell.asked_for, got)
    except Exception as error:  # whatever the client's user gets
        raised = error
    import os, traceback
    if raised and os.environ.get("ONLY"): traceback.print_exception(raised)
    passed = time.monotonic() - began
    return verdict(cell, got, raised) if passed < HANGS else Result("wrong", f"hangs: {passed:.0f} s, {raised!r}")


def verdict(cell: Cell, got: Got, error: Exception | None = None) -> Result:
    """rescued: the whole answer, once, and told to be whole. honest error: what it has is the answer's beginning, and it was told
    that there is no more. wrong: anything else."""
    told = f"{type(error).__module__}.{type(error).__name__}: {error}" if error else ""
    if error is None:
        rescued = got.whole and got.text == WHOLE
        return Result("rescued") if rescued else Result("wrong", f"whole: {got.whole}, text: {got.text!r}")
    if not WHOLE.startswith(got.text):
        return Result("wrong", f"text: {got.text!r}, {told}")
    if isinstance(error, cell.client.raises) or (cell.fault == "malformed" and isinstance(error, ValueError)):
        return Result("honest error", told)
    return Result("wrong", told)
