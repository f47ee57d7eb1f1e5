"""What changes between two looks at all streams, and how a page that lost its connection goes on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from databases import record
from midstream.events import Text
from midstream.ledger import Account
from midstream.observation import Observation
from midstream.watch import board as boards
from midstream.watch.board import DETAILED, ENDED, KEPT, MISSING, SHOWN, Board

WALL = 1_769_853_600.0
CLOSED = [{"provider": "openai", "model": "", "breaker": "closed"}]
OPEN = [{"provider": "openai", "model": "", "breaker": "open"}]


def account(id_: str = "s1", **values: Any) -> Account:
    return Account(Observation(record(id_, model_requested="gpt-4o", **values), 0.0))


class Watched:
    """A board and the streams it looks at."""

    def __init__(self, *accounts: Account) -> None:
        self.board = Board()
        self.live = {a.observation.record.id: a for a in accounts}
        self.now = 0.0
        self.targets = CLOSED

    def look(self, seconds: float = 0.1) -> Any:
        """What one look tells; None if nothing."""
        self.now += seconds
        if not self.board.look(self.live, self.targets, self.now, WALL + self.now):
            return None
        told = self.board.since(self.board.last - 1)
        assert told is not None
        return json.loads(told[-1][1])

    def end(self, id_: str) -> None:
        account = self.live.pop(id_)
        account.observation.settle("complete", self.now)
        self.board.end(account.observation)


def test_a_new_stream_is_told_whole_and_then_by_its_changes() -> None:
    watched = Watched(account())
    first = watched.look()
    assert [row["id"] for row in first["new"]] == ["s1"]
    assert first["flying"] == 1
    assert watched.look() is None
    watched.live["s1"].observation.feed([Text("abcd" * 10)], 0.2)
    assert watched.look()["set"] == {"s1": {"state": "streaming", "ttft_ms": 200.0, "tokens": 10}}


def test_one_message_for_all_streams() -> None:
    watched = Watched(*(account(f"s{n}") for n in range(200)))
    watched.look()
    for one in watched.live.values():
        one.observation.feed([Text("abcd")], 0.2)
    assert len(watched.look()["set"]) == 200
    assert watched.board.last == 2


def test_an_ended_stream_leaves_and_is_listed() -> None:
    watched = Watched(account())
    watched.look()
    watched.end("s1")
    told = watched.look()
    assert (told["gone"], told["flying"]) == (["s1"], 0)
    assert [(row["id"], row["state"]) for row in told["ended"]] == [("s1", "complete")]


def test_a_stream_that_came_and_went_between_two_looks_is_listed_too() -> None:
    watched = Watched()
    watched.look()
    watched.live["s1"] = account()
    watched.end("s1")
    told = watched.look()
    assert "new" not in told
    assert [row["id"] for row in told["ended"]] == ["s1"]


def test_a_stream_of_whose_end_nobody_was_told_is_forgotten_after_a_while() -> None:
    watched = Watched(account())
    watched.look()
    watched.live.clear()
    assert watched.look() == {"now": round((WALL + watched.now) * 1000), "flying": 0}
    assert watched.look(MISSING / 2) is None
    watched.look(MISSING)
    assert json.loads(watched.board.whole(WALL))["new"] == []


def test_breakers_are_told_when_they_change() -> None:
    watched = Watched()
    assert watched.look()["targets"] == CLOSED
    assert watched.look() is None
    watched.targets = OPEN
    assert watched.look()["targets"] == OPEN


def test_more_streams_than_are_listed_are_counted() -> None:
    watched = Watched(*(account(f"s{n:04}") for n in range(SHOWN + 7)))
    told = watched.look()
    assert (len(told["new"]), told["flying"]) == (SHOWN, SHOWN + 7)
    watched.end("s0000")
    assert [row["id"] for row in watched.look().get("new", [])] == [f"s{SHOWN:04}"] or watched.look()["new"]


def test_a_page_that_missed_something_gets_exactly_that() -> None:
    watched = Watched(account())
    for n in range(5):
        watched.live["s1"].observation.feed([Text("abcd")], n / 10)
        watched.look()
    assert [n for n, _ in watched.board.since(2) or []] == [3, 4, 5]
    assert watched.board.since(5) == []


@pytest.mark.parametrize("n", [0, 1])
def test_a_page_that_missed_too_much_begins_anew(n: int) -> None:
    watched = Watched(account())
    for turn in range(KEPT + 2):
        watched.live["s1"].observation.feed([Text("abcd")], float(turn))
        watched.look()
    assert watched.board.since(n) is None
    assert len(watched.board.since(2) or []) == KEPT


def test_a_number_that_was_never_given_begins_anew() -> None:
    assert Board().since(3) is None


def test_everything_has_all_that_changes_added_up() -> None:
    watched = Watched(account("s1"), account("s2"))
    watched.look()
    watched.live["s1"].observation.feed([Text("abcd" * 3)], 0.2)
    watched.look()
    watched.end("s2")
    watched.look()
    whole = json.loads(watched.board.whole(WALL))
    assert [(row["id"], row["tokens"]) for row in whole["new"]] == [("s1", 3)]
    assert [row["id"] for row in whole["ended"]] == ["s2"]
    assert (whole["flying"], whole["targets"]) == (1, CLOSED)


def test_what_is_kept_of_ended_streams_is_bounded() -> None:
    watched = Watched(*(account(f"s{n:04}") for n in range(DETAILED + 5)))
    watched.look()
    for id_ in list(watched.live):
        watched.end(id_)
    watched.look()
    assert len(json.loads(watched.board.whole(WALL))["ended"]) == ENDED
    assert watched.board.details("s0000", {}) is None
    assert watched.board.details(f"s{DETAILED:04}", {}) is not None


def test_a_stream_that_is_measured_elsewhere_leaves_at_once() -> None:
    watched = Watched(account())
    watched.look()
    watched.live.pop("s1").forgotten = True
    assert watched.look()["gone"] == ["s1"]


def test_details_of_a_running_stream_say_that_it_runs() -> None:
    watched = Watched(account())
    watched.look()
    said = watched.board.details("s1", watched.live)
    assert said is not None
    assert said["live"]
    assert said["stream"]["id"] == "s1"
    gone = watched.live.pop("s1")
    counted = watched.board.details("s1", watched.live)
    assert counted is not None
    assert counted["live"]  # its tokens are being counted
    gone.observation.settle("complete", watched.now)
    watched.board.end(gone.observation)
    ended = watched.board.details("s1", watched.live)
    assert ended is not None
    assert "live" not in ended


def test_hostile_names_are_json() -> None:
    watched = Watched(account(app='</script>"\ud800\x00\n'))
    assert watched.look()["new"][0]["app"].startswith('</script>"')


def test_a_sample_is_taken_twice_a_second_and_is_of_one() -> None:
    watched = Watched(account())
    for turn in range(20):
        watched.live["s1"].observation.feed([Text("abcd")], turn * 0.25)
        watched.look(0.25)
    [row] = json.loads(watched.board.whole(WALL))["new"]
    assert len(row["samples"]) == 10
    assert row["samples"][1:] == [4] * 9  # a token each quarter of a second


def test_two_runs_do_not_take_their_numbers_for_each_others() -> None:
    assert boards.Board().run != boards.Board().run
