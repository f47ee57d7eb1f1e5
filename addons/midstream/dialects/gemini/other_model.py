"""A request to one of Gemini's models, for another of them: what that is known to refuse is said anew, all else stays."""

from __future__ import annotations

import re

from midstream.conversation import Conversation, Inexpressible
from midstream.dialects.gemini.fields import camel
from midstream.dialects.gemini.thinking import generation, refuses, write_thinking
from midstream.dialects.gemini.writing import NO_SIGNATURE
from midstream.wire.json_text import Json, as_dict, as_list

_WANTS_SIGNATURES = re.compile(r"gemini-[3-9]")


def say_anew(conversation: Conversation, body: Json, dropped: set[str]) -> Json:
    """Return the body for conversation.model. conversation: as it was read from the body. Raises Inexpressible."""
    model, said = conversation.model, dict(body)
    if conversation.tools and conversation.output_format is not None and generation(model) != "level":
        raise Inexpressible("tools together with a response format")  # a 400 before Gemini 3
    settings = conversation.reasoning
    if settings is not None and refuses(settings, model):
        key = "generation_config" if "generation_config" in said else "generationConfig"
        config = {name: value for name, value in camel(said[key]).items() if name != "thinkingConfig"}
        thinking = write_thinking(settings, model, own=False, dropped=dropped)
        said[key] = {**config, "thinkingConfig": thinking} if thinking else config
    if _WANTS_SIGNATURES.search(model):
        said["contents"] = _signed(said["contents"])
    return said


def _signed(contents: object) -> object:
    """The contents, the first call of each turn signed: those of models before 3 need no signature, later ones refuse them so."""
    if not isinstance(contents, list):
        return contents
    return [_sign(content) if as_dict(content).get("role") == "model" else content for content in contents]


def _sign(content: Json) -> Json:
    parts = as_list(content.get("parts"))
    first = next((n for n, part in enumerate(parts) if "functionCall" in camel(as_dict(part))), None)
    if first is None or "thoughtSignature" in camel(parts[first]):
        return content
    return {
        **content,
        "parts": [*parts[:first], {**parts[first], "thoughtSignature": NO_SIGNATURE}, *parts[first + 1 :]],
    }
