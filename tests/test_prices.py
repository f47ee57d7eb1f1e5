from __future__ import annotations

import logging
import socket
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from genai_prices import data_snapshot, types
from hypothesis import given, settings
from hypothesis import strategies as st

from midstream import prices
from midstream.dialects.gemini.parts import read_usage
from midstream.events import Usage
from midstream.prices import COST_LIMIT, cost_usd
from midstream.providers import PROVIDERS

PER_MILLION = {
    "input_mtok": "2",
    "output_mtok": "10",
    "cache_read_mtok": "0.2",
    "cache_write_mtok": "2.5",
    "cache_write_1h_mtok": "4",
    "web_searches_kcount": "10",
}
AUDIO_PER_MILLION = {
    "input_mtok": "2",
    "output_mtok": "10",
    "cache_read_mtok": "0.2",
    "input_audio_mtok": "40",
    "cache_audio_read_mtok": "1",
    "output_audio_mtok": "80",
}
IMAGES_PER_MILLION = {
    "input_mtok": "2",
    "output_mtok": "10",
    "input_image_mtok": "3",
    "input_video_mtok": "4",
    "output_image_mtok": "100",
}


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A price list of one model, so that no test knows what a provider asks this month."""
    cheap_at_night = types.ConditionalPrice(
        types.TimeOfDateConstraint(
            datetime(2026, 1, 1, 16, tzinfo=UTC).timetz(), datetime(2026, 1, 1, 18, tzinfo=UTC).timetz()
        ),
        prices=types.ModelPrice(input_mtok=Decimal(1), output_mtok=Decimal(1)),
    )
    day = types.ConditionalPrice(prices=types.ModelPrice(input_mtok=Decimal(4), output_mtok=Decimal(4)))
    tiers = types.TieredPrices(base=Decimal(1), tiers=[types.Tier(start=1000, price=Decimal(3))])
    models = [
        model("m-1", types.ModelPrice(**{key: Decimal(value) for key, value in PER_MILLION.items()})),
        model("m-audio", types.ModelPrice(**{key: Decimal(value) for key, value in AUDIO_PER_MILLION.items()})),
        model("m-images", types.ModelPrice(**{key: Decimal(value) for key, value in IMAGES_PER_MILLION.items()})),
        model("m-hours", [day, cheap_at_night]),
        model("m-tiers", types.ModelPrice(input_mtok=tiers, output_mtok=Decimal(1))),
    ]
    provider = types.Provider(id="acme", name="Acme", api_pattern="https://acme", models=models)
    monkeypatch.setattr(
        data_snapshot, "_custom_snapshot", data_snapshot.DataSnapshot([provider], from_auto_update=False)
    )
    prices._find.cache_clear()


def model(name: str, price: types.ModelPrice | list[types.ConditionalPrice]) -> types.ModelInfo:
    return types.ModelInfo(id=name, match=types.ClauseEquals(equals=name), prices=price)


@pytest.fixture(autouse=True)
def _forget() -> Any:
    yield
    prices._find.cache_clear()


@pytest.mark.usefixtures("listed")
@pytest.mark.parametrize(
    ("usage", "millionths"),
    [
        (Usage(1000, 100), 2000 + 1000),
        (Usage(1000, 100, cached_tokens=600), 400 * 2 + 600 * 0.2 + 1000),
        (Usage(1000, 100, cached_tokens=600, cache_write_tokens=300), 100 * 2 + 600 * 0.2 + 300 * 2.5 + 1000),
        (Usage(1000, 100, reasoning_tokens=50), 2000 + 1000),
        (Usage(0, 0), 0),
    ],
    ids=["plain", "cache read", "cache read and write", "reasoning is output", "nothing used"],
)
def test_each_kind_of_token_has_its_price(usage: Usage, millionths: float) -> None:
    assert cost_usd("acme", "m-1", usage) == pytest.approx(millionths / 1e6)


@pytest.mark.usefixtures("listed")
@pytest.mark.parametrize(
    ("raw", "millionths"),
    [
        (
            {"cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200}},
            700 * 2 + 100 * 2.5 + 200 * 4,
        ),
        ({"server_tool_use": {"web_search_requests": 2}}, 700 * 2 + 300 * 2.5 + 20_000),
    ],
    ids=["one-hour cache writes", "web searches"],
)
def test_what_anthropic_prices_apart_is_priced_apart(raw: dict[str, Any], millionths: float) -> None:
    usage = Usage(1000, 0, cache_write_tokens=300, raw=raw)
    assert cost_usd("acme", "m-1", usage) == pytest.approx(millionths / 1e6)


@pytest.mark.usefixtures("listed")
@pytest.mark.parametrize(
    "raw",
    [
        {"prompt_tokens_details": {"audio_tokens": 800}, "completion_tokens_details": {"audio_tokens": 70}},
        {"input_token_details": {"audio_tokens": 800}, "output_token_details": {"audio_tokens": 70}},
        {
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 200}, {"modality": "AUDIO", "tokenCount": 800}],
            "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 70}],
        },
        {
            "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 800}],
            "responseTokensDetails": [{"modality": "TEXT", "tokenCount": 30}, {"modality": "AUDIO", "tokenCount": 70}],
        },
        {
            "input_tokens_by_modality": [{"modality": "text", "tokens": 200}, {"modality": "audio", "tokens": 500}],
            "tool_use_tokens_by_modality": [{"modality": "audio", "tokens": 300}],
            "output_tokens_by_modality": [{"modality": "audio", "tokens": 70}],
        },
    ],
    ids=["chat", "realtime", "gemini", "gemini live", "gemini interactions"],
)
def test_audio_has_its_own_price(raw: dict[str, Any]) -> None:
    assert cost_usd("acme", "m-audio", Usage(1000, 100, raw=raw)) == pytest.approx(
        (200 * 2 + 800 * 40 + 30 * 10 + 70 * 80) / 1e6
    )


@pytest.mark.usefixtures("listed")
def test_cached_audio_has_its_own_price() -> None:
    details = {
        "audio_tokens": 800,
        "cached_tokens": 300,
        "cached_tokens_details": {"audio_tokens": 200, "text_tokens": 100},
    }
    usage = Usage(1000, 0, cached_tokens=300, raw={"input_token_details": details})
    assert cost_usd("acme", "m-audio", usage) == pytest.approx((100 * 2 + 100 * 0.2 + 600 * 40 + 200 * 1) / 1e6)


@pytest.mark.usefixtures("listed")
@pytest.mark.parametrize(
    ("raw", "cached_audio"),
    [
        (
            {
                "input_token_details": {
                    "audio_tokens": 800,
                    "cached_tokens_details": {"text_tokens": 128, "audio_tokens": 0},
                }
            },
            0,
        ),
        ({"prompt_tokens_details": {"audio_tokens": 800, "cached_tokens": 128}}, 0),
        ({"promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 900}]}, 28),
        (
            {
                "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 800}],
                "cacheTokensDetails": [
                    {"modality": "AUDIO", "tokenCount": 100},
                    {"modality": "TEXT", "tokenCount": 28},
                ],
            },
            100,
        ),
        (
            {
                "input_tokens_by_modality": [{"modality": "audio", "tokens": 800}],
                "cached_tokens_by_modality": [{"modality": "audio", "tokens": 100}],
            },
            100,
        ),
    ],
    ids=["realtime, text alone", "chat does not say", "only so much was text", "gemini", "gemini interactions"],
)
def test_audio_beside_a_cache_keeps_its_price(raw: dict[str, Any], cached_audio: int) -> None:
    audio = 900 if cached_audio == 28 else 800
    text, cached = 1000 - audio, 128 - cached_audio
    expected = (text - cached) * 2 + cached * 0.2 + (audio - cached_audio) * 40 + cached_audio
    cost = cost_usd("acme", "m-audio", Usage(1000, 0, cached_tokens=128, raw=raw))
    assert cost == pytest.approx(expected / 1e6)


@pytest.mark.usefixtures("listed")
def test_images_and_video_have_their_own_prices() -> None:
    given = [{"modality": "IMAGE", "tokenCount": 300}, {"modality": "VIDEO", "tokenCount": 200}]
    made = [{"modality": "TEXT", "tokenCount": 10}, {"modality": "IMAGE", "tokenCount": 1290}]
    raw = {"promptTokensDetails": given, "candidatesTokensDetails": made}
    prompt, answer = 500 * 2 + 300 * 3 + 200 * 4, 10 * 10 + 1290 * 100
    assert cost_usd("acme", "m-images", Usage(1000, 1300, raw=raw)) == pytest.approx((prompt + answer) / 1e6)
    plain = (2000 + 13000) / 1e6
    assert cost_usd("acme", "m-audio", Usage(1000, 1300, raw=raw)) == pytest.approx(plain), "no price of its own"


@pytest.mark.usefixtures("listed")
def test_details_that_contradict_the_sum_leave_the_sum() -> None:
    raw = {"prompt_tokens_details": {"audio_tokens": 5000}}
    assert cost_usd("acme", "m-audio", Usage(1000, 100, raw=raw)) == pytest.approx(3000 / 1e6)


@pytest.mark.usefixtures("listed")
def test_more_cached_tokens_than_input_count_as_all_of_it() -> None:
    assert cost_usd("acme", "m-1", Usage(1000, 0, cached_tokens=5000, cache_write_tokens=7)) == pytest.approx(200 / 1e6)


@pytest.mark.usefixtures("listed")
def test_a_long_prompt_pays_its_tier() -> None:
    assert cost_usd("acme", "m-tiers", Usage(1000, 0)) == pytest.approx(1000 / 1e6)
    assert cost_usd("acme", "m-tiers", Usage(2000, 0)) == pytest.approx(6000 / 1e6)


@pytest.mark.usefixtures("listed")
def test_the_hour_of_the_request_decides() -> None:
    usage = Usage(500_000, 500_000)
    assert cost_usd("acme", "m-hours", usage, datetime(2026, 5, 1, 17, tzinfo=UTC)) == pytest.approx(1)
    assert cost_usd("acme", "m-hours", usage, datetime(2026, 5, 1, 12, tzinfo=UTC)) == pytest.approx(4)


@pytest.mark.usefixtures("listed")
@pytest.mark.parametrize(
    ("provider", "model_name", "usage"),
    [
        ("", "m-1", Usage(1, 1)),
        ("acm", "m-1", Usage(1, 1)),
        ("litellm", "acme/m-1", Usage(1, 1)),
        ("acme", "m-2", Usage(1, 1)),
        ("acme", "", Usage(1, 1)),
        ("acme", "m-1" * 1000, Usage(1, 1)),
        ("acme", "m-1", Usage(None, 1)),
        ("acme", "m-1", Usage(1, None)),
        ("acme", "m-1", Usage()),
    ],
)
def test_no_known_price_or_count_is_no_cost(provider: str, model_name: str, usage: Usage) -> None:
    assert cost_usd(provider, model_name, usage) is None


@pytest.mark.usefixtures("listed")
@pytest.mark.parametrize("name", ["models/m-1", "publishers/acme/models/m-1"])
def test_google_prefixes_are_no_part_of_the_name(name: str) -> None:
    assert cost_usd("acme", name, Usage(1000, 0)) == pytest.approx(2000 / 1e6)


@pytest.mark.parametrize(
    ("raw", "dollars"),
    [
        ({"cost": 0.00572, "is_byok": False}, 0.00572),
        ({"cost": 0}, 0.0),
        ({"cost": 0.0001, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.002}}, 0.0021),
        ({"cost": 0.01, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.002}}, 0.01),
        ({"cost": {"input_tokens_cost": 0.00001, "output_tokens_cost": 0.00021, "total_cost": 0.00522}}, 0.00522),
        ({"cost_in_usd_ticks": 1_721_250}, 0.000172125),
    ],
    ids=["openrouter", "free", "own key", "not own key", "perplexity", "xai"],
)
def test_the_providers_own_word_wins(raw: dict[str, Any], dollars: float) -> None:
    assert cost_usd("openai", "gpt-4o", Usage(10**6, 10**6, raw=raw)) == pytest.approx(dollars)
    assert cost_usd("", "unknown", Usage(raw=raw)) == pytest.approx(dollars)


@pytest.mark.usefixtures("listed")
@pytest.mark.parametrize(
    "cost", [None, True, "0.1", -1, float("nan"), float("inf"), [], {}, {"total_cost": "x"}, 10**400]
)
def test_a_cost_that_is_none_leaves_the_list_price(cost: Any) -> None:
    for key in ("cost", "cost_in_usd_ticks"):
        assert cost_usd("acme", "m-1", Usage(1000, 0, raw={key: cost})) == pytest.approx(2000 / 1e6)


@pytest.mark.usefixtures("listed")
def test_zero_ticks_say_nothing() -> None:
    assert cost_usd("acme", "m-1", Usage(1000, 0, raw={"cost_in_usd_ticks": 0})) == pytest.approx(2000 / 1e6)


def test_xais_ticks_agree_with_the_price_list() -> None:
    listed = cost_usd("x-ai", "grok-3-mini", Usage(12, 342, cached_tokens=11), datetime(2026, 2, 11, tzinfo=UTC))
    assert listed == pytest.approx(1_721_250 / prices.TICKS_PER_USD)


def test_the_installed_list_prices_the_models_of_the_large_providers(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    known = [
        ("openai", "gpt-4o-2024-11-20"),
        ("azure", "gpt-4o"),
        ("anthropic", "claude-sonnet-4-5-20250929"),
        ("google", "gemini-2.5-flash"),
        ("aws", "us.anthropic.claude-3-5-sonnet-20241022-v2:0"),
        ("mistral", "mistral-small-latest"),
    ]
    for provider, name in known:
        assert (cost_usd(provider, name, Usage(1000, 1000)) or 0) > 0, name


@pytest.mark.parametrize(
    ("name", "usage", "dollars"),
    [
        (
            "gemini-3.1-flash-live-preview",
            {
                **{"promptTokenCount": 1000, "responseTokenCount": 500},
                "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 900}],
                "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 500}],
            },
            0.008775,
        ),
        (
            "gemini-2.5-flash-image",
            {
                **{"promptTokenCount": 10, "candidatesTokenCount": 1290},
                "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1290}],
            },
            0.038703,
        ),
    ],
)
def test_what_gemini_says_and_makes_is_priced_as_what_it_is(name: str, usage: dict[str, Any], dollars: float) -> None:
    (read,) = read_usage(usage)
    assert isinstance(read, Usage)
    assert cost_usd("google", name, read, datetime(2026, 3, 1, tzinfo=UTC)) == pytest.approx(dollars)


def test_lookups_are_bounded_whatever_names_come() -> None:
    snapshot = data_snapshot.get_snapshot()
    for i in range(20):
        assert cost_usd("openai", f"no-such-model-{i}", Usage(1, 1)) is None
    assert prices._find.cache_info().maxsize == prices.LOOKUPS
    assert not [key for key in (*snapshot._lookup_cache, *snapshot._provider_cache) if "no-such-model" in str(key)]


def test_a_failure_inside_is_logged_and_no_cost(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(prices, "_find", broken)
    with caplog.at_level(logging.ERROR):
        assert cost_usd("openai", "gpt-4o", Usage(1, 1)) is None
    assert "boom" in caplog.text
    monkeypatch.undo()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = [
    *("cost", "cost_in_usd_ticks", "is_byok", "cost_details", "cache_creation", "server_tool_use"),
    *("prompt_tokens_details", "input_token_details", "completion_tokens_details", "promptTokensDetails"),
    *("responseTokensDetails", "cacheTokensDetails", "toolUsePromptTokensDetails", "output_tokens_by_modality"),
]
INNER = [
    *("audio_tokens", "total_cost", "cached_tokens_details", "ephemeral_1h_input_tokens", "web_search_requests"),
    *("modality", "tokenCount", "tokens", "image_tokens"),
]
raws = st.dictionaries(
    st.sampled_from(KEYS), json_values | st.dictionaries(st.sampled_from(INNER), json_values, max_size=3), max_size=4
)
counts = st.none() | st.integers()


@given(counts, counts, counts, counts, raws)
@settings(max_examples=150)
def test_hostile_usage_never_raises(
    a: int | None, b: int | None, c: int | None, d: int | None, raw: dict[str, Any]
) -> None:
    cost = cost_usd("anthropic", "claude-sonnet-4-5", Usage(a, b, c, d, raw=raw))
    assert cost is None or 0 <= cost < float("inf")


def test_price_ids_of_the_built_in_providers_exist() -> None:
    ids = {provider.id for provider in data_snapshot.get_snapshot().providers}
    unknown = {p.name for p in PROVIDERS if p.prices and p.prices not in ids}
    assert unknown <= {"huggingface", "venice", "deepinfra"}  # huggingface: listed per backend, so that no id is right


@pytest.mark.parametrize("cost", [float("inf"), float("nan"), -1, 1e308, 10**400, COST_LIMIT * 2])
def test_what_no_answer_costs_is_no_cost(cost: float) -> None:
    assert cost_usd("", "m", Usage(1, 1, raw={"cost": cost})) is None
