"""What streams say, for the live page: only where the user asked for it, only in memory, and of the latest streams only. Pure."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from midstream.events import Event, Reasoning, Refusal, Text, ToolCall
from midstream.ledger import Account

STREAMS = 100
"""Streams whose words are kept, those that run included; the oldest are forgotten first."""

ANSWER = 64 * 1024
"""Characters kept of one answer."""

PROMPT = 16 * 1024
"""Characters kept of one prompt: its end, which is what was asked last."""

type Part = dict[str, Any]


@dataclass(slots=True)
class Words:
    """What one stream was asked, and says. parts: what came, in order, as `kind`, `attempt` and `text`; what follows on the same
    is joined."""

    account: Account | None
    key: str | None
    prompt: list[str] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    left: int = ANSWER

    def hear(self, events: list[Event]) -> None:
        """What was fed to the observation: also what a provider said that the client never saw."""
        account = self.account
        if account is None:
            return
        attempt = max(len(account.observation.attempts), 1)
        for event in events:
            kind, text = _said(event)
            if text:
                self._add(kind, attempt, text)

    def _add(self, kind: str, attempt: int, text: str) -> None:
        if self.left <= 0:
            return
        last = self.parts[-1] if self.parts else None
        if last is None or (last["kind"], last["attempt"]) != (kind, attempt):
            last = {"kind": kind, "attempt": attempt, "text": ""}
            self.parts.append(last)
        last["text"] += text[: self.left]
        self.left -= len(text)

    def asked(self) -> list[str]:
        """The prompt's texts; read from the request while the stream runs. May take a while: not on the event loop."""
        return self.prompt if self.account is None else _prompt_of(self.account)

    def end(self) -> None:
        """The stream is over: keep the words, let go of the request."""
        if self.account is not None:
            self.prompt, self.account = _prompt_of(self.account), None

    def shown(self) -> dict[str, Any]:
        """As the page gets it."""
        return {"prompt": self.asked(), "parts": [dict(part) for part in self.parts], "cut": self.left <= 0}


class WordsOfStreams:
    """`open` and `close` are watchers of the ledger: told of each stream that begins, and of each that is over."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Words] = OrderedDict()

    def open(self, account: Account) -> None:
        record = account.observation.record
        words = Words(account, record.key)
        self._kept[record.id] = words
        account.observation.listener = words.hear
        while len(self._kept) > STREAMS:
            self._kept.popitem(last=False)[1].account = None

    def close(self, account: Account) -> None:
        words = self._kept.get(account.observation.record.id)
        if words is not None:
            words.end()

    def clear(self) -> None:
        """The user turned it off: forget everything."""
        for words in self._kept.values():
            words.account = None
        self._kept.clear()

    def of(self, id_: str) -> Words | None:
        return self._kept.get(id_)


def _said(event: Event) -> tuple[str, str]:
    match event:
        case Text():
            return "text", event.text
        case Reasoning():
            return "reasoning", event.text
        case Refusal():
            return "refusal", event.text
        case ToolCall():
            return "tool", f"{event.name or ''}{event.arguments or ''}"
        case _:
            return "", ""


def _prompt_of(account: Account) -> list[str]:
    """Its last texts, within the limit."""
    left, kept = PROMPT, list[str]()
    for text in reversed(account.prompt()[0]):
        if left <= 0:
            break
        kept.append(text[-left:])
        left -= len(text)
    return kept[::-1]
