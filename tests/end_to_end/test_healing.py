"""What else a provider may do to an answer: whole at the client, or an error that its official SDK raises; never half of one that
looks whole, and the row says what the client saw. All run at once (catalogue.py)."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest
from aiohttp import web

from end_to_end.catalogue import SPARE, Case, Pace, goes_on, hangs, played, run, then, until
from end_to_end.harness import Authority, Gate, Handler, Proxy, clean_environment
from end_to_end.healing import DONE, WHOLE, WORDS, answer, chunk, fails, usage

PACE = Pace(first_token=8, idle=8)


def says(*pieces: bytes, cut: bool = False, **more: Any) -> Handler:
    """These bytes; then the end of the body, or of the connection."""

    async def handler(request: web.Request) -> web.StreamResponse:
        named = {"content-type": "text/event-stream", **more.pop("headers", {})}
        response = web.StreamResponse(headers=named, **more)
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
        if cut:
            await asyncio.sleep(0.2)  # an aborted connection loses what has not left yet
            assert request.transport is not None
            request.transport.abort()
        return response

    return handler


def spoken(*texts: str, finish: str = "", **more: Any) -> tuple[bytes, ...]:
    """Chunks, and an end if there is a finish reason."""
    said = [chunk(text, **more) for text in texts]
    return (*said, chunk(finish=finish, **more), usage(len(texts), **more), DONE) if finish else tuple(said)


def choice(number: int, text: str, finish: str | None = None) -> bytes:
    delta = {"content": text} if text else {}
    return chunk(choices=[{"index": number, "delta": delta, "finish_reason": finish}])


def calling(number: int, arguments: str, name: str = "") -> bytes:
    """A piece of a tool call; with its name, the first one."""
    function = {"arguments": arguments} | ({"name": name} if name else {})
    call = {"index": number, "function": function} | ({"id": f"call_{name}", "type": "function"} if name else {})
    return chunk(choices=[{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}])


CAT = ("The cat sat. ", "It was very ", "happy about ", "that fact. ", "Then it ")
LEFT = "".join(CAT) + "left."
JSON = {"response_format": {"type": "json_object"}}
HALF, LIST, OTHER = '{"a": 1, ', '"b": [', '{"a": 2, '
UMLAUTS = ("Größe ", "漢字 ", "😀😀 ", "end.")
PAIR = (choice(0, "aa "), choice(1, "bb "), choice(0, "cc "), choice(1, "dd "), choice(0, "", "stop"))
PAIR_WHOLE = says(*PAIR, choice(1, "", "stop"), usage(4), DONE)
CALLS = (calling(0, "", "one"), calling(0, '{"c": '), calling(0, '"B"}'), calling(1, "", "two"), calling(1, '{"c": '))
CALLS_WHOLE = says(
    *CALLS,
    calling(1, '"Z"}'),
    chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]),
    usage(9),
    DONE,
)
FILTERED = {"error": {"message": "filtered", "type": "invalid_request_error", "code": "content_filter"}}
OVERLOADED = {"error": {"message": "overloaded", "type": "server_error", "code": None}}
JSON_BODY = {"content-type": "application/json"}
CUT = says(*spoken(*CAT), cut=True)


def raw_chunk(text: str) -> bytes:
    """With its characters as they are, not escaped."""
    return chunk("@").replace(b"@", text.encode())


def torn() -> Handler:
    """Cut in the midst of a character of four bytes."""
    body = b"".join(map(raw_chunk, UMLAUTS[:3]))
    return says(body[: body.rindex("😀".encode()) + 2], cut=True)


def onward(*texts: str) -> Iterator[Handler]:
    """A fallback that says just this."""
    return then(says(*spoken(*texts, finish="stop", **SPARE)))


def cases() -> list[Case]:
    spare, broken = goes_on, fails(500)

    def cut(name: str, fallback: Iterator[Handler], **more: Any) -> Case:
        """Cut behind CAT, and then the primary is down."""
        return Case(name, then(CUT, broken), fallback, whole=LEFT, **more)

    def half(name: str, *again: str) -> Case:
        """JSON mode: cut in its midst, then asked for anew."""
        cut, anew = says(*spoken(HALF, LIST), cut=True), says(*spoken(*again, finish="stop"))
        return Case(name, then(cut, anew), then(broken), whole=HALF + LIST + "2]}", asking=JSON)

    return [
        Case("no DONE and open", then(until(len(answer()) - 1, hangs)), then(broken)),
        Case("cut inside DONE", then(says(*answer()[:-1], b"data: [DO", cut=True)), then(broken)),
        Case(
            "cut inside a character",
            then(torn(), says(*map(raw_chunk, UMLAUTS[2:]), *spoken("", finish="stop")[1:])),
            then(broken),
            whole="".join(UMLAUTS),
        ),
        Case("cut inside an event", then(says(*answer()[:21], b'data: {"choi', cut=True), goes_on), then(broken)),
        Case(
            "two breaks",
            then(says(*answer()[:21], cut=True), says(*answer(WORDS[20:])[:11], cut=True), goes_on),
            then(broken),
        ),
        Case("HTML", then(says(b"<html>Bad gateway</html>", headers={"content-type": "text/html"})), then(spare)),
        Case("plain words", then(says(b"upstream connect error", headers={"content-type": "text/plain"})), then(spare)),
        Case("a JSON error in a 200", then(says(json.dumps(OVERLOADED).encode(), headers=JSON_BODY)), then(spare)),
        Case("half a JSON answer", then(says(b'{"id": "x", "choices": [{"ind', headers=JSON_BODY)), then(spare)),
        Case("nothing", then(says()), then(spare)),
        Case("DONE alone", then(says(DONE)), then(spare)),
        Case("a redirection", then(says(status=302, headers={"location": "https://elsewhere.test/"})), then(spare)),
        Case("Retry-After of a day", then(fails(429, retry_after="86400")), then(spare)),
        Case(
            "Retry-After in the past",
            then(fails(429, retry_after="Wed, 21 Oct 2015 07:28:00 GMT"), goes_on),
            then(broken),
        ),
        Case("Retry-After that is none", then(fails(429, retry_after="soonish"), goes_on), then(broken)),
        cut("the last sentence again", onward("happy about that fact. Then it ", "left.")),
        cut("all of it again", onward(*CAT, "left.")),
        cut("an empty rest", then(says(DONE))),
        half("JSON again", HALF, LIST + "2]}"),
        half("other JSON", OTHER, LIST + "2]}"),
        Case("two choices", then(says(*PAIR[:3], cut=True), PAIR_WHOLE), then(broken), asking={"n": 2}),
        Case(
            "a choice that never came",
            then(says(PAIR[0], PAIR[2], PAIR[4], cut=True), PAIR_WHOLE),
            then(broken),
            asking={"n": 2},
        ),
        Case("calls, cut between", then(says(*CALLS[:3], cut=True), CALLS_WHOLE), then(broken)),
        Case("calls, cut in the second", then(says(*CALLS, cut=True), CALLS_WHOLE), then(broken)),
        Case("filtered at once", then(says(b"data: " + json.dumps(FILTERED).encode() + b"\n\n")), then(spare)),
        Case("filtered later", then(says(*answer()[:21], cut=True), fails(400, FILTERED)), then(spare)),
        Case("both down", then(fails(503, OVERLOADED)), then(broken)),
        Case("both down later", then(says(*answer()[:41], cut=True), broken), then(broken)),
    ]


class Played:
    """All that has run, once."""

    def __init__(self, proxy: Proxy, cases: list[Case]) -> None:
        self.proxy = proxy
        self._cases = {case.name: case for case in cases}

    def __getitem__(self, name: str) -> Case:
        return self._cases[name]

    def row(self, case: Case) -> dict[str, Any]:
        return self.proxy.rows(1, f"model_requested = '{case.model}' and outcome is not null")[0]


@pytest.fixture(scope="module")
def played_(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    later = [LEAVING, *OVER_HTTP2]
    all_ = [*cases(), *later]
    with played(all_, PACE, authority, tmp_path_factory.mktemp("healing")) as (proxy, client):
        run(all_[: -len(later)], client)
        yield Played(proxy, all_)


RESCUED = [
    case.name
    for case in cases()
    if case.name
    not in (
        "a redirection", "an empty rest", "other JSON", "two choices", "a choice that never came", "calls, cut between",
        "calls, cut in the second", "filtered at once", "filtered later", "both down", "both down later",
    )
]  # fmt: skip


@pytest.mark.parametrize("name", RESCUED)
def test_the_answer_is_whole(played_: Played, name: str) -> None:
    case = played_[name]
    assert case.verdict == "rescued", (case.text, case.error, case.counts)
    assert played_.row(case)["outcome"] == "complete"


@pytest.mark.parametrize("name", ["an empty rest", "other JSON", "calls, cut in the second", "both down later"])
def test_what_cannot_be_whole_is_an_error_and_its_row_says_so(played_: Played, name: str) -> None:
    case = played_[name]
    assert isinstance(case.error, openai.APIError)
    assert not [c for c in case.chunks if c.choices and c.choices[0].finish_reason]
    row = played_.row(case)
    assert row["outcome"] in ("truncated", "failed")
    assert row["error"]


def test_both_choices_come_or_neither_is_whole(played_: Played) -> None:
    for name in ("two choices", "a choice that never came"):
        texts, finishes = {0: "", 1: ""}, list[int]()
        assert played_[name].error is None
        for said in (one for c in played_[name].chunks for one in c.choices):
            texts[said.index] += said.delta.content or ""
            finishes += [said.index] if said.finish_reason else []
        assert texts == {0: "aa cc ", 1: "bb dd "}
        assert sorted(finishes) == [0, 1]


def test_a_call_that_is_whole_is_not_lost_and_another_follows(played_: Played) -> None:
    calls, case = {0: "", 1: ""}, played_["calls, cut between"]
    assert case.error is None
    for call in (call for c in case.chunks for one in c.choices for call in one.delta.tool_calls or ()):
        calls[call.index] += call.function.arguments or ""
    assert {n: json.loads(arguments) for n, arguments in calls.items()} == {0: {"c": "B"}, 1: {"c": "Z"}}


def test_a_filter_has_the_last_word_and_is_no_error_to_ask_again_for(played_: Played) -> None:
    early, later = played_["filtered at once"], played_["filtered later"]
    for case in (early, later):
        assert isinstance(case.error, openai.APIError)
        assert not isinstance(case.error, openai.InternalServerError)
    assert (early.counts, later.counts) == ((1, 0), (2, 0))
    assert "filtered" in str(later.error)


def test_a_redirection_is_the_clients_to_follow(played_: Played) -> None:
    assert played_["a redirection"].counts == (1, 0)


def test_before_the_first_token_the_error_is_the_one_of_who_was_asked(played_: Played) -> None:
    error = played_["both down"].error
    assert isinstance(error, openai.InternalServerError)
    assert (error.status_code, "overloaded" in str(error)) == (503, True)


def test_a_wait_of_a_day_is_not_waited(played_: Played) -> None:
    assert played_["Retry-After of a day"].counts == (1, 1)


LEFT_GATE = Gate()


async def _limits(request: web.Request) -> web.StreamResponse:
    LEFT_GATE.open()
    return await fails(429, retry_after="3")(request)


LEAVING = Case("leaving", then(_limits), then(fails(500)))


def test_a_client_that_leaves_while_it_waits_is_not_asked_for_again(played_: Played) -> None:
    """Nothing is left running, and the provider is left in peace."""
    proxy = played_.proxy
    with httpx2.Client(proxy=proxy.url, verify=proxy.client_context(), timeout=httpx2.Timeout(30, read=1)) as client:
        body = {"model": LEAVING.model, "stream": True, "messages": [{"role": "user", "content": "Count."}]}
        with pytest.raises(httpx2.ReadTimeout):
            client.post("https://api.openai.com/v1/chat/completions", json=body, headers={"authorization": "Bearer x"})
    assert LEFT_GATE.is_open
    assert played_.row(LEAVING)["outcome"] == "client_gone"
    assert proxy._query("select * from in_flight") == []
    until_ = time.monotonic() + 3
    while time.monotonic() < until_:
        assert LEAVING.counts == (1, 0)
        time.sleep(0.1)


NOT_CLOSED_CLEANLY = 92
"""curl's word for a reset stream."""

OVER_HTTP2 = (
    Case("HTTP2 rescued", then(says(*answer()[:21], cut=True), goes_on), then(fails(500))),
    Case("HTTP2 broken", then(says(*answer()[:21], cut=True), fails(500)), then(fails(500))),
)


@pytest.mark.parametrize(("case", "code"), [(OVER_HTTP2[0], 0), (OVER_HTTP2[1], NOT_CLOSED_CLEANLY)])
def test_over_http2_an_answer_is_whole_or_its_stream_is_reset(played_: Played, case: Case, code: int) -> None:
    proxy = played_.proxy
    body = json.dumps({"model": case.model, "stream": True, "messages": [{"role": "user", "content": "Count."}]})
    command = ["curl", "-sS", "-N", "--http2", "-x", proxy.url, "--cacert", str(proxy.ca), "-d", body]
    command += ["-H", "content-type: application/json", "-w", "%{stderr}HTTP/%{http_version}"]
    done = subprocess.run(
        [*command, "https://api.openai.com/v1/chat/completions"],
        capture_output=True,
        env=clean_environment(),
        check=False,
    )
    assert (done.returncode, b"HTTP/2" in done.stderr) == (code, True)
    events = [line.removeprefix(b"data: ") for line in done.stdout.split(b"\n\n") if line]
    last = events.pop()
    assert (last == b"[DONE]") if code == 0 else ("error" in json.loads(last))
    said = "".join(one["delta"].get("content", "") for event in events for one in json.loads(event)["choices"])
    assert said == WHOLE if code == 0 else WHOLE.startswith(said)
