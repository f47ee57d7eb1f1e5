"""What a stream cost: the provider's own word where it says so, else the list prices that genai-prices carries (offline)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from genai_prices import data_snapshot, types

from midstream.events import Usage
from midstream.wire.json_text import as_dict, as_int, as_list

LOOKUPS = 1024
"""Models whose place in the price list is remembered. (genai-prices remembers every name it is asked, without bound.)"""

NAME_LENGTH = 256
"""Characters of a model's name beyond which it is in no price list; matching tries hundreds of patterns on it."""

TICKS_PER_USD = 10_000_000_000
"""xAI's unit in `cost_in_usd_ticks`: on their recorded streams it gives list price exactly."""

COST_LIMIT = 1_000_000.0
"""Dollars: what no answer costs. A larger sum is a slip or a lie, and would spoil every total it is part of."""

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
            types.Usage(**plain, **_detailed_counts(usage.raw)), provider, genai_request_timestamp=when
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


def _detailed_counts(raw: Mapping[str, Any]) -> dict[str, int]:
    """What has a price of its own within the sums: audio, Anthropic's one-hour cache writes and its web searches."""
    given = as_dict(raw.get("prompt_tokens_details") or raw.get("input_token_details"))
    made = as_dict(raw.get("completion_tokens_details") or raw.get("output_token_details"))
    counts = {
        "input_audio_tokens": given.get("audio_tokens") or _modality(raw.get("promptTokensDetails"), "AUDIO"),
        "output_audio_tokens": made.get("audio_tokens") or _modality(raw.get("candidatesTokensDetails"), "AUDIO"),
        "cache_audio_read_tokens": as_dict(given.get("cached_tokens_details")).get("audio_tokens"),
        "cache_write_1h_tokens": as_dict(raw.get("cache_creation")).get("ephemeral_1h_input_tokens"),
        "web_searches": as_dict(raw.get("server_tool_use")).get("web_search_requests"),
    }
    return {key: count for key, value in counts.items() if (count := as_int(value)) is not None and count > 0}


def _modality(details: Any, modality: str) -> int:
    parts = [as_dict(part) for part in as_list(details)]
    return sum(as_int(part.get("tokenCount")) or 0 for part in parts if part.get("modality") == modality)
