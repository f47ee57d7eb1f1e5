"""What a stream cost: the provider's own word where it says so, else the list prices that genai-prices carries (offline)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from genai_prices import data_snapshot, types

from midstream.events import Usage
from midstream.wire.json_text import as_dict, as_int, as_list, as_str

LOOKUPS = 1024
"""Models whose place in the price list is remembered. (genai-prices remembers every name it is asked, without bound.)"""

NAME_LENGTH = 256
"""Characters of a model's name beyond which it is in no price list; matching tries hundreds of patterns on it."""

TICKS_PER_USD = 10_000_000_000
"""xAI's unit in `cost_in_usd_ticks`: on their recorded streams it gives list price exactly."""

COST_LIMIT = 1_000_000.0
"""Dollars: what no answer costs. A larger sum is a slip or a lie, and would spoil every total it is part of."""

MODALITIES = ("audio", "image", "video")
"""What may have a price of its own beside text."""

_INPUT = ("prompt_tokens_details", "input_token_details", "input_tokens_details")  # OpenAI chat, Realtime, Responses
_INPUT_LISTS = ("promptTokensDetails", "input_tokens_by_modality")  # Gemini: generateContent and Live, Interactions
_TOOL_LISTS = ("toolUsePromptTokensDetails", "tool_use_tokens_by_modality")
_OUTPUT = ("completion_tokens_details", "output_token_details", "output_tokens_details")
_OUTPUT_LISTS = (
    "candidatesTokensDetails",
    "responseTokensDetails",
    "output_tokens_by_modality",
)  # the second is Live's
_CACHED_LISTS = ("cacheTokensDetails", "cached_tokens_by_modality")

log = logging.getLogger(__name__)


def cost_usd(provider_price_id: str, model: str, usage: Usage, when: datetime | None = None) -> float | None:
    """Return US dollars, or None where no price is known or the counts to price are not. Never raises.

    provider_price_id: the provider's id in genai-prices (`Provider.prices`); "": only the provider's own word counts.
    when: the request's time, since prices change by date and hour of day; None: now.
    """
    try:
        billed = _billed(usage.raw)
        return billed if billed is not None else _list_price(provider_price_id, model, usage, when)
    except Exception:
        log.exception("pricing a stream of %.100r failed; its row has no cost", model)
        return None


def _billed(raw: Mapping[str, Any]) -> float | None:
    """Read what the provider says it bills: OpenRouter's, Avian's and Vercel's `cost`, Perplexity's `cost.total_cost`, and
    xAI's ticks (0 there says nothing: Azure's Grok always sends it)."""
    cost = raw.get("cost")
    if isinstance(cost, dict):
        cost = cost.get("total_cost")
    billed = _dollars(cost)
    if billed is None:
        return _dollars(raw.get("cost_in_usd_ticks"), TICKS_PER_USD) or None
    if (
        raw.get("is_byok") is True
    ):  # OpenRouter bills its fee alone; the rest goes to the user's own key at the provider
        billed += _dollars(as_dict(raw.get("cost_details")).get("upstream_inference_cost")) or 0.0
    return billed


def _dollars(value: Any, unit: int = 1) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        amount = float(value) / unit
    except OverflowError:
        return None
    return amount if 0 <= amount <= COST_LIMIT else None  # which no NaN is


def _list_price(provider_price_id: str, model: str, usage: Usage, when: datetime | None) -> float | None:
    if not provider_price_id or usage.input_tokens is None or usage.output_tokens is None:
        return None
    found = _find(provider_price_id, model) if len(model) <= NAME_LENGTH else None
    if found is None:
        return None
    provider, priced = found
    plain = _plain_counts(usage)
    try:
        price = priced.calc_price(
            types.Usage(**plain, **_detailed_counts(usage.raw, plain)), provider, genai_request_timestamp=when
        )
    except (ValueError, TypeError):  # details that contradict the sums or one another
        price = priced.calc_price(types.Usage(**plain), provider, genai_request_timestamp=when)
    return _dollars(float(price.total_price))


@lru_cache(maxsize=LOOKUPS)
def _find(provider_price_id: str, model: str) -> tuple[types.Provider, types.ModelInfo] | None:
    providers = data_snapshot.get_snapshot().providers
    provider = next((p for p in providers if p.id == provider_price_id), None)
    if provider is None or not model:
        return None
    names = dict.fromkeys((model, model.rpartition("models/")[2]))  # Gemini's models/…, Vertex's publishers/…/models/…
    for name in names:
        priced = provider.find_model(name, all_providers=providers)
        if priced is not None:
            return provider, priced
    return None


def _plain_counts(usage: Usage) -> dict[str, int]:
    """The sums; cached tokens are a part of the input, so never more than it whatever a provider claims."""
    whole = max(usage.input_tokens or 0, 0)
    read = min(max(usage.cached_tokens or 0, 0), whole)
    write = min(max(usage.cache_write_tokens or 0, 0), whole - read)
    counts = {"input_tokens": whole, "output_tokens": max(usage.output_tokens or 0, 0)}
    return counts | {key: n for key, n in (("cache_read_tokens", read), ("cache_write_tokens", write)) if n}


def _detailed_counts(raw: Mapping[str, Any], plain: Mapping[str, int]) -> dict[str, int]:
    """What has a price of its own within the sums: audio, images and video, Anthropic's one-hour cache writes and its web
    searches."""
    given, made = _modalities(raw, (*_INPUT, *_INPUT_LISTS)), _modalities(raw, (*_OUTPUT, *_OUTPUT_LISTS))
    for modality, count in _modalities(raw, _TOOL_LISTS).items():
        given[modality] = given.get(modality, 0) + count
    counts = {
        "cache_write_1h_tokens": _count(as_dict(raw.get("cache_creation")).get("ephemeral_1h_input_tokens")),
        "web_searches": _count(as_dict(raw.get("server_tool_use")).get("web_search_requests")),
        **{f"input_{modality}_tokens": count for modality, count in given.items()},
        **{f"output_{modality}_tokens": count for modality, count in made.items()},
    }
    return {key: count for key, count in counts.items() if count} | _cached(raw, plain, given)


def _cached(raw: Mapping[str, Any], plain: Mapping[str, int], given: Mapping[str, int]) -> dict[str, int]:
    """How much of what was read from a cache was audio, images or video. genai-prices refuses to price such input beside a
    cache that does not say this, be it 0. Who does not say it had text read first: the cheapest that the sums allow."""
    cached = plain.get("cache_read_tokens", 0)
    if not cached:
        return {}
    of_input = _first(raw, _INPUT)
    details = as_dict(of_input).get("cached_tokens_details") or _first(raw, _CACHED_LISTS)
    said, left = _read_modalities(details), cached - max(plain["input_tokens"] - sum(given.values()), 0)
    counts = {}
    for modality, count in given.items():
        read = min(said.get(modality, 0) if details else max(left, 0), count, cached)
        left -= read
        counts[f"cache_{modality}_read_tokens"] = read
    return counts


def _modalities(raw: Mapping[str, Any], names: Sequence[str]) -> dict[str, int]:
    return _read_modalities(_first(raw, names))


def _first(raw: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((details for name in names if (details := raw.get(name))), None)


def _read_modalities(details: Any) -> dict[str, int]:
    """OpenAI's object (`audio_tokens`), or Google's list of modalities with their counts; without what is 0."""
    fields, parts = as_dict(details), [as_dict(part) for part in as_list(details)]
    counts = {modality: _count(fields.get(f"{modality}_tokens")) for modality in MODALITIES}
    for part in parts:
        modality = as_str(part.get("modality")).lower()
        if modality in counts:
            counts[modality] += _count(part.get("tokenCount")) or _count(part.get("tokens"))
    return {modality: count for modality, count in counts.items() if count}


def _count(value: Any) -> int:
    return max(as_int(value) or 0, 0)
