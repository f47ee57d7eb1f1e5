"""`GET /v1/models` on the gateway: the models that the configuration names, for clients that let their users choose. Pure.

Any other model of a provider can be asked for, too; which there are its provider knows, and this asks nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from midstream.config import Config, UnknownModel
from midstream.relay.access import Caller, check_model
from midstream.relay.refusal import Refusal

PATH = "/v1/models"
_GLOB = frozenset("*?[")


def models_at(path: str, config: Config, caller: Caller) -> dict[str, Any]:
    """What a path below /v1/models shows to this caller: all that its key may use, or one. Raises Refusal (404)."""
    known = list(_models(config, caller))
    wanted = unquote(path.removeprefix(PATH).strip("/"))
    if not wanted:
        ids = [model["id"] for model in known] or [None]
        return {"object": "list", "data": known, "has_more": False, "first_id": ids[0], "last_id": ids[-1]}
    found = next((model for model in known if model["id"] == wanted), None)
    if found is None:
        raise Refusal(404, f"the configuration names no model {wanted[:200]!r}", code="model_not_found")
    return found


def _models(config: Config, caller: Caller) -> Iterator[dict[str, Any]]:
    """In OpenAI's form and Anthropic's at once: their SDKs leave out what they do not know."""
    for name in dict.fromkeys(_names(config)):
        try:
            choice = config.provider_for_model(name)
            check_model(config, caller, choice.model, choice.provider.name)
        except (UnknownModel, Refusal):
            continue
        yield {
            "id": name,
            "object": "model",
            "created": 0,
            "owned_by": choice.provider.name,
            "type": "model",
            "display_name": name,
            "created_at": "1970-01-01T00:00:00Z",
        }


def _names(config: Config) -> Iterator[str]:
    """What the routes name outright: a glob stands for models that only their provider knows."""
    for route in config.routes:
        if not _GLOB & set(route.model):
            yield route.model
        yield from (target for target in route.targets if "/" in target and not _GLOB & set(target))
