"""Which requests are Anthropic's, and what they say."""

from __future__ import annotations

import pytest

from midstream.dialects.anthropic.messages import ANTHROPIC_COMPLETE, ANTHROPIC_MESSAGES, prompt, read_request
from midstream.dialects.base import Dialect, RequestFacts
from midstream.dialects.registry import recognise

VERTEX = "/v1/projects/p/locations/us-east5/publishers/anthropic/models"


@pytest.mark.parametrize(
    ("host", "path", "dialect"),
    [
        ("api.anthropic.com", "/v1/messages", ANTHROPIC_MESSAGES),
        ("api.anthropic.com", "/v1/messages?beta=true", ANTHROPIC_MESSAGES),
        ("x.services.ai.azure.com", "/anthropic/v1/messages", ANTHROPIC_MESSAGES),
        ("127.0.0.1:8080", "/v1/messages", ANTHROPIC_MESSAGES),
        ("us-east5-aiplatform.googleapis.com", f"{VERTEX}/claude@1:streamRawPredict", ANTHROPIC_MESSAGES),
        ("us-east5-aiplatform.googleapis.com", f"{VERTEX}/claude@1%3ArawPredict", ANTHROPIC_MESSAGES),
        ("us-east5-aiplatform.googleapis.com", f"{VERTEX}/count-tokens:rawPredict", None),
        ("api.anthropic.com", "/v1/messages/count_tokens", None),
        ("api.anthropic.com", "/v1/messages/batches", None),
        ("api.anthropic.com", "/v1/complete", ANTHROPIC_COMPLETE),
    ],
)
def test_the_path_tells_a_request_for_a_message(host: str, path: str, dialect: Dialect | None) -> None:
    match = recognise(host, path, b'{"model": "claude", "messages": []}')
    assert (match.dialect if match else None) is dialect


def test_on_vertex_the_model_is_in_the_path_and_the_verb_says_whether_to_stream() -> None:
    assert read_request("/v1/messages", {"model": "m", "stream": True}) == RequestFacts("m", True)
    assert read_request("/v1/messages", {"model": "m", "stream": 1}) == RequestFacts("m", False)
    assert read_request(f"{VERTEX}/claude%401:streamRawPredict", {}) == RequestFacts("claude@1", True)
    assert read_request(f"{VERTEX}/claude@1:rawPredict", {"stream": True}) == RequestFacts("claude@1", False)


def test_the_prompt_is_every_text_of_the_request_in_order() -> None:
    body = {
        "system": [{"type": "text", "text": "be"}],
        "tools": [{"name": "f"}],
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": [{"type": "tool_use", "name": "f", "input": {"x": 1}}]},
            {"role": "user", "content": [{"type": "tool_result", "content": [{"type": "text", "text": "r"}]}, 7]},
        ],
    }
    assert prompt(body) == ["be", '[{"name":"f"}]', "a", "f", '{"x":1}', "r"]
    assert prompt({"prompt": "\n\nHuman: hi"}) == ["\n\nHuman: hi"]
