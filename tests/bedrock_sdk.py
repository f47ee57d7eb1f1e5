"""boto3 over recorded bytes, and event-stream bodies, for the Bedrock tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import botocore.session
from botocore.awsrequest import AWSResponse
from botocore.config import Config

import exchanges
from midstream.wire.eventstream import encode_eventstream

EVENTSTREAM = "application/vnd.amazon.eventstream"


class _Body:
    """What botocore reads a response's body from."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self._body

    def read(self, *_: Any, **__: Any) -> bytes:
        body, self._body = self._body, b""
        return body

    def close(self) -> None:
        pass


def client_of(exchange: exchanges.Exchange) -> Any:
    """A bedrock-runtime client whose every request is answered with these bytes."""
    client = botocore.session.get_session().create_client(
        "bedrock-runtime",
        region_name="us-east-1",
        aws_access_key_id="none",
        aws_secret_access_key="none",
        config=Config(retries={"total_max_attempts": 1}),
    )
    headers = {"content-type": exchange.content_type}

    def answer(request: Any, **_: Any) -> AWSResponse:
        return AWSResponse(request.url, exchange.status, headers, _Body(exchange.body))

    client.meta.events.register("before-send.bedrock-runtime", answer)
    return client


def message(event: str, payload: Any, kind: str = "event") -> bytes:
    """One event-stream message. kind: `event` or `exception`."""
    headers = {f":{kind}-type": event, ":content-type": "application/json", ":message-type": kind}
    return encode_eventstream(headers, json.dumps(payload).encode())


def exchange_of(*messages: bytes) -> exchanges.Exchange:
    headers = {"content-type": EVENTSTREAM}
    body = b"".join(messages)
    return exchanges.Exchange("", "", "", "stream", "eventstream", "", (), {}, 200, headers, body, [], {})


def cut(exchange: exchanges.Exchange, at: int) -> exchanges.Exchange:
    return replace(exchange, body=exchange.body[:at])
