"""A Responses stream in background mode runs on without its reader: OpenAI lets one read on from any event.

https://platform.openai.com/docs/guides/background#streaming-a-background-response
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import quote

from midstream.events import Event, Start
from midstream.wire.json_text import Json

_NUMBER = re.compile(rb'"sequence_number" ?: ?(\d{1,12})')
"""No string in a frame can hold this: its quotes would be escaped."""


def read_on(path: str, body: Json, said: Sequence[Event], last: bytes) -> str | None:
    """The path of the request that reads on exactly where a stream broke; None where there is none.

    path: of the first request. said: the events so far; last: the last whole frames, as they were on the wire.
    """
    id_ = next((event.id for event in said if isinstance(event, Start) and event.id), "")
    numbers = _NUMBER.findall(last)
    if body.get("background") is not True or not id_ or not numbers:
        return None
    bare = path.partition("?")[0].rstrip("/")
    return f"{bare}/{quote(id_, safe='')}?stream=true&starting_after={int(numbers[-1])}"
