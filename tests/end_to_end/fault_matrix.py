"""Every fault, against every dialect, delivery and `on_break` policy: what comes of it, and what must.

Each cell asks for a model of its own, whose name tells the proxy everything: the route goes by how it begins, the fault by the
whole of it. So all cells run at once through one proxy, and a fault strikes the first attempt of its own cell alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from end_to_end.fault_clients import RAISED, Asking, Got, Refused, bedrock, native, over_cohere, redelivered
from end_to_end.fault_providers import ALL, BEDROCK, COHERE, SPARE, WHOLE
from end_to_end.harness import Proxy
from end_to_end.sdk_clients import PROVIDERS as OF_SDKS
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
    "slow": "slow=10",
    "flapping": "flapping",
    "error 0": "error after=0",
    "cut 10": "cut after=10",
    "stall 10": "stall after=10",
    "error 10": "error after=10 status=529",
    "unterminated": "unterminated",
    "malformed": f"malformed frame={SPARE}",
    "in thought": "cut after=2",
    "in a call": "cut after=25",
}
"""By the name in the table: the rule, less whom it strikes."""

ANY_REQUEST = ("503", "429", "reset", "silence", "slow", "flapping")
"""Faults that strike an answer asked for whole as well; the others need a stream."""

BREAKS = ("cut 10", "stall 10", "error 10", "in thought")
"""Faults after the first token."""

OF_ALL = ("in thought", "in a call")
"""Faults that strike an answer with reasoning and a tool call, which the five SDKs' stream helpers are asked for."""

WHOLE_CALLS = (GOOGLE, OLLAMAS)
"""Dialects in which a call comes at once, as one token: no break is inside."""

SLOW = ("silence", "slow", "stall 10")
"""Faults that lead to a time-out, and so cost time but no work."""

FIRST_TOKEN, TOTAL = 8, 30
"""Seconds of the routes' time-outs. Of an answer asked for whole, which shows no progress, the total is the only one."""

HANGS = 75.0
"""Seconds by which every answer must have ended, one way or another: the total, and time for a slow machine."""

WAITING, WORKING = 24, 6
"""How many cells run at once: of those that wait, and of the others."""

PROVIDERS = {**OF_SDKS, BEDROCK: "bedrock", COHERE: "cohere"}
AT_GATEWAY = {RESPONSES: "responses"}
"""Who has the models there, where it is not who has the SDK's host: `openai` is asked in its chat API."""

_BASES = {CHAT: "/v1", RESPONSES: "/v1", GOOGLE: "/v1beta"}


@dataclass(frozen=True)
class Client:
    """One line of the table. delivery: `stream` and `whole` are the SDK's; with `gateway` the gateway is asked, with `asked` the
    provider, for another form than its own."""

    dialect: str
    delivery: str

    def __str__(self) -> str:
        return f"{self.dialect} {self.delivery}"

    @property
    def native(self) -> bool:
        return self.delivery in ("stream", "whole")

    @property
    def asking(self) -> Asking:
        if not self.native:
            where, _, form = self.delivery.partition(" ")
            return redelivered(form, self.dialect, gateway=where == "gateway")
        stream, others = self.delivery == "stream", {BEDROCK: bedrock, COHERE: over_cohere}
        other = others.get(self.dialect)
        return other(stream=stream) if other is not None else native(self.dialect, stream=stream)

    @property
    def raises(self) -> tuple[type[Exception], ...]:
        """What tells its user of an error."""
        return (*RAISED[self.dialect], *TORN) if self.native else (Refused,)


FORMS: dict[str, tuple[str, ...]] = {
    CHAT: ("websocket", "ndjson", "text"),
    RESPONSES: ("ndjson", "text"),
    ANTHROPIC: ("websocket", "ndjson", "text"),
    GOOGLE: ("websocket", "ndjson", "text"),
    OLLAMAS: ("websocket", "text"),
}
"""What each provider itself can be asked for and does not have: Responses has a WebSocket of its own, Ollama JSON lines."""

CLIENTS = (
    *(Client(dialect, delivery) for dialect in ALL for delivery in ("stream", "whole")),
    *(Client(dialect, f"gateway {form}") for dialect in FORMS for form in ("sse", "websocket", "ndjson", "text")),
    *(Client(dialect, f"asked {form}") for dialect, forms in FORMS.items() for form in forms),
)


@dataclass(frozen=True)
class Cell:
    fault: str
    client: Client
    policy: Policy

    @property
    def model(self) -> str:
        """Names the cell. (A word of forty characters would pass for a secret, and not be logged.)"""
        return ".".join((self.policy, self.client.dialect, self.fault, self.client.delivery)).replace(" ", ".")

    @property
    def asked_for(self) -> str:
        """The gateway is told whose model it is."""
        gateway, dialect = self.client.delivery.startswith("gateway"), self.client.dialect
        return f"{AT_GATEWAY.get(dialect, PROVIDERS[dialect])}/{self.model}" if gateway else self.model


CELLS = tuple(
    Cell(fault, client, policy)
    for fault in FAULTS
    for client in CLIENTS
    for policy in POLICIES
    if (fault in OF_ALL and client.delivery == "stream" and client.dialect in FORMS)
    or (fault not in OF_ALL and (client.delivery != "whole" or fault in ANY_REQUEST))
)


def rules(cells: Iterable[Cell] = CELLS) -> list[str]:
    """What breaks: the first request of each cell. One that flaps lets the second pass of its own accord."""
    once = {"flapping": ""}
    return [f"{_fault(cell)} model={cell.model} {once.get(cell.fault, 'times=1')}" for cell in cells]


def _fault(cell: Cell) -> str:
    at_once = cell.fault == "in a call" and cell.client.dialect in WHOLE_CALLS
    return "cut after=24" if at_once else FAULTS[cell.fault]


def toml(port: int) -> str:
    """Each provider has a spare one of its own dialect, for whom it is left."""
    tables = [
        f'[providers.spare-{dialect}]\ndialect = "{dialect}"\napi_key = "sk-spare"\n'
        f'base_url = "https://localhost:{port}/{dialect}{_BASES.get(dialect, "")}"\n'
        for dialect in ALL
    ]
    tables += ['[providers.responses]\ndialect = "openai_responses"\nbase_url = "https://api.openai.com/v1"\n']
    tables += ['[providers.ollama]\nbase_url = "https://ollama.com"\n']
    for dialect in ALL:
        for provider in {PROVIDERS[dialect], AT_GATEWAY.get(dialect, PROVIDERS[dialect])}:
            tables += [_route(provider, dialect, policy) for policy in POLICIES]
    return "[healing]\nfailures = 1000\nretry_budget = 1.0\n" + "\n".join(tables)


def _route(provider: str, dialect: str, policy: Policy) -> str:
    return (
        f'[[routes]]\nprovider = "{provider}"\nmodel = "{policy}.{dialect}.*"\n'
        f'targets = ["{provider}", "spare-{dialect}"]\non_break = "{policy}"\n'
        f"attempts = 2\nbackoff = {{ base = 0.05, max = 2.0 }}\n"
        f"timeouts = {{ connect = 10, first_token = {FIRST_TOKEN}, idle = {FIRST_TOKEN}, total = {TOTAL} }}\n"
    )


def expected(cell: Cell) -> Verdict:
    """What must come of it (docs/healing.md)."""
    client, healed = cell.client, cell.policy != "error" and cell.client.dialect not in (BEDROCK, COHERE)
    match cell.fault:
        case "silence" if client.delivery == "whole":
            return "honest error"  # no time-out but the total, and behind that there is no time for another
        case "in a call":
            return "rescued" if healed and client.dialect in WHOLE_CALLS else "honest error"
        case fault if fault in BREAKS:
            return "rescued" if healed else "honest error"
        case "unterminated":  # chat and Anthropic tell the finish before the end: then nothing is missing
            return "rescued" if healed or client.dialect in (CHAT, ANTHROPIC) else "honest error"
        case "malformed" if client.native and not healed:  # passed on as it is: most SDKs do not take it
            return "rescued" if client.dialect in (ANTHROPIC, COHERE) else "honest error"
        case _:
            return "rescued"


@dataclass(frozen=True)
class Result:
    verdict: Verdict
    told: str = ""


def run(proxy: Proxy, cells: Sequence[Cell] = CELLS) -> Mapping[Cell, Result]:
    """Ask for every cell. Those that wait do so while the others work."""
    with ThreadPoolExecutor(WAITING) as waiting, ThreadPoolExecutor(WORKING) as working:
        futures = {cell: (waiting if cell.fault in SLOW else working).submit(_judged, cell, proxy) for cell in cells}
        return {cell: future.result() for cell, future in futures.items()}


def _judged(cell: Cell, proxy: Proxy) -> Result:
    got, began, raised = Got(), time.monotonic(), None
    try:
        cell.client.asking(proxy, cell.asked_for, got)
    except Exception as error:  # whatever the client's user gets
        raised = error
    return verdict(cell, got, raised, time.monotonic() - began)


def verdict(cell: Cell, got: Got, raised: Exception | None, seconds: float) -> Result:
    """rescued: the whole answer, once, and told to be whole. honest error: what the client has is the answer's beginning, and it
    was told that there is no more. wrong: anything else."""
    told = f"{got!r}, {type(raised).__name__}: {raised}, {seconds:.1f} s"
    if seconds >= HANGS or not WHOLE.startswith(got.text):
        return Result("wrong", told)
    if raised is None:
        return Result("rescued" if got.whole and got.text == WHOLE else "wrong", told)
    unread = cell.fault == "malformed" and isinstance(
        raised, ValueError
    )  # json.JSONDecodeError, as the SDKs let it out
    return Result("honest error" if unread or isinstance(raised, cell.client.raises) else "wrong", told)


_LETTERS: Mapping[Verdict | None, str] = {"rescued": "R", "honest error": "H", "wrong": "W", None: "·"}
LEGEND = "R rescued, H honest error, W wrong, · not asked for; each with on_break = continue, restart, error"


def table(results: Mapping[Cell, Result]) -> str:
    """A line a client, a column a fault, a letter a policy. A dialect's deliveries of ours are one line where they are equal."""
    lines = [["", *FAULTS]]
    for dialect in ALL:
        found = {c: _letters(c, results) for c in CLIENTS if c.dialect == dialect}
        ours = [letters for client, letters in found.items() if not client.native]
        alike = all(letters == ours[0] for letters in ours)
        lines += [[str(client), *letters] for client, letters in found.items() if client.native or not alike]
        lines += [[f"{dialect} re-delivered", *ours[0]]] if ours and alike else []
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    said = ["  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([*said, "", LEGEND])


def _letters(client: Client, results: Mapping[Cell, Result]) -> list[str]:
    found = [[results.get(Cell(fault, client, policy)) for policy in POLICIES] for fault in FAULTS]
    return ["".join(_LETTERS[one.verdict if one else None] for one in cells) for cells in found]
