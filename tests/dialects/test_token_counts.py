"""What no count of tokens can be is none, whichever API says it."""

from __future__ import annotations

from typing import Any

import pytest

from midstream.dialects.registry import DIALECTS
from midstream.dialects.token_counts import TOKEN_LIMIT, plausible
from midstream.dialects.unknown import UNKNOWN
from midstream.events import Usage

BY_NAME = {dialect.name: dialect for dialect in (*DIALECTS, UNKNOWN)}

GEMINI = {"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}]}
ANSWERS: dict[str, Any] = {
    "gemini": lambda n: {**GEMINI, "usageMetadata": {"promptTokenCount": n, "candidatesTokenCount": 3}},
    "gemini_interactions": lambda n: {
        **{"id": "i", "status": "completed"},
        "usage": {"total_input_tokens": n, "total_output_tokens": 3},
    },
    "openai_responses": lambda n: {"status": "completed", "usage": {"input_tokens": n, "output_tokens": 3}},
    "ollama": lambda n: {
        **{"message": {"content": "a"}, "done": True, "done_reason": "stop"},
        **{"prompt_eval_count": n, "eval_count": 3},
    },
    "unknown": lambda n: {"usage": {"input_tokens": n, "output_tokens": 3}},
}


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize(("said", "read"), [(7, 7), (0, 0), (-1, None), (TOKEN_LIMIT, None), (2**70, None)])
def test_a_dialect_reads_counts_alone(name: str, said: int, read: int | None) -> None:
    (usage,) = [one for one in BY_NAME[name].read_answer(ANSWERS[name](said)) if isinstance(one, Usage)]
    assert (usage.input_tokens, usage.output_tokens) == (read, 3)


def test_plausible_usage_is_left_as_it_is() -> None:
    usage = Usage(1, 2, 0, None, TOKEN_LIMIT - 1, {"a": 1})
    assert plausible(usage) is usage
    assert plausible(Usage(1, TOKEN_LIMIT, raw={"a": 1})) == Usage(1, raw={"a": 1})
