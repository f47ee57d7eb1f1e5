"""How long a client may take: pure, by a clock that is handed in."""

from __future__ import annotations

import pytest

from midstream import clients
from midstream.clients import Patience, What


def waited(what: tuple[What, int] | None, seconds: float, received: int = 0) -> str:
    patience = Patience()
    assert not patience.overdue(what, 100.0)
    patience.received += received
    return patience.overdue(what, 100.0 + seconds)


@pytest.mark.parametrize(
    ("what", "limit"), [("head", clients.HEAD_WAIT), ("idle", clients.IDLE_WAIT), ("body", clients.BODY_WAIT)]
)
def test_each_thing_has_its_time(what: What, limit: float) -> None:
    assert not waited((what, 1), limit - 1)
    assert waited((what, 1), limit + 1)


def test_an_answer_may_take_for_ever() -> None:
    assert not waited(None, 1e9)


def test_a_body_that_comes_at_a_fair_rate_is_waited_for() -> None:
    seconds = clients.BODY_WAIT + 1000
    assert not waited(("body", 1), seconds, received=1000 * clients.BODY_RATE)
    assert waited(("body", 1), seconds, received=900 * clients.BODY_RATE)


def test_the_next_request_has_its_own_time() -> None:
    patience = Patience()
    for n in range(10):
        assert not patience.overdue(("head", n), n * clients.HEAD_WAIT)
    patience.received += 10**9
    assert not patience.overdue(("body", 10), 1000.0)
    assert patience.overdue(("body", 10), 1000.0 + clients.BODY_WAIT + 1)  # what came before it counts for nothing
