"""Every provider's word for why an answer ended → OpenAI's."""

from __future__ import annotations

_WORDS = {
    "stop": "stop stop_sequence end_turn eos eos_token endoftext complete completed finish finished done",
    "length": """
        length max_tokens max_output_tokens model_length incomplete model_context_window_exceeded context_length
        insufficient_system_resource budget_exceeded max_messages too_many_tokens
        cancelled canceled user_cancel error failed network_error timeout
    """,
    "tool_calls": "tool_calls tool_call tool_use function_call requires_action",
    "content_filter": """
        content_filter content_filtered guardrail_intervened refusal sensitive error_toxic safety recitation blocklist
        prohibited_content spii language image_safety image_prohibited_content image_recitation model_armor
        rag_query_when_rag_disabled
    """,
}
"""A word of a broken-off answer (`cancelled`, `network_error`) is `length`: of OpenAI's words the one that says that there
was more to come. Gemini's are in capitals, Cohere's too."""

_GEMINI_NUMBERS = {"1": "stop", "2": "length", "3": "content_filter", "4": "content_filter"}
"""protobuf's numbers, which Vertex AI sends now and then."""

_REASONS = _GEMINI_NUMBERS | {word: reason for reason, words in _WORDS.items() for word in words.split()}


def openai_finish_reason(reason: str, detail: str = "", *, called: bool = False) -> str:
    """Return `stop`, `length`, `tool_calls` or `content_filter`; `stop` for a word nobody here knows.

    detail: what a Finish says beside its reason; it tells what `incomplete` leaves open.
    called: whether the answer has tool calls: an answer that merely stopped (Gemini's `STOP`, Responses' `completed`) then
    stopped for them.
    """
    word = reason.lower()
    if word == "incomplete":
        word = detail.lower() if detail.lower() in _REASONS else word
    known = _REASONS.get(word, "stop")
    return "tool_calls" if called and known == "stop" else known
