"""How much to think, in Anthropic's words: `thinking`, and `output_config.effort`.

https://platform.claude.com/docs/en/build-with-claude/thinking
https://platform.claude.com/docs/en/build-with-claude/effort
"""

from __future__ import annotations

from midstream.conversation import Conversation, ReasoningPart, ReasoningSettings, ToolResultPart
from midstream.dialects.anthropic.models import Claude, claude
from midstream.dialects.body_table import Lost
from midstream.dialects.strict_fields import Fields
from midstream.wire.json_text import Json

DIALECT = "anthropic_messages"

LEAST_BUDGET = 1024
"""The least `budget_tokens` that Anthropic takes."""

_BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24_576, "xhigh": 24_576, "max": 24_576}
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
_DISPLAYS = {"summarized": True, "omitted": False}
_LOST = "reasoning"


def read_reasoning(fields: Fields, output: Fields | None, lost: Lost) -> ReasoningSettings | None:
    """Read the settings. Thinking that is merely on, without an effort, is reasoning to be shown (`summary`)."""
    effort = output.text("effort") if output else ""
    thinking = fields.inner("thinking")
    if thinking is None:
        return ReasoningSettings(effort) if effort else None
    kind = thinking.needed("type")
    summary, budget = _DISPLAYS.get(thinking.text("display")), None
    if kind == "enabled":
        budget = thinking.whole("budget_tokens")
        if budget is None:
            raise ValueError(f"{thinking.at('budget_tokens')} is missing: it must be a whole number")
    elif kind == "disabled":
        budget = 0
    elif kind != "adaptive":  # between_tools
        lost["thinking"] = thinking.json
        return ReasoningSettings(effort) if effort else None
    lost.note("thinking", thinking)
    if budget is None and summary is None and not effort:
        summary = True
    return ReasoningSettings(effort, budget, summary)


def thinking_of(conversation: Conversation, dropped: set[str]) -> tuple[Json, str]:
    """Return the `thinking` to write, {} for none, and the effort, "" for none."""
    settings, model = conversation.reasoning, claude(conversation.model)
    if settings is None:
        return {}, ""
    if conversation.dialect == DIALECT:
        return _own(settings), settings.effort
    if settings.effort == "none" or (not settings.effort and settings.budget is not None and settings.budget <= 0):
        return _off(model, dropped)
    if model.thinking == "adaptive":
        return _adaptive(conversation, settings, model, dropped)
    budget = _budget(conversation, settings, model)
    if budget < LEAST_BUDGET:
        dropped.add(_LOST)
        return {}, ""
    if settings.summary is False:
        dropped.add("reasoning.summary")
    return {"type": "enabled", "budget_tokens": budget}, ""


def _own(settings: ReasoningSettings) -> Json:
    if settings.budget == 0:
        return {"type": "disabled"}
    display = {} if settings.summary is None else {"display": "summarized" if settings.summary else "omitted"}
    if settings.budget is not None:
        return {"type": "enabled", "budget_tokens": settings.budget, **display}
    return {"type": "adaptive", **display}


def _off(model: Claude, dropped: set[str]) -> tuple[Json, str]:
    """The least that a model can be told to think."""
    if model.unthinking is None:
        dropped.add(_LOST)
        return {}, "low"
    return ({"type": model.unthinking} if model.unthinking else {}), ""


def _adaptive(
    conversation: Conversation, settings: ReasoningSettings, model: Claude, dropped: set[str]
) -> tuple[Json, str]:
    effort = _EFFORTS.get(settings.effort or _level(settings.budget), "")
    if settings.effort and not effort:
        dropped.add(_LOST)
    if effort not in ("", *model.efforts):
        effort = "high"
    if must_call(conversation):
        dropped.add(_LOST)  # a forced call leaves no room to think
        return {}, effort
    display = {} if settings.summary is None else {"display": "summarized" if settings.summary else "omitted"}
    return {"type": "adaptive", **display}, effort


def _level(budget: int | None) -> str:
    if budget is None:
        return ""
    return "low" if budget <= 2048 else "medium" if budget <= 12_000 else "high"


def _budget(conversation: Conversation, settings: ReasoningSettings, model: Claude) -> int:
    """The budget in tokens; 0: none. It is part of max_tokens, of which an effort takes half at most."""
    if model.thinking == "none" or must_call(conversation) or not _may_begin(conversation):
        return 0
    room = tokens_of(conversation)
    if settings.budget is not None and not settings.effort:
        return min(max(settings.budget, LEAST_BUDGET), room - 1)
    return min(_BUDGETS.get(settings.effort, _BUDGETS["medium"]), room // 2)


def _may_begin(conversation: Conversation) -> bool:
    """Whether thinking with a budget may be on: not where the answer has begun already without it, which is so for a prefill, and
    for calls whose results come now."""
    messages = conversation.messages
    if not messages or messages[-1].role == "assistant":
        return not messages
    if not any(isinstance(part, ToolResultPart) for part in messages[-1].parts):
        return True
    called = next((message for message in reversed(messages) if message.role == "assistant"), None)
    first = called.parts[0] if called and called.parts else None
    return isinstance(first, ReasoningPart) and first.dialect == DIALECT == conversation.dialect


def must_call(conversation: Conversation) -> bool:
    """Whether the model is made to call a tool."""
    return conversation.tool_choice is not None and conversation.tool_choice.mode in ("required", "named")


def tokens_of(conversation: Conversation) -> int:
    """The `max_tokens` to write, which Anthropic wants always."""
    model = claude(conversation.model)
    if conversation.max_tokens is None:
        return model.default_tokens
    own = conversation.dialect == DIALECT
    return conversation.max_tokens if own else min(max(conversation.max_tokens, 1), model.most_tokens)
