"""Google's own SDK over recorded bytes, and shapes of JSON for the Gemini tests."""

from __future__ import annotations

import json
from typing import Any

import httpx
from google import genai
from google.genai import types
from hypothesis import strategies as st

import exchanges
from midstream.wire import Frame

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)


def client(status: int, content_type: str, body: bytes) -> genai.Client:
    """A client whose every request is answered with these bytes."""
    transport = httpx.MockTransport(
        lambda request: httpx.Response(status, headers={"content-type": content_type}, content=body)
    )
    options = types.HttpOptions(
        httpx_client=httpx.Client(transport=transport), retry_options=types.HttpRetryOptions(attempts=1)
    )
    return genai.Client(api_key="none", http_options=options)


def client_of(exchange: exchanges.Exchange) -> genai.Client:
    return client(exchange.status, exchange.content_type, exchange.body)


def frame(value: Any, event: str = "") -> Frame:
    return Frame(json.dumps(value).encode(), event=event)


def confused(*keys: str) -> st.SearchStrategy[Any]:
    """JSON whose keys are an API's and whose values have any type, so that every branch meets every shape."""
    names = st.sampled_from(keys)
    return st.recursive(
        SCALARS | st.sampled_from(keys),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=6),
    )
