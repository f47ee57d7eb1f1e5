"""The request that asks for the rest of an answer, as the dialects write it."""

from __future__ import annotations

from typing import Any

import pytest

from midstream.conversation import (
    Conversation,
    Message,
    ReasoningPart,
    ReasoningSettings,
    TextPart,
    ToolResultPart,
    ToolUsePart,
)
from midstream.dialects.anthropic.messages import ANTHROPIC_MESSAGES
from midstream.dialects.base import Dialect
from midstream.dialects.gemini.generate import GEMINI
from midstream.dialects.ollama.chat import OLLAMA
from midstream.dialects.openai.chat import OPENAI_CHAT
from midstream.dialects.openai.responses import OPENAI_RESPONSES
from midstream.events import Reasoning, Text
from midstream.healing.continuation import GO_ON, continuation
from midstream.healing.delivered import Delivered

HI = Message("user", (TextPart("Hi"),))
ASKED = Conversation(model="m", messages=(HI,), max_tokens=100)
BODIES: dict[str, tuple[Dialect, str, dict[str, Any]]] = {
    "openai_chat": (
        OPENAI_CHAT,
        "/v1/chat/completions",
        {"model": "m", "messages": [{"role": "user", "content": "Hi"}]},
    ),
    "openai_responses": (OPENAI_RESPONSES, "/v1/responses", {"model": "m", "input": "Hi"}),
    "anthropic_messages": (
        ANTHROPIC_MESSAGES,
        "/v1/messages",
        {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]},
    ),
    "gemini": (
        GEMINI,
        "/v1beta/models/g:streamGenerateContent",
        {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]},
    ),
    "ollama": (OLLAMA, "/api/chat", {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}),
}


def told(*texts: str) -> Delivered:
    delivered = Delivered()
    delivered.note([Reasoning("hm", signature="s"), *map(Text, texts)])
    return delivered


def rest_of(conversation: Conversation, text: str, *, prefill: bool, dialect: str = "openai_chat") -> Conversation:
    return continuation(conversation, told(text), prefill=prefill, dialect=dialect)


def turns(body: dict[str, Any]) -> list[tuple[str, str]]:
    """The role and the text of each turn, in any dialect's words."""
    said = body.get("messages") or body.get("contents") or body.get("input")
    assert isinstance(said, list)
    return [(turn["role"], words(turn.get("content") or turn.get("parts"))) for turn in said]


def words(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def test_a_prefill_is_the_last_message_without_the_space_at_its_end() -> None:
    assert rest_of(ASKED, "Hello, \n", prefill=True).messages == (HI, Message("assistant", (TextPart("Hello,"),)))


def test_without_prefill_a_turn_asks_for_the_rest() -> None:
    said = (HI, Message("assistant", (TextPart("Hello, \n"),)), Message("user", (TextPart(GO_ON),)))
    assert rest_of(ASKED, "Hello, \n", prefill=False).messages == said


def test_all_else_is_asked_as_it_was() -> None:
    for prefill in (True, False):
        asked = rest_of(ASKED, "Hello", prefill=prefill)
        assert (asked.model, asked.max_tokens, asked.reasoning) == ("m", 100, None)


@pytest.mark.parametrize("prefill", [True, False])
def test_a_prefill_of_the_clients_own_is_one_message_with_it(prefill: bool) -> None:
    own = Message("assistant", (ReasoningPart("hm"), TextPart("Sure: ")))
    asked = Conversation(model="m", messages=(HI, own))
    assert rest_of(asked, "one", prefill=prefill).messages[1] == Message(
        "assistant", (ReasoningPart("hm"), TextPart("Sure: one"))
    )


def test_text_after_the_clients_own_calls_is_a_part_of_its_own() -> None:
    own = Message("assistant", (ToolUsePart("c", "f", "{}"),))
    asked = Conversation(model="m", messages=(HI, own))
    assert rest_of(asked, "one", prefill=True).messages[1].parts == (*own.parts, TextPart("one"))


def test_a_conversation_without_messages() -> None:
    assert rest_of(Conversation(model="m", messages=()), "a", prefill=True).messages == (
        Message("assistant", (TextPart("a"),)),
    )


@pytest.mark.parametrize(("dialect", "path", "body"), BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("prefill", [True, False])
def test_in_the_words_of_its_own_dialect(dialect: Dialect, path: str, body: dict[str, Any], prefill: bool) -> None:
    assert dialect.read_conversation
    assert dialect.write_request
    asked = rest_of(dialect.read_conversation(path, body), "Hello, ", prefill=prefill, dialect=dialect.name)
    written = dialect.write_request(asked)
    role = "model" if dialect is GEMINI else "assistant"
    rest = [(role, "Hello,")] if prefill else [(role, "Hello, "), ("user", GO_ON)]
    assert turns(dict(written.body)) == [("user", "Hi"), *rest]
    assert written.dropped == ()


@pytest.mark.parametrize("target", [dialect for dialect, *_ in BODIES.values()], ids=BODIES)
@pytest.mark.parametrize(("dialect", "path", "body"), BODIES.values(), ids=BODIES)
def test_in_the_words_of_every_other_dialect(
    dialect: Dialect, path: str, body: dict[str, Any], target: Dialect
) -> None:
    assert dialect.read_conversation
    assert target.write_request
    asked = rest_of(dialect.read_conversation(path, body), "Hello", prefill=False, dialect=target.name)
    said = [("model" if target is GEMINI else "assistant", "Hello"), ("user", GO_ON)]
    assert turns(dict(target.write_request(asked).body))[1:] == said


@pytest.mark.parametrize("target", [dialect for dialect, *_ in BODIES.values()], ids=BODIES)
def test_reasoning_that_another_dialect_signed_is_not_resent(target: Dialect) -> None:
    """The writers see to it; if one did not, a target would refuse what it cannot verify."""
    assert target.write_request
    signed = ReasoningPart("secret thought", "secret signature", "another_dialect")
    turn = Message("assistant", (signed, ToolUsePart("c1", "find", "{}")))
    answered = Message("user", (ToolResultPart("c1", (TextPart("found"),)),))
    conversation = Conversation(model="m", messages=(HI, turn, answered), dialect="another_dialect")
    written = target.write_request(rest_of(conversation, "Hello", prefill=False, dialect=target.name))
    assert "secret" not in str(written.body)
    assert "reasoning of earlier turns" in written.dropped


def test_claude_does_not_think_over_a_prefill() -> None:
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 4000}
    _, path, body = BODIES["anthropic_messages"]
    assert ANTHROPIC_MESSAGES.read_conversation
    assert ANTHROPIC_MESSAGES.write_request
    asked = ANTHROPIC_MESSAGES.read_conversation(path, {**body, **thinking})
    for prefill in (True, False):
        rest = rest_of(asked, "Hello", prefill=prefill, dialect="anthropic_messages")
        assert ("thinking" in ANTHROPIC_MESSAGES.write_request(rest).body) is not prefill


def test_others_may_think_over_a_prefill() -> None:
    asked = Conversation(model="m", messages=(HI,), reasoning=ReasoningSettings(effort="low"))
    assert rest_of(asked, "Hello", prefill=True, dialect="ollama").reasoning == ReasoningSettings(effort="low")


SEARCHED = [
    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}},
    {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
]


@pytest.mark.parametrize("before", [[], [{"type": "text", "text": "I look."}]], ids=["tools alone", "text before"])
@pytest.mark.parametrize("prefill", [True, False])
def test_a_paused_turn_goes_back_with_what_was_found(before: list[dict[str, Any]], prefill: bool) -> None:
    """`pause_turn`: provide the paused response back as it is. Consecutive turns of one role are one to Anthropic."""
    assert ANTHROPIC_MESSAGES.read_conversation
    assert ANTHROPIC_MESSAGES.write_request
    said = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": [*before, *SEARCHED]}]
    body = {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": said}
    asked = ANTHROPIC_MESSAGES.read_conversation("/v1/messages", body)
    going_on = rest_of(asked, "It is 4", prefill=prefill, dialect="anthropic_messages")
    written = ANTHROPIC_MESSAGES.write_request(going_on)
    assert written.body["messages"][:2] == said
    rest = [("assistant", "It is 4")] if prefill else [("assistant", "It is 4"), ("user", GO_ON)]
    assert [(turn["role"], words(turn["content"])) for turn in written.body["messages"][2:]] == rest


def test_a_turn_that_is_over_is_not_gone_on_with() -> None:
    """OpenAI's: the answer to it is another turn."""
    assert OPENAI_CHAT.read_conversation
    assert OPENAI_CHAT.write_request
    said = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "done."}]
    asked = OPENAI_CHAT.read_conversation("/v1/chat/completions", {"model": "m", "messages": said})
    body = dict(OPENAI_CHAT.write_request(rest_of(asked, "One", prefill=False)).body)
    assert turns(body) == [("user", "Hi"), ("assistant", "done."), ("assistant", "One"), ("user", GO_ON)]


OF_CODEX: dict[str, list[dict[str, Any]]] = {
    "custom_tool_call_output": [
        {"type": "custom_tool_call", "call_id": "c", "name": "apply_patch", "input": "*** Begin"},
        {"type": "custom_tool_call_output", "call_id": "c", "output": "Done"},
    ],
    "local_shell_call_output": [{"type": "local_shell_call_output", "id": "l", "output": "x"}],
    "mcp_approval_response": [{"type": "mcp_approval_response", "approval_request_id": "a", "approve": True}],
    "a call that nobody answered": [{"type": "computer_call", "call_id": "c", "id": "l", "status": "completed"}],
}


@pytest.mark.parametrize("items", OF_CODEX.values(), ids=OF_CODEX)
def test_items_that_only_openai_knows_go_back_as_they_came(items: list[dict[str, Any]]) -> None:
    assert OPENAI_RESPONSES.read_conversation
    assert OPENAI_RESPONSES.write_request
    said = [{"role": "user", "content": "Hi"}, *items]
    asked = OPENAI_RESPONSES.read_conversation("/v1/responses", {"model": "m", "input": said})
    written = OPENAI_RESPONSES.write_request(rest_of(asked, "Next I ", prefill=False, dialect="openai_responses"))
    rest = [{"role": "assistant", "content": "Next I "}, {"role": "user", "content": GO_ON}]
    assert (written.body["input"], written.dropped) == ([*said, *rest], ())
