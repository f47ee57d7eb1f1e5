"""OpenAI's legacy completions, and what was made after them: vLLM's, DeepSeek's, Mistral's fill-in-the-middle, Writer's.

https://platform.openai.com/docs/api-reference/completions
"""

from __future__ import annotations

import re

from midstream.dialects.base import Dialect
from midstream.dialects.openai.chat import FINISH_REASONS, read_request
from midstream.dialects.openai.chunks import Choice, ChunkDecoder
from midstream.dialects.openai.errors import write_failure
from midstream.events import Event, Text
from midstream.wire.json_text import Json, as_dict, as_list, as_str


class _CompletionsDecoder(ChunkDecoder):
    def __init__(self) -> None:
        super().__init__()
        self._values = False

    def _read_choice(self, events: list[Event], choice: Json, state: Choice) -> None:
        text = choice.get("text")
        if not isinstance(text, str):  # Mistral's /v1/fim/completions answers in chat's shape
            text = as_str(as_dict(choice.get("delta") or choice.get("message")).get("content"))
        if text:
            events.append(Text(text, state.number))

    def _read_bare(self, events: list[Event], chunk: Json) -> None:
        """Writer streams {"value": …} and nothing else."""
        value = chunk.get("value")
        if isinstance(value, str):
            self._values = True
            if value:
                events.append(Text(value))

    def _is_whole(self) -> bool:
        """Writer's stream has neither finish reason nor terminal event: the end of its body is all there is."""
        return super()._is_whole() or (self._values and not self._choices)


def _prompt(body: Json) -> list[str]:
    """The prompt may be a string, a list of them, or token ids, which are no text."""
    prompt = body.get("prompt")
    texts = [prompt] if isinstance(prompt, str) else [as_str(text) for text in as_list(prompt)]
    return [text for text in (*texts, as_str(body.get("suffix"))) if text]


OPENAI_COMPLETIONS = Dialect(
    name="openai_completions",
    paths=(re.compile(r"(?<!/chat)/completions/?$"),),
    body_keys=frozenset(("prompt",)),
    read_request=read_request,
    decoder=_CompletionsDecoder,
    read_answer=lambda answer: _CompletionsDecoder().answer(answer),
    prompt=_prompt,
    finish_reasons=FINISH_REASONS,
    write_failure=write_failure,
)
