"""Every fault against every dialect, delivery and `on_break` policy, and the table of what came of it: `just faults`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import get_args

import httpx2
import openai
import pytest

from end_to_end.fault_clients import Got
from end_to_end.fault_matrix import (
    CELLS,
    CLIENTS,
    FAULTS,
    HANGS,
    OF_ALL,
    Cell,
    Result,
    expected,
    rules,
    run,
    table,
    toml,
    verdict,
)
from end_to_end.fault_providers import WHOLE, Everyone, answer_for
from end_to_end.harness import ROOT, Authority, Provider, Proxy, running
from end_to_end.sdk_clients import TORN
from midstream.faults.rules import Kind, parse_rule
from translated import CHAT

HOSTS = (
    "localhost",
    "api.openai.com",
    "api.anthropic.com",
    "generativelanguage.googleapis.com",
    "ollama.com",
    "bedrock-runtime.us-east-1.amazonaws.com",
    "api.cohere.com",
)


@pytest.fixture
def everyone(authority: Authority) -> Iterator[Provider]:
    provider = Provider(authority, hosts=HOSTS)
    provider.handler = Everyone()
    yield provider
    provider.stop()


@pytest.fixture
def proxy(authority: Authority, everyone: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("faults")
    config = folder / "midstream.toml"
    config.write_text(toml(everyone.port))
    broken = [word for rule in rules() for word in ("--set", f"midstream_break={rule}")]
    proxy = Proxy(
        folder,
        "--set",
        f"midstream_config={config}",
        *broken,
        scripts=("relay_streams.py", "break_streams.py", "connect_to.py"),
        trust=authority.file,
        upstream=f"*.com:443:127.0.0.1:{everyone.port}",
    )
    with running(proxy):
        yield proxy


def struck(proxy: Proxy) -> set[str]:
    """The models whose streams were broken, by mitmdump's log."""
    return set(re.findall(r"midstream broke .* on purpose: .* \(\S+ (\S+)\)", "".join(proxy.log)))


def test_every_fault_is_healed_or_told(proxy: Proxy) -> None:
    results = run(proxy)
    print(f"\n\n{table(results)}")
    unlike = {cell: found for cell, found in results.items() if found.verdict != expected(cell)}
    assert not unlike, "\n".join(
        f"{c.model}: {found.verdict}, not {expected(c)}: {found}" for c, found in unlike.items()
    )
    assert struck(proxy) == {cell.model for cell in CELLS}
    rows = {row["model_requested"]: row["outcome"] for row in proxy.rows(len(CELLS), "outcome is not null")}
    assert len(rows) == len(CELLS)
    complete = {cell.model for cell in CELLS if rows[cell.asked_for] == "complete"}
    left = {cell.model for cell in CELLS if rows[cell.asked_for] == "client_gone"}
    # A malformed frame that is passed on as it is breaks the SDK's reading, not the stream; but then its client leaves.
    unread = {cell.model for cell in CELLS if cell.fault == "malformed" and expected(cell) != "rescued"}
    taken = {cell.model for cell in CELLS if expected(cell) == "rescued"}
    assert complete - unread == taken
    assert unread <= complete | left
    assert proxy._query("select * from in_flight") == []


def test_the_documented_table_is_what_must_come_of_it() -> None:
    must = table({cell: Result(expected(cell)) for cell in CELLS})
    assert must in (ROOT / "docs" / "faults.md").read_text(), f"docs/faults.md shows another table than\n{must}"


def test_no_fault_is_left_out() -> None:
    kinds = {parse_rule(rule).fault.kind for rule in FAULTS.values()}
    assert kinds == set(get_args(Kind.__value__))


def test_a_call_or_a_thought_that_is_lost_is_wrong() -> None:
    """The break is within them, so that the text alone would tell nothing."""
    of_all = [cell for cell in CELLS if cell.fault in OF_ALL]
    assert len({cell.client.dialect for cell in of_all}) == 5
    assert all(answer_for(cell.model).arguments and answer_for(cell.model).reasoning for cell in of_all)


STREAM = next(client for client in CLIENTS if client.dialect == CHAT and client.native)
CUT = Cell("cut 10", STREAM, "continue")
TOLD = openai.APIError("no", httpx2.Request("POST", "http://x"), body=None)


@pytest.mark.parametrize(
    ("got", "raised", "seconds", "is_"),
    [
        (Got(WHOLE, True), None, 1.0, "rescued"),
        (Got(WHOLE, False), None, 1.0, "wrong"),  # nobody has said that this is all
        (Got(WHOLE[:-5], True), None, 1.0, "wrong"),  # a truncated success
        (Got(WHOLE + WHOLE[-5:], True), None, 1.0, "wrong"),
        (Got(WHOLE[:50]), TOLD, 1.0, "honest error"),
        (Got(WHOLE[:50]), TORN[0]("reset"), 1.0, "honest error"),
        (Got(WHOLE[:50] + WHOLE), TOLD, 1.0, "wrong"),  # what was shown was no beginning of the answer
        (Got(WHOLE[:50]), KeyError("choices"), 1.0, "wrong"),  # no error that its user can expect
        (Got(WHOLE[:50]), ValueError("no JSON"), 1.0, "wrong"),
        (Got(WHOLE[:50]), TOLD, HANGS, "wrong"),
        (Got(WHOLE, True), None, HANGS, "wrong"),
    ],
)
def test_what_is_wrong_is_called_wrong(got: Got, raised: Exception | None, seconds: float, is_: str) -> None:
    assert verdict(CUT, got, raised, seconds).verdict == is_


def test_a_lifecycle_that_is_none_is_wrong() -> None:
    assert verdict(CUT, Got(WHOLE, True), AssertionError("two finish reasons"), 1.0).verdict == "wrong"
