"""A request to one of Anthropic's models, for another of them: what that is known to refuse is said anew, all else stays."""

from __future__ import annotations

from dataclasses import replace

from midstream.conversation import Conversation, Inexpressible, ReasoningSettings, ToolResultPart
from midstream.dialects.anthropic.body import write_reasoning
from midstream.dialects.anthropic.models import Claude, claude
from midstream.dialects.anthropic.thinking import must_call, tokens_of
from midstream.dialects.anthropic.writing import without_thoughts
from midstream.wire.json_text import Json, as_dict, as_str

_SAMPLING = ("temperature", "top_p", "top_k")


def check_model(conversation: Conversation) -> None:
    """Raises Inexpressible where the model is known to refuse what cannot be left out."""
    model = claude(conversation.model)
    if must_call(conversation) and not model.can_be_made_to_call:
        raise Inexpressible("tool_choice: this model cannot be made to call a tool")
    if conversation.output_format is not None and model.known and not model.follows_schemas:
        raise Inexpressible("structured output: this model has none")


def say_anew(conversation: Conversation, body: Json, asked: str, dropped: set[str]) -> Json:
    """Return the body for conversation.model. conversation: as it was read from the body. asked: the model whose thoughts are in
    it. Raises Inexpressible."""
    check_model(conversation)
    model, said = claude(conversation.model), dict(body)
    if not model.known:
        return said
    others = claude(asked) != model
    if others:
        said["messages"] = without_thoughts(said["messages"], every=True)
    if conversation.max_tokens is not None and conversation.max_tokens > model.most_tokens:
        said["max_tokens"] = model.most_tokens
        dropped.add("max_tokens")
    thinks = False
    if _refuses_thinking(conversation, said, model) or (others and _has_begun(conversation, said)):
        thinks = _write_thinking(conversation, said, claude(asked), dropped)
    _write_sampling(said, model, dropped, thinks=thinks)
    _write_strict(said, model, dropped)
    _write_system(said, model, dropped)
    return said


def _write_thinking(conversation: Conversation, body: Json, asked: Claude, dropped: set[str]) -> bool:
    """Say how much to think in the model's words, an effort as a budget only where the model asked thinks; return whether it is
    told to think."""
    settings = conversation.reasoning
    before = as_dict(body.pop("thinking", None))
    if before.get("type") == "between_tools":
        settings = ReasoningSettings(budget=0)
    write_reasoning(replace(conversation, dialect="", reasoning=settings), body, dropped)
    if not before and (asked.unthinking == "" or claude(conversation.model).thinking == "adaptive"):
        lost = body.pop("thinking", None)
        dropped |= {"reasoning"} if lost and lost["type"] == "enabled" else set()
    return as_dict(body.get("thinking")).get("type") in ("enabled", "adaptive")


def _refuses_thinking(conversation: Conversation, body: Json, model: Claude) -> bool:
    """Whether the model refuses how much it is to think, in the words in which it is said."""
    thinking = as_dict(body.get("thinking"))
    effort = as_str(as_dict(body.get("output_config")).get("effort"))
    if effort and effort not in model.efforts:
        return True
    match thinking.get("type"):
        case "enabled":
            budget = (conversation.reasoning and conversation.reasoning.budget) or 0
            return not model.takes_budgets or budget >= tokens_of(replace(conversation, dialect=""))
        case "adaptive":
            return model.thinking != "adaptive"
        case "disabled":
            return model.unthinking not in ("", "disabled")
        case "between_tools":
            return model.unthinking != "between_tools"
    return False


def _has_begun(conversation: Conversation, body: Json) -> bool:
    """Whether a thought is missing with which a model that thinks with a budget must have begun: results of calls come now."""
    last = conversation.messages[-1] if conversation.messages else None
    results = last is not None and any(isinstance(part, ToolResultPart) for part in last.parts)
    return results and as_dict(body.get("thinking")).get("type") == "enabled"


def _write_sampling(body: Json, model: Claude, dropped: set[str], *, thinks: bool) -> None:
    """1 is what temperature and top_p are unless told otherwise. thinks: it is told to, in other words than the client's."""
    said = {key for key in _SAMPLING if body.get(key) is not None}
    plain = {key for key in said if body[key] == 1 and key != "top_k"}
    refused = said if thinks or not model.samples else set[str]()
    if model.samples_once and {"temperature", "top_p"} <= said:
        refused = refused | (plain or {"top_p"})
    for key in refused:
        del body[key]
    dropped |= refused - plain


def _write_strict(body: Json, model: Claude, dropped: set[str]) -> None:
    """Tools that need not follow their schema, where the model cannot be made to."""
    tools = body.get("tools") or []
    if not model.follows_schemas and any("strict" in tool for tool in tools):
        body["tools"] = [{key: value for key, value in tool.items() if key != "strict"} for tool in tools]
        dropped.add("strict")


def _write_system(body: Json, model: Claude, dropped: set[str]) -> None:
    """System messages among the others become part of the system prompt."""
    later = [message for message in body["messages"] if message["role"] == "system"]
    if not later or model.takes_system_later:
        return
    body["messages"] = [message for message in body["messages"] if message["role"] != "system"]
    contents = [content for content in (body.get("system"), *(message["content"] for message in later)) if content]
    blocks = [[{"type": "text", "text": said}] if isinstance(said, str) else said for said in contents]
    body["system"] = [block for said in blocks for block in said]
    dropped.add("the place of a system message")
