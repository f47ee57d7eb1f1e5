"""What a provider has written of a response, for whoever must go on with it."""

from __future__ import annotations

from collections.abc import Mapping

from midstream.wire.json_text import Json, as_dict, parse_json

KEPT_LIMIT = 16 * 1024 * 1024
"""Bytes of a response's events that are kept while it streams: the items that are whole, since the last event names them all.
An answer is some KB; images are what makes them large."""

INDEX_LIMIT = 1 << 20
"""Output items are numbered below this; agents come to some hundred."""

_ITEM = frozenset(
    (
        "response.output_item.added",
        "response.content_part.added",
        "response.content_part.done",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_part.done",
        "response.output_text.annotation.added",
    )
)
_FAILURES = frozenset(("error", "response.failed"))
_DONE = "response.output_item.done"


class Written:
    """Kept as bytes, and parsed only when they are needed: most streams do not break.

    sequence: the last `sequence_number`; -1 before there is one. count: the number that the next output item gets. begun: whether
    the response has been announced; overfull: whether more would have had to be kept than KEPT_LIMIT.
    """

    def __init__(self) -> None:
        self.sequence = -1
        self.count = 0
        self.begun = self.overfull = False
        self._first = b""
        self._items: dict[int, list[bytes]] = {}
        self._whole = set[int]()
        self._room = KEPT_LIMIT

    def read(self, kind: str, event: Json, data: bytes) -> None:
        """Note one event. A failure's has no number here: who goes on behind it has not passed it on."""
        if kind in _FAILURES:
            return
        number = event.get("sequence_number")
        if number.__class__ is int:
            self.sequence = number
        if kind in _ITEM or kind == _DONE:
            self._item(kind, event.get("output_index"), data)
        elif not self.begun and "response" in event:
            self.begun, self._first = True, self._kept(data)

    def _item(self, kind: str, index: object, data: bytes) -> None:
        if not isinstance(index, int) or not 0 <= index < INDEX_LIMIT:
            return
        self.count = max(self.count, index + 1)
        if kind == _DONE:
            self._room += sum(map(len, self._items.pop(index, ())))
            self._whole.add(index)
        if kept := self._kept(data):
            self._items.setdefault(index, []).append(kept)

    def _kept(self, data: bytes) -> bytes:
        if len(data) > self._room:
            self.overfull = True
            return b""
        self._room -= len(data)
        return data

    def response(self) -> Json:
        """Return the response as it was first announced."""
        return as_dict(_parsed(self._first).get("response"))

    def items(self) -> Mapping[int, tuple[bool, list[Json]]]:
        """Return, for each output item that is known, whether it is whole, and its events: of a whole one the last alone."""
        return {
            index: (index in self._whole, [_parsed(event) for event in events])
            for index, events in sorted(self._items.items())
        }


def _parsed(data: bytes) -> Json:
    return as_dict(parse_json(data)) if data else {}
