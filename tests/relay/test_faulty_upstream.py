"""The provider's side as the relay has it while requests are broken on purpose."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

import pytest

from midstream.faults.rules import Faults
from midstream.relay.faulty_upstream import FaultyUpstream
from midstream.relay.upstream import BREAKING, Upstream, UpstreamError, UpstreamOptions, UpstreamRequest
from midstream.relay.upstream import UpstreamResponse as Response
from midstream.relay.upstream_headers import Headers

CHAT = "https://api.openai.com/v1/chat/completions"
HELLO = b'data: {"choices":[{"index":0,"delta":{"content":"Hello"}}]}\n\n'
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
SSE: Headers = [(b"content-type", b"text/event-stream")]


class Answer(Response):
    """What a provider answers, without a connection."""

    def __init__(self, *pieces: bytes, status: int = 200, headers: Headers = SSE) -> None:
        self.status, self.reason, self.headers = status, "OK", headers
        self.closed = False
        self._pieces = pieces

    def header(self, name: str) -> str:
        return next((v.decode() for k, v in self.headers if k.decode() == name.lower()), "")

    async def pieces(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece

    def close(self) -> None:
        self.closed = True


def request(model: str = "gpt-4o", *, stream: bool = True, url: str = CHAT, **headers: str) -> UpstreamRequest:
    body = json.dumps({"model": model, "stream": stream, "messages": []}).encode()
    named = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    return UpstreamRequest(
        method="POST", url=url, headers=named, body=gzip.compress(body) if "content_encoding" in headers else body
    )


async def opened(specs: Sequence[str], answer: Answer, asked: UpstreamRequest | None = None) -> Response:
    async def send(_: UpstreamRequest) -> Response:
        return answer

    return await FaultyUpstream(Faults(specs)).open(asked or request(), "st_1", send)


async def waits(response: Response) -> bool:
    """Whether no more comes, for as long as anybody can tell without a clock."""
    waiting = asyncio.ensure_future(anext(response.pieces(), None))
    for _ in range(10):
        await asyncio.sleep(0)
    waited = not waiting.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    response.close()
    return waited


async def body_of(response: Response) -> bytes:
    return b"".join([piece async for piece in response.pieces()])


def broken(*specs: str, asked: UpstreamRequest | None = None, answer: Answer | None = None) -> tuple[Response, bytes]:
    async def run() -> tuple[Response, bytes]:
        response = await opened(specs, answer or Answer(HELLO, HELLO + STOP, DONE), asked)
        return response, await body_of(response)

    return asyncio.run(run())


def test_what_no_rule_strikes_is_the_providers_own_response() -> None:
    answer = Answer(HELLO, DONE)
    assert broken("cut model=other", answer=answer) == (answer, HELLO + DONE)
    assert broken("cut", answer=answer, asked=request(url="https://example.org/images"))[0] is answer


def test_a_status_is_answered_without_asking_the_provider() -> None:
    async def never(_: UpstreamRequest) -> Response:
        pytest.fail("the provider was asked")

    async def run() -> None:
        upstream = FaultyUpstream(Faults(["status=429 retry-after=2"]))
        response = await upstream.open(request(), "", never)
        assert (response.status, response.reason) == (429, "Too Many Requests")
        assert response.header("Retry-After") == "2"
        assert response.header("content-type") == "application/json"
        assert response.header("content-encoding") == ""
        assert json.loads(await body_of(response))["error"]["type"] == "rate_limit_error"
        response.close()

    asyncio.run(run())


def test_a_reset_raises_what_a_real_one_raises() -> None:
    with pytest.raises(UpstreamError) as error:
        broken("reset")
    assert error.value.kind == "connection_error"


def test_silence_lasts_until_whoever_asked_gives_up() -> None:
    async def run() -> None:
        task = asyncio.create_task(opened(["silence"], Answer()))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())


def test_a_cut_raises_what_a_real_one_raises_behind_its_tokens() -> None:
    async def run() -> None:
        response = await opened(["cut after=2"], Answer(HELLO, HELLO + STOP, DONE))
        got: list[bytes] = []

        async def read() -> None:
            async for piece in response.pieces():
                got.append(piece)

        with pytest.raises(UpstreamError) as error:
            await read()
        assert b"".join(got) == HELLO + HELLO
        assert error.value.kind == "connection_error"

    asyncio.run(run())


def test_a_stall_says_no_more_and_lets_the_provider_go() -> None:
    async def run() -> None:
        answer = Answer(HELLO, HELLO, DONE)
        response = await opened(["stall"], answer)
        assert await anext(response.pieces()) == HELLO
        assert await waits(response)
        assert answer.closed

    asyncio.run(run())


def test_a_slow_answer_has_its_head_in_time() -> None:
    async def run() -> None:
        response = await opened(["slow=86400"], Answer(b": ping\n\n", HELLO))
        assert await anext(response.pieces()) == b": ping\n\n"
        assert await waits(response)

    asyncio.run(run())


def test_waiting_for_a_piece_can_be_given_up_and_taken_up_again() -> None:
    async def run() -> None:
        response = await opened(["slow=0.001"], Answer(HELLO + STOP + DONE))
        for _ in range(3):
            waiting = asyncio.ensure_future(anext(response.pieces(), None))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        assert await body_of(response) == HELLO + STOP + DONE

    asyncio.run(run())


def test_a_slow_answer_is_whole() -> None:
    assert broken("slow=0.001")[1] == HELLO + HELLO + STOP + DONE
    assert broken("slow=0.001", asked=request(stream=False))[1] == HELLO + HELLO + STOP + DONE


def test_an_unterminated_body_ends_cleanly_and_at_once() -> None:
    assert broken("unterminated")[1] == HELLO + HELLO + STOP


def test_the_head_no_longer_says_what_the_body_was() -> None:
    headers = [*SSE, (b"content-encoding", b"gzip"), (b"content-length", b"9"), (b"x-request-id", b"1")]
    response, body = broken("error", answer=Answer(gzip.compress(HELLO + DONE), headers=headers))
    assert response.headers == [*SSE, (b"x-request-id", b"1")]
    assert (response.header("Content-Encoding"), response.header("content-length")) == ("", "")
    assert response.header("x-request-id") == "1"
    assert body.startswith(HELLO + b'data: {"error":')


def test_an_error_of_the_providers_own_stays() -> None:
    answer = Answer(b"{}", status=500)
    assert broken("cut", answer=answer)[0] is answer


def test_a_request_is_recognised_whatever_its_encoding() -> None:
    with pytest.raises(UpstreamError):
        broken("reset model=gpt-4o", asked=request(content_encoding="gzip"))


def test_a_response_that_is_asked_for_again_is_broken_too() -> None:
    again = UpstreamRequest(
        method="GET", url="https://api.openai.com/v1/responses/resp_1?stream=true", headers=[], body=b""
    )
    with pytest.raises(UpstreamError):
        broken("reset", asked=again)


def test_the_log_names_stream_and_fault_and_holds_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        broken("status=500", asked=request(model="gpt\nBearer sk-abcdefgh12345678"))
    (line,) = caplog.messages
    assert line.startswith("midstream broke stream st_1 on purpose: status 500 (openai gpt ")
    assert "sk-abcdefgh" not in line
    assert "\n" not in line


def test_an_answer_that_ends_before_its_fault_is_not_said_to_be_broken(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        broken("cut after=3")
    assert caplog.messages == []


@pytest.fixture
def installed() -> Iterator[Callable[[str], None]]:
    made: list[FaultyUpstream] = []

    def install(spec: str) -> None:
        made.append(FaultyUpstream(Faults([spec])))
        made[-1].install()

    yield install
    for upstream in made:
        upstream.remove()


def test_upstream_asks_it_while_it_is_installed_and_not_after(installed: Callable[[str], None]) -> None:
    async def run() -> tuple[int, int]:
        upstream = Upstream(UpstreamOptions())
        try:
            return (await upstream.open(request())).status, len(BREAKING)
        finally:
            await upstream.close()

    installed("status=418")
    assert asyncio.run(run()) == (418, 1)
    before = FaultyUpstream(Faults(["reset"]))
    before.remove()
    assert len(BREAKING) == 1
