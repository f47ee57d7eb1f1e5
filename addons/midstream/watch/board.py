"""All streams in flight, and what changed of them since the last look, numbered so that a page can go on where it was. Pure."""

from __future__ import annotations

import secrets
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from midstream.ledger import Account
from midstream.observation import Observation
from midstream.watch import tracks
from midstream.watch.tracks import Facts, Track
from midstream.wire.json_text import dump_json

SHOWN = 300
"""Streams in flight that the page lists, the oldest first; of the others it tells only how many there are."""

ENDED = 40
"""Streams listed after their end."""

DETAILED = 300
"""Ended streams of which it is kept what only was seen (stalls, resumes); the rows are in the database."""

KEPT = 64
"""Changes that are kept for pages that lost their connection: half a minute of them at the least; later they start anew."""

SAMPLE = 0.5
"""Seconds between two samples of how fast tokens come."""

MISSING = 30.0
"""Seconds until a stream of whose end nobody was told is given up: counting its tokens may take long."""

type Target = dict[str, str]


@dataclass(slots=True)
class Change:
    """What happened between two looks; `n` is its number."""

    n: int
    new: list[Facts] = field(default_factory=list)
    set: dict[str, Facts] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    ended: list[Facts] = field(default_factory=list)
    targets: Sequence[Target] | None = None
    flying: int | None = None

    def __bool__(self) -> bool:
        told = self.targets is not None or self.flying is not None
        return told or bool(self.new or self.set or self.gone or self.ended)

    def to_json(self, wall: float) -> bytes:
        said: dict[str, Any] = {"now": round(wall * 1000)}
        for name in ("new", "set", "gone", "ended"):
            if value := getattr(self, name):
                said[name] = value
        if self.targets is not None:
            said["targets"] = self.targets
        if self.flying is not None:
            said["flying"] = self.flying
        return dump_json(said).encode("utf-8", "replace")


class Board:
    """What every page shows. Times: now on the monotonic clock, wall in seconds since 1970."""

    def __init__(self) -> None:
        self.run = secrets.token_hex(4)
        """Tells this run's numbers from those of another."""
        self.last = 0
        self._tracks: dict[str, Track] = {}
        self._over: list[Facts] = []
        self._gone: list[str] = []
        self._ended: deque[Facts] = deque(maxlen=ENDED)
        self._detailed: OrderedDict[str, Facts] = OrderedDict()
        self._kept: deque[tuple[int, bytes]] = deque(maxlen=KEPT)
        self._targets: Sequence[Target] = ()
        self._flying = 0
        self._sampled = 0.0

    def look(self, live: Mapping[str, Account], targets: Sequence[Target], now: float, wall: float) -> bool:
        """Look at what runs; return whether anything has changed."""
        change = Change(self.last + 1)
        self._look_at(live, change, now, wall)
        self._miss(live, now)
        change.gone, self._gone = self._gone, []
        change.ended, self._over = self._over, []
        self._ended.extend(change.ended)
        if targets != self._targets:
            self._targets = change.targets = targets
        if len(live) != self._flying:
            self._flying = change.flying = len(live)
        self._sample(now)
        if change:
            self.last = change.n
            self._kept.append((change.n, change.to_json(wall)))
        return bool(change)

    def _look_at(self, live: Mapping[str, Account], change: Change, now: float, wall: float) -> None:
        for id_, account in live.items():
            track = self._tracks.get(id_)
            if track is not None:
                if changed := track.see(account.observation, now):
                    change.set[id_] = changed
            elif len(self._tracks) < SHOWN:
                track = self._tracks[id_] = Track(account, now, wall)
                track.see(account.observation, now)
                change.new.append(track.shown())

    def _miss(self, live: Mapping[str, Account], now: float) -> None:
        for track in [track for id_, track in self._tracks.items() if id_ not in live]:
            if track.account.forgotten:
                self._drop(track.id)
            elif track.missing_since is None:
                track.missing_since = now
            elif now - track.missing_since > MISSING:
                self._drop(track.id)

    def _drop(self, id_: str) -> Track | None:
        track = self._tracks.pop(id_, None)
        if track is not None:
            self._gone.append(id_)
        return track

    def _sample(self, now: float) -> None:
        if now - self._sampled >= SAMPLE:
            passed, self._sampled = now - self._sampled, now
            for track in self._tracks.values():
                track.sample(min(passed, 2.0))

    def end(self, observation: Observation) -> None:
        """A stream is over, and counted."""
        track = self._drop(observation.record.id)
        moments = list(track.moments) if track is not None else []
        self._over.append(tracks.ended(observation))
        del self._over[:-ENDED]
        self._detailed[observation.record.id] = tracks.details(observation, moments)
        while len(self._detailed) > DETAILED:
            self._detailed.popitem(last=False)

    def details(self, id_: str, live: Mapping[str, Account]) -> Facts | None:
        """What is known here of a stream that runs, or ran a moment ago."""
        track = self._tracks.get(id_)
        account = live.get(id_) or (
            track.account if track is not None else None
        )  # one that is being counted is in neither
        if account is not None:
            moments, seen = (list(track.moments), track.facts) if track is not None else ([], {})
            return {**tracks.details(account.observation, moments), "live": True, "seen": seen}
        return self._detailed.get(id_)

    def whole(self, wall: float, *, content: bool = False) -> bytes:
        """Everything, for a page that has just been opened, as of change number `last`. content: whether words are shown."""
        said = {
            "now": round(wall * 1000),
            "new": [track.shown() for track in self._tracks.values()],
            "ended": list(self._ended),
            "targets": self._targets,
            "flying": self._flying,
            "content": content,
        }
        return dump_json(said).encode("utf-8", "replace")

    def since(self, n: int) -> list[tuple[int, bytes]] | None:
        """The changes behind number `n`, in order; None where they are no longer known: begin anew with `whole`."""
        if n > self.last or (n < self.last and (not self._kept or self._kept[0][0] > n + 1)):
            return None
        return [(number, data) for number, data in self._kept if number > n]
