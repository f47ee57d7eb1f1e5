"""Fragments of tool calls → whole calls, for a dialect that says a call at once and its arguments as an object."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from midstream.events import ToolCall
from midstream.wire import FRAME_LIMIT
from midstream.wire.json_text import Json, parse_json

HELD_LIMIT = FRAME_LIMIT
"""Characters of arguments that are held at once: a whole call is a frame."""


@dataclass(slots=True)
class WholeCall:
    """A call. signature: of the part that says it (Gemini's); arguments are set once they are whole."""

    index: int
    id: str
    name: str
    signature: str = ""
    arguments: Json = field(default_factory=dict)
    pieces: list[str] = field(default_factory=list)
    size: int = 0
    tried: int = 0


class WholeCalls:
    """The calls of one choice, given out in their order, each once its arguments are whole.

    given: the calls that somebody else gave out. overfull: more is held than HELD_LIMIT, and what came last was not kept.
    Fragments of a call that was given out already are ignored: only white space can rightly come there.
    """

    def __init__(self, given: Iterable[int] = ()) -> None:
        self.overfull = False
        self._held: dict[int, WholeCall] = {}
        self._given = set(given)
        self._size = 0

    def __bool__(self) -> bool:
        return bool(self._held)

    def add(self, part: ToolCall, signature: str = "") -> list[WholeCall]:
        """Add a fragment; return the calls that are whole now that another one begins."""
        if part.index in self._given:
            return []
        whole: list[WholeCall] = []
        call = self._held.get(part.index)
        if call is None:
            whole = self.take()
            call = self._held[part.index] = WholeCall(part.index, "", "", signature)
        call.id, call.name = call.id or part.id, call.name or part.name
        self._add(call, part.arguments)
        return whole

    def _add(self, call: WholeCall, piece: str) -> None:
        self.overfull = self.overfull or self._size + len(piece) > HELD_LIMIT
        if piece and not self.overfull:
            call.pieces.append(piece)
            call.size += len(piece)
            self._size += len(piece)

    def take(self, *, last: bool = False) -> list[WholeCall]:
        """Return the calls, from the first on, that are whole. last: nothing more will come, so no arguments are `{}`."""
        whole: list[WholeCall] = []
        for index, call in list(self._held.items()):
            if not _complete(call, last=last):
                if not last:
                    break
                continue
            del self._held[index]
            self._given.add(index)
            self._size -= call.size
            whole.append(call)
        return whole


def _complete(call: WholeCall, *, last: bool) -> bool:
    """Parse the arguments; the same ones are tried once."""
    if not call.size:
        return last
    if call.tried == call.size:
        return False
    call.tried = call.size
    call.pieces = ["".join(call.pieces)]
    try:
        arguments = parse_json(call.pieces[0])
    except ValueError:
        return False
    if not isinstance(arguments, dict):
        return False
    call.arguments = arguments
    return True
