"""What an answer that we write for OpenAI's clients is called."""

from __future__ import annotations

from collections.abc import Sequence

from midstream.dialects.base import AnswerOptions
from midstream.events import Event, Start

CALL_ID_LIMIT = 40
"""Characters of a tool call's id that we make: OpenAI refuses longer ones when they come back with the call's result."""


class Identity:
    """The provider's own id, model and time where it gave them, and the id has this dialect's shape; else the options'.

    Fixed once `used`: every frame of an answer names the same, also when a second attempt's Start comes.
    """

    def __init__(self, options: AnswerOptions, id_start: str) -> None:
        self._id_start = id_start
        own = options.id if options.id.startswith(id_start) else id_start + options.id
        self._stem = "".join(c for c in own.removeprefix(id_start) if c.isascii() and c.isalnum())
        self.id, self.model, self.created = own, options.model, options.created
        self.used = False
        self._said = Start()

    def adopt(self, start: Start) -> None:
        """The provider's own frames have named the answer so, whatever the id's shape: what they named stays."""
        self._said = start
        self.id, self.model = start.id or self.id, start.model or self.model
        self.created = start.created or self.created
        self.used = bool(start.id and start.model)

    def read(self, start: Start) -> None:
        """Take what a Start names; nothing once the answer's names are out."""
        if self.used:
            return
        said = self._said
        if not said.id and start.id.startswith(self._id_start):
            self.id = start.id
        self.model = said.model or start.model or self.model
        self.created = said.created or start.created or self.created  # 0: relays that do not know it

    def item_id(self, kind: str, *numbers: int) -> str:
        """An id for a tool call whose provider gave none (Gemini, Ollama), or for an output item; kind: as `call`."""
        end = "".join(f"_{number}" for number in numbers)
        return f"{kind}_{self._stem[-(CALL_ID_LIMIT - 1 - len(kind) - len(end)) :]}{end}"


def named(events: Sequence[Event]) -> Start:
    """Return all that the Starts among these events name, the first of each."""
    id_, model, created = "", "", None
    for event in events:
        if isinstance(event, Start):
            id_, model = id_ or event.id, model or event.model
            created = created or event.created
    return Start(id_, model, created)
