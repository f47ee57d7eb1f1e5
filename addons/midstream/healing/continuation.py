"""The request that asks a model to go on from where an answer broke off."""

from __future__ import annotations

from dataclasses import replace

from midstream.conversation import Conversation, MediaPart, Message, TextPart
from midstream.healing.delivered import Delivered

GO_ON = (
    "Your last message was cut off in transmission. Continue it from the very next character after its end, in the same "
    "language and format, as if there had been no interruption. It may end inside a word, a sentence, a list or a block of "
    "code: then go on right there. If it ends after a whole word, begin with the space, punctuation or line break that comes "
    "next. Repeat nothing of what you wrote, add no introduction, apology or comment, and do not open again what is already "
    "open. Write the rest, and nothing but the rest."
)
"""The turn that asks for the rest, where the target takes no prefill."""


def continuation(conversation: Conversation, delivered: Delivered, *, prefill: bool, dialect: str) -> Conversation:
    """Return the conversation that asks for the rest of the answer. dialect: the target's.

    prefill: the text goes as the last message, less white space at its end, which Anthropic refuses. Else it goes as a turn
    of the assistant's, and a user's turn asks for the rest.
    A prefill that the client itself had sent is one message with it. A turn at the end that is over (OpenAI's) is not, nor one
    that was paused, which Anthropic itself joins to what follows.

    Reasoning that was delivered is not sent: it is partial, or only its provider can verify it. Reasoning of earlier turns
    is left out by the dialects' writers where it is another dialect's. Claude refuses a prefill while it thinks, so there
    thinking is off; the client is past it. max_tokens stays as it was, though what was delivered used some of it: tokens of
    one model are not another's, and too long an answer is better than none.
    """
    text = delivered.text.rstrip() if prefill else delivered.text
    finished = not prefill and conversation.dialect.startswith("openai_")
    messages = _with_answer(conversation.messages, text, apart=finished or conversation.paused)
    if not prefill:
        messages = (*messages, Message("user", (TextPart(GO_ON),)))
    asked = replace(conversation, messages=messages)
    if prefill and dialect == "anthropic_messages" and conversation.reasoning is not None:
        return replace(asked, reasoning=None)
    return asked


def _with_answer(messages: tuple[Message, ...], text: str, *, apart: bool) -> tuple[Message, ...]:
    """The text joins a turn of the assistant's that it can be one message with: not one with a part that nobody here can read,
    which only goes back to its own provider as the client had it. apart: nor any other."""
    apart = apart or any(isinstance(part, MediaPart) for message in messages[-1:] for part in message.parts)
    if not messages or messages[-1].role != "assistant" or apart:
        return (*messages, Message("assistant", (TextPart(text),)))
    parts = messages[-1].parts
    if parts and isinstance(last := parts[-1], TextPart):
        parts, text = parts[:-1], last.text + text
    return (*messages[:-1], Message("assistant", (*parts, TextPart(text))))
