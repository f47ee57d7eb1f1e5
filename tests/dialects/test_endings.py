"""An interrupted answer raises in its dialect's official SDK."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx
import httpx2
import ollama
import openai
import pytest
from botocore.exceptions import EventStreamError
from google.genai import errors

import exchanges
import google_sdk
import resuming
from bedrock_sdk import EVENTSTREAM, client_of
from encoded import OPTIONS, client
from midstream.dialects.anthropic.messages import ANTHROPIC_COMPLETE
from midstream.dialects.base import Encoder
from midstream.dialects.bedrock.converse import BEDROCK_CONVERSE
from midstream.dialects.bedrock.invoke import BEDROCK_INVOKE
from midstream.dialects.cohere.v2 import COHERE
from midstream.dialects.endings import failure_bytes
from midstream.dialects.gemini.generate import GEMINI
from midstream.dialects.gemini.interactions import GEMINI_INTERACTIONS
from midstream.dialects.ollama.chat import OLLAMA
from midstream.dialects.openai.chat import OPENAI_CHAT
from midstream.events import CONTENT, Failure
from midstream.wire import Frame
from midstream.wire.eventstream import EventStreamDecoder
from resuming import Native

GONE = Failure("the provider broke off", type="truncated")
LIMITED = Failure("slow down", type="rate_limit_error", status=429)


def broken(stream: Native, failure: Failure = GONE, *, resumed: bool = True) -> bytes:
    """A recording up to its middle, behind some content where it has some, and the failure."""
    content = (n for n, said in enumerate(stream.said, 1) if any(isinstance(event, CONTENT) for event in said))
    after = next(content, 1)
    at = max(after, len(stream.ends) // 2)
    decoder = stream.decoder(at)
    encoder: Encoder | None = None
    if resumed and stream.dialect.resume is not None:
        encoder = stream.dialect.resume(OPTIONS, stream.before(at), decoder.decoder)
    assert decoder.framing is not None
    end = failure_bytes(stream.dialect, decoder.framing, failure, encoder)
    assert end
    return stream.body[: stream.end(at)] + end


def shipped(name: str) -> list[Native]:
    return [stream for stream in resuming.streams(name) if "/" not in stream.id]


@pytest.mark.parametrize("resumed", [True, False])
@pytest.mark.parametrize("stream", shipped("openai_chat"), ids=lambda s: s.id)
def test_openai_chat(stream: Native, resumed: bool) -> None:
    body = broken(stream, resumed=resumed)
    with pytest.raises(openai.APIError, match="broke off"):
        list(client(body).chat.completions.create(model="m", messages=[], stream=True))


@pytest.mark.parametrize("stream", shipped("openai_completions"), ids=lambda s: s.id)
def test_openai_completions(stream: Native) -> None:
    with pytest.raises(openai.APIError, match="broke off"):
        list(client(broken(stream)).completions.create(model="m", prompt="x", stream=True))


@pytest.mark.parametrize("stream", shipped("openai_responses"), ids=lambda s: s.id)
def test_openai_responses(stream: Native) -> None:
    body = broken(stream)
    events = list(client(body).responses.create(model="m", input="x", stream=True))
    failed: Any = events[-1]
    assert (failed.type, failed.response.error.message) == ("response.failed", "the provider broke off")
    assert failed.response.status == "failed"
    with client(body).responses.stream(model="m", input="x") as helper, pytest.raises(RuntimeError):
        helper.get_final_response()


def anthropic_of(body: bytes) -> anthropic.Anthropic:
    answer = httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body)
    http = httpx2.Client(transport=httpx2.MockTransport(lambda request: answer))
    return anthropic.Anthropic(api_key="none", http_client=http, max_retries=0)


@pytest.mark.parametrize("resumed", [True, False])
@pytest.mark.parametrize("stream", shipped("anthropic_messages"), ids=lambda s: s.id)
def test_anthropic_messages(stream: Native, resumed: bool) -> None:
    sdk = anthropic_of(broken(stream, LIMITED, resumed=resumed))
    messages: Any = [{"role": "user", "content": "x"}]
    with (
        pytest.raises(anthropic.APIStatusError, match="slow down"),
        sdk.beta.messages.stream(model="m", max_tokens=1, messages=messages) as events,
    ):
        list(events)


def test_anthropic_complete() -> None:
    """No SDK has this API any more; the last to have it raised for an `error` event, as for those of messages."""
    start = b'event: completion\ndata: {"type":"completion","completion":"a","stop_reason":null}\n\n'
    body = start + failure_bytes(ANTHROPIC_COMPLETE, "sse", GONE)
    failure = exchanges.fold(resuming.native("", ANTHROPIC_COMPLETE, "", "text/event-stream", body).events).failure
    assert failure is not None
    assert failure.message == "the provider broke off"


@pytest.mark.parametrize("resumed", [True, False])
@pytest.mark.parametrize("stream", shipped("gemini"), ids=lambda s: s.id)
def test_gemini(stream: Native, resumed: bool) -> None:
    body = broken(stream, resumed=resumed)
    if stream.decoder(1).framing == "json_array":
        chunks = json.loads(body)
        assert chunks[-1]["error"]["message"] == "the provider broke off"
        body = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)
    sdk = google_sdk.client(200, "text/event-stream", body)
    with pytest.raises(errors.ServerError, match="broke off"):
        list(sdk.models.generate_content_stream(model="m", contents="x"))


@pytest.mark.parametrize("resumed", [True, False])
@pytest.mark.parametrize("stream", shipped("ollama"), ids=lambda s: s.id)
def test_ollama(stream: Native, resumed: bool) -> None:
    body = broken(stream, resumed=resumed)
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=body))
    sdk = ollama.Client(host="http://ollama.test", transport=transport)
    answer: Any = sdk.chat(model="m", messages=[], stream=True)
    if stream.path.startswith("/api/generate"):
        answer = sdk.generate(model="m", prompt="", stream=True)
    with pytest.raises(ollama.ResponseError, match="broke off"):
        list(answer)


FAILURES = [
    (GONE, "internalServerException"),
    (LIMITED, "throttlingException"),
    (Failure("x", status=503), "serviceUnavailableException"),
    (Failure("x", status=400), "validationException"),
    (Failure("x", status=408), "internalServerException"),
    (Failure("x", status=504), "internalServerException"),
    (Failure("x", type="modelStreamErrorException"), "modelStreamErrorException"),
    (Failure("x", type="no such name\r\n"), "internalServerException"),
]


@pytest.mark.parametrize(("failure", "name"), FAILURES)
@pytest.mark.parametrize("stream", shipped("bedrock_converse"), ids=lambda s: s.id)
def test_bedrock_converse(stream: Native, failure: Failure, name: str) -> None:
    asked = boto(broken(stream, failure)).converse_stream(modelId="m", messages=[])
    with pytest.raises(EventStreamError, match=name):
        list(asked["stream"])


@pytest.mark.parametrize(("failure", "name"), FAILURES)
@pytest.mark.parametrize("stream", shipped("bedrock_invoke"), ids=lambda s: s.id)
def test_bedrock_invoke(stream: Native, failure: Failure, name: str) -> None:
    asked = boto(broken(stream, failure)).invoke_model_with_response_stream(modelId="m", body=b"{}")
    with pytest.raises(EventStreamError, match=name):
        list(asked["body"])


def boto(body: bytes) -> Any:
    headers = {"content-type": EVENTSTREAM}
    return client_of(exchanges.Exchange("", "", "", "stream", "eventstream", "", (), {}, 200, headers, body, [], {}))


def test_an_exception_has_right_checksums() -> None:
    (frame,) = EventStreamDecoder().feed(failure_bytes(BEDROCK_CONVERSE, "eventstream", GONE))
    assert isinstance(frame, Frame)
    assert (frame.event, frame.data) == ("internalServerException", b'{"message":"the provider broke off"}')
    assert failure_bytes(BEDROCK_INVOKE, "eventstream", GONE) == failure_bytes(BEDROCK_CONVERSE, "eventstream", GONE)


@pytest.mark.parametrize("stream", shipped("gemini_interactions"), ids=lambda s: s.id)
def test_gemini_interactions(stream: Native) -> None:
    """Its SDK hands the `error` event on, as it does Google's own; our decoder fails."""
    body = broken(stream)
    events: list[Any] = list(
        google_sdk.client(200, "text/event-stream", body).interactions.create(model="m", input="x", stream=True)
    )
    assert (events[-1].event_type, events[-1].error.message) == ("error", "the provider broke off")
    failure = exchanges.fold(resuming.native("", stream.dialect, "", stream.content_type, body).events).failure
    assert failure is not None
    assert failure.message == "the provider broke off"


def test_where_no_sdk_knows_a_form_there_is_none() -> None:
    assert failure_bytes(COHERE, "sse", GONE) == b""


@pytest.mark.parametrize("dialect", [OPENAI_CHAT, GEMINI, GEMINI_INTERACTIONS, OLLAMA])
def test_nothing_goes_on_behind_half_a_whole_answer(dialect: Any) -> None:
    assert failure_bytes(dialect, "whole", GONE) == b""


def test_an_encoder_whose_answer_is_over_has_no_more_to_say() -> None:
    assert OPENAI_CHAT.encoder is not None
    encoder = OPENAI_CHAT.encoder(OPTIONS)
    assert failure_bytes(OPENAI_CHAT, "sse", GONE, encoder)
    assert failure_bytes(OPENAI_CHAT, "sse", GONE, encoder) == b""


def test_an_array_that_holds_nothing_yet_begins() -> None:
    (error,) = json.loads(failure_bytes(GEMINI, "json_array", GONE, begun=False))
    assert error["error"]["message"] == "the provider broke off"
