"""What streams that are over add to a scrape, which Prometheus' own parser reads; and what it costs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from databases import record
from midstream.config import Config, ProviderConfig
from midstream.config.tables import Target
from midstream.events import END, Event, Failure, Finish, Malformed, Start, Text, Usage
from midstream.gaps import GAPS, Gaps
from midstream.healing.breakers import Limits, Targets
from midstream.ledger import Account
from midstream.observation import Observation, Outcome
from midstream.relay import server
from midstream.watch import exposition, names
from midstream.watch.accounting import Accounting, labels
from midstream.watch.metrics import Metrics
from midstream.watch.tallies import SERIES, Tallies

type Scrape = dict[tuple[str, tuple[tuple[str, str], ...]], float]

USAGE = Usage(input_tokens=7, output_tokens=60, cached_tokens=4)


class Ledger:
    """What the metrics know of one."""

    def __init__(self) -> None:
        self.watchers: list[Any] = []
        self.live: dict[str, Account] = {}


def account(
    *events: Event,
    outcome: Outcome = "complete",
    gaps: tuple[float, ...] = (),
    cost: float | None = None,
    streamed: bool = True,
    **row: Any,
) -> Account:
    """A stream that is over: its events came after half a second, further text after each gap."""
    values = {"provider": "openai", "dialect": "openai_chat", "model_requested": "gpt-4o", "app": "curl"} | row
    observation = Observation(record(**values), 0.0)
    now = 0.5
    observation.feed(events, now)
    for gap in gaps:
        now += gap
        observation.feed([Text("more")], now)
    observation.settle(outcome, now + 0.1)
    for attempt in observation.attempts:
        attempt.cost_usd = cost
    observation.total()
    return Account(observation, streamed=streamed)


def whole(**values: Any) -> Account:
    said = (Start(model="gpt-4o-2024"), Text("Hello"), USAGE, Finish("stop"), END)
    return account(*said, **values)


def healed(**row: Any) -> Account:
    """Broken after two words, gone on elsewhere."""
    values = {"provider": "openai", "dialect": "openai_chat", "model_requested": "gpt-4o"} | row
    observation = Observation(record(**values), 0.0)
    observation.begin_attempt("openai", "gpt-4o", "2026-01-31T10:00:00.000Z", 0.0)
    observation.feed([Start(model="gpt-4o-2024"), Text("one"), Text("two")], 0.3)
    observation.end_attempt("connection_error", 0.4, http_status=200, error="reset", next="asks backup/small")
    observation.begin_attempt("backup", "small", "2026-01-31T10:00:00.400Z", 0.4)
    observation.feed([Text("three"), USAGE, END], 0.7)
    observation.settle("complete", 0.8)
    return Account(observation)


def scraped(text: str) -> Scrape:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scrape(*accounts: Account, config: Config | None = None, live: tuple[Account, ...] = ()) -> Scrape:
    return scraped(scrape_text(*accounts, config=config, live=live))


def scrape_text(*accounts: Account, config: Config | None = None, live: tuple[Account, ...] = ()) -> str:
    async def made() -> str:
        ledger = Ledger()
        metrics = Metrics(ledger, lambda: config or Config.default())  # type: ignore[arg-type]
        ledger.live = {str(n): account for n, account in enumerate(live)}
        for one in accounts:
            for watcher in ledger.watchers:
                watcher(one)
        return metrics.text()

    return asyncio.run(made())


def value(found: Scrape, name: str, **labels: str) -> float | None:
    """The one sample of this name with these labels, whatever others it has; None without one."""
    hits = [number for (n, have), number in found.items() if n == name and labels.items() <= dict(have).items()]
    assert len(hits) < 2, f"{name} {labels} is {len(hits)} samples"
    return hits[0] if hits else None


CALL = {
    "gen_ai_operation_name": "chat",
    "gen_ai_provider_name": "openai",
    "gen_ai_request_model": "gpt-4o",
    "gen_ai_response_model": "gpt-4o-2024",
    "server_address": "api.openai.com",
    "server_port": "443",
}


def test_a_whole_stream_by_the_conventions_names() -> None:
    found = scrape(whole(gaps=(0.1, 0.1)))
    duration = "gen_ai_client_operation_duration_seconds"
    assert found[f"{duration}_count", tuple(sorted(CALL.items()))] == 1
    assert value(found, f"{duration}_sum") == pytest.approx(0.8)
    first = "gen_ai_client_operation_time_to_first_chunk_seconds"
    assert value(found, f"{first}_sum", **CALL) == pytest.approx(0.5)
    chunks = "gen_ai_client_operation_time_per_output_chunk_seconds"
    assert value(found, f"{chunks}_count", **CALL) == 2
    assert value(found, f"{chunks}_sum", **CALL) == pytest.approx(0.2)
    usage = "gen_ai_client_token_usage"
    assert value(found, f"{usage}_sum", gen_ai_token_type="input", **CALL) == 7
    assert value(found, f"{usage}_sum", gen_ai_token_type="output", **CALL) == 60


def test_the_buckets_are_the_conventions() -> None:
    found = scrape(whole(gaps=(0.1,)))
    for name, bounds in (
        ("gen_ai_client_operation_duration_seconds", [0.01 * 2**n for n in range(14)]),
        ("gen_ai_client_operation_time_to_first_chunk_seconds", [0.01 * 2**n for n in range(14)]),
        ("gen_ai_client_operation_time_per_output_chunk_seconds", [0.01 * 2**n for n in range(14)]),
        ("gen_ai_client_token_usage", [4**n for n in range(14)]),
    ):
        shown = {dict(labels)["le"] for (sample, labels) in found if sample == f"{name}_bucket"}
        assert sorted(map(float, shown)) == pytest.approx([*bounds, float("inf")])


def test_a_value_on_a_boundary_lies_in_its_bucket() -> None:
    """Both Prometheus' `le` and OpenTelemetry's bounds are inclusive."""
    tallies = Tallies()
    for number in (4, 5):
        tallies.observe(names.TOKEN_USAGE, (), number)
    assert tallies.families()[0].points[()].counts[:4] == [0, 1, 1, 0]


def test_our_own_counters() -> None:
    found = scrape(whole(cost=0.25, paused_ms=1500.0, resumes=2, key="mobile"))
    asked = {"gen_ai_provider_name": "openai", "gen_ai_request_model": "gpt-4o"}
    streams = value(
        found,
        "midstream_streams_total",
        midstream_outcome="complete",
        midstream_delivery="native",
        midstream_app="curl",
        midstream_key="mobile",
        **asked,
    )
    assert streams == 1
    assert value(found, "midstream_cost_USD_total", midstream_key="mobile", midstream_app="curl", **asked) == 0.25
    assert value(found, "midstream_paused_seconds_total", **asked) == 1.5
    assert value(found, "midstream_resumes_total", **asked) == 2
    assert value(found, "midstream_attempts_total", midstream_outcome="complete", **asked) == 1
    assert value(found, "midstream_breaks_total") is None


def test_a_healed_stream_blames_the_target_that_broke() -> None:
    found = scrape(healed())
    broken = {"gen_ai_provider_name": "openai", "gen_ai_request_model": "gpt-4o", "error_type": "connection_error"}
    assert value(found, "midstream_breaks_total", **broken) == 1
    assert value(found, "midstream_reroutes_total", **broken) == 1
    assert value(found, "midstream_attempts_total", midstream_outcome="failed", **broken) == 1
    other = {"gen_ai_provider_name": "backup", "gen_ai_request_model": "small"}
    assert value(found, "midstream_attempts_total", midstream_outcome="complete", **other) == 1
    assert value(found, "midstream_attempt_time_to_first_chunk_seconds_sum", **other) == pytest.approx(0.3)
    assert value(found, "gen_ai_client_token_usage_sum", gen_ai_token_type="output", **other) == 60
    duration = "gen_ai_client_operation_duration_seconds_count"
    assert value(found, duration, gen_ai_provider_name="openai") == 1
    assert not any("error_type" in dict(labels) for name, labels in found if name == duration)


def test_a_failed_stream_has_an_error_type_and_one_whose_client_left_has_none() -> None:
    failed = account(Failure("no", type="server_error"), outcome="complete")
    left = account(Text("x"), outcome="client_gone", model_requested="other-model")
    found = scrape(failed, left)
    duration = "gen_ai_client_operation_duration_seconds_count"
    assert value(found, duration, error_type="server_error") == 1
    left_labels = next(
        dict(have) for n, have in found if n == duration and ("gen_ai_request_model", "other-model") in have
    )
    assert "error_type" not in left_labels
    assert value(found, "midstream_streams_total", midstream_outcome="client_gone") == 1
    assert value(found, "midstream_attempts_total", midstream_outcome="client_gone") == 1


def test_malformed_frames_are_counted() -> None:
    found = scrape(account(Text("x"), Malformed("no JSON"), Malformed("no JSON"), END))
    assert value(found, "midstream_malformed_total") == 2


def test_no_first_chunk_of_an_answer_that_was_not_streamed() -> None:
    """'SHOULD NOT be reported otherwise'"""
    found = scrape(whole(streamed=False))
    assert not [name for name, _ in found if "time_to_first_chunk" in name and name.startswith("gen_ai")]
    assert value(found, "gen_ai_client_operation_duration_seconds_count") == 1


def test_what_came_in_pieces_was_a_stream_whatever_the_request_said() -> None:
    found = scrape(whole(streamed=False, gaps=(0.1,)))
    assert value(found, "gen_ai_client_operation_time_to_first_chunk_seconds_count") == 1


@pytest.mark.parametrize(
    ("provider", "dialect", "shown", "operation"),
    [
        ("gemini", "gemini", "gcp.gemini", "generate_content"),
        ("bedrock", "bedrock_converse", "aws.bedrock", "chat"),
        ("openai", "openai_completions", "openai", "text_completion"),
        ("llm.example.com", "openai_chat", "llm.example.com", "chat"),
    ],
)
def test_providers_and_operations_are_named_as_the_conventions_name_them(
    provider: str, dialect: str, shown: str, operation: str
) -> None:
    found = scrape(whole(provider=provider, dialect=dialect))
    said = {"gen_ai_provider_name": shown, "gen_ai_operation_name": operation}
    assert value(found, "gen_ai_client_operation_duration_seconds_count", **said) == 1


def test_the_server_is_the_configured_one() -> None:
    own = ProviderConfig(dialect="openai_chat", base_url="http://127.0.0.1:8000/v1")
    found = scrape(whole(provider="local"), config=Config(providers={"local": own}))
    said = {"server_address": "127.0.0.1", "server_port": "8000"}
    assert value(found, "gen_ai_client_operation_duration_seconds_count", **said) == 1


def test_streams_in_flight_are_counted_as_the_scrape_comes() -> None:
    found = scrape(live=(whole(), whole(), whole(model_requested="o3")))
    assert value(found, "midstream_active_streams", gen_ai_request_model="gpt-4o") == 2
    assert value(found, "midstream_active_streams", gen_ai_request_model="o3") == 1


@pytest.fixture
def targets() -> Iterator[Targets]:
    """Those of a relay that runs."""

    class Relay:
        class means:
            targets = Targets()

    relay: Any = Relay()
    server.RUNNING.append(relay)
    yield relay.means.targets
    server.RUNNING.remove(relay)


def test_a_breaker_that_opened(targets: Targets) -> None:
    now, limits = time.monotonic(), Limits(failures=1, cool_down=1000)
    targets.of(Target("openai", "gpt-4o"), now).breaker.fail(limits, now)
    targets.of(Target("backup", ""), now)
    targets.of(Target("late", "m"), now).breaker.fail(limits, now - 2000)
    found = scrape()
    assert value(found, "midstream_breaker_state", midstream_target="openai/gpt-4o") == 2
    assert value(found, "midstream_breaker_state", midstream_target="backup") == 0
    assert value(found, "midstream_breaker_state", midstream_target="late/m") == 1


def test_of_too_many_targets_the_latest_are_named_and_the_worst_of_the_others_told(targets: Targets) -> None:
    now, limits = time.monotonic(), Limits(failures=1, cool_down=1000)
    for n in range(SERIES + 50):
        targets.of(Target("p", f"m{n}"), now)
    targets.of(Target("p", "m10"), now).breaker.fail(limits, now)
    targets.of(Target("p", "m11"), now)
    for n in range(60, SERIES + 50):
        targets.of(Target("p", f"m{n}"), now)
    targets.of(Target("p", "m3"), now)
    for n in range(60, SERIES + 60):
        targets.of(Target("p", f"m{n}"), now)
    found = scrape()
    states = {dict(have)["midstream_target"]: v for (n, have), v in found.items() if n == "midstream_breaker_state"}
    assert len(states) == SERIES + 1
    assert f"p/m{SERIES + 59}" in states
    assert states["other"] == 2


def test_label_sets_are_bounded_and_nothing_is_lost() -> None:
    """A client that names another model, another program or another error each time."""
    many = [
        whole(model_requested=f"model-{n}", app=f"app-{n}", provider=f"host{n}.example.com", cost=0.5)
        for n in range(SERIES + 300)
    ]
    broken = [account(Failure("no", type=f"error-{n}")) for n in range(SERIES + 300)]
    found = scrape(*many, *broken)
    per_name: dict[str, int] = {}
    for name, have in found:
        if dict(have).get("le", "+Inf") == "+Inf":
            per_name[name] = per_name.get(name, 0) + 1
    assert max(per_name.values()) <= SERIES + 10
    total = sum(v for (n, _), v in found.items() if n == "midstream_streams_total")
    assert total == len(many) + len(broken)
    assert sum(v for (n, _), v in found.items() if n == "midstream_cost_USD_total") == len(many) / 2
    assert value(found, "midstream_cost_USD_total", gen_ai_request_model="other", midstream_app="other") == 150
    duration = "gen_ai_client_operation_duration_seconds_count"
    assert value(found, duration, error_type="_OTHER", gen_ai_provider_name="other") == 300 + SERIES


def test_streams_in_flight_are_bounded_too() -> None:
    found = scrape(live=tuple(whole(model_requested=f"m{n}") for n in range(SERIES + 100)))
    shown = {have: v for (n, have), v in found.items() if n == "midstream_active_streams"}
    assert len(shown) == SERIES + 1
    assert sum(shown.values()) == SERIES + 100


@pytest.mark.parametrize(
    "name",
    ['a"b', "a\\b", "a\nb", "a\\n", 'x",le="0"} 1\n# HELP y', "a%sb%d", "\ud800", "\x00", "模型", "m" * 10_000, "{}"],
)
def test_hostile_names_are_no_markup(name: str) -> None:
    row: dict[str, Any] = {"model_requested": name, "app": name, "key": name, "provider": name}
    text = scrape_text(account(Start(model=name), Text("x"), USAGE, END, cost=1.0, **row), live=(whole(**row),))
    text.encode()
    found = scraped(text)
    assert value(found, "gen_ai_client_operation_duration_seconds_count") == 1
    assert all(len(shown) <= 100 for _, have in found for label, shown in have)
    assert {n for n, _ in found} <= set(scraped_names()) | {"target_info"}


def scraped_names() -> Iterator[str]:
    for one in names.INSTRUMENTS:
        suffixes = ("_bucket", "_sum", "_count") if one.kind == "histogram" else ("",)
        yield from (one.prometheus + suffix for suffix in suffixes)


def test_names_are_opentelemetrys_in_prometheus_spelling() -> None:
    spelled = {one.name: one.prometheus for one in names.INSTRUMENTS}
    assert spelled["gen_ai.client.operation.duration"] == "gen_ai_client_operation_duration_seconds"
    assert spelled["gen_ai.client.token.usage"] == "gen_ai_client_token_usage"
    assert spelled["midstream.paused"] == "midstream_paused_seconds_total"
    assert spelled["midstream.cost"] == "midstream_cost_USD_total"
    assert spelled["midstream.active_streams"] == "midstream_active_streams"


def test_every_metric_says_what_it_is() -> None:
    text = scrape_text(whole(gaps=(0.1,), cost=0.1), healed(), live=(whole(),))
    for family in text_string_to_metric_families(text):
        assert family.documentation
        assert family.type in ("counter", "gauge", "histogram")
    assert 'target_info{service_name="midstream"' in text


def test_attributes_are_those_that_the_instrument_declares() -> None:
    """docs and dashboard go by what it declares."""
    found = scrape(
        whole(gaps=(0.1,), cost=0.1, key="k", paused_ms=1.0, resumes=1),
        healed(app="x"),
        account(Malformed("x"), Failure("no", type="e")),
        live=(whole(),),
    )
    declared = {one.prometheus: {names.label_name(label) for label in one.labels} for one in names.INSTRUMENTS}
    for name, have in found:
        base = next((b for b in (name, name.rpartition("_")[0]) if b in declared), None)
        assert base or name == "target_info"
        assert base is None or {label for label, _ in have} - {"le"} <= declared[base], name


def test_gaps_fall_into_buckets() -> None:
    gaps = Gaps()
    for gap in (5.0, 10.0, 11.0, 500.0):
        gaps.add(gap)
    gaps.together = 3
    assert gaps.counts([10.0, 20.0]) == [5, 1, 1]
    assert gaps.total == 526.0
    assert Gaps().counts([1.0]) == [0, 0]
    assert Gaps().total == 0.0


def test_a_sample_of_gaps_stands_for_all() -> None:
    gaps = Gaps()
    for n in range(GAPS * 4):
        gaps.add(10.0 if n % 4 else 100.0)
    counts = gaps.counts([20.0, 200.0])
    assert sum(counts) == GAPS * 4
    assert counts[0] == pytest.approx(GAPS * 3, rel=0.1)
    assert gaps.total == pytest.approx(GAPS * (3 * 10 + 100), rel=0.1)


def test_counters_never_fall() -> None:
    tallies = Tallies()
    for amount in (1.0, -5.0, 0.0, float("nan")):
        tallies.add(names.COST, (), amount)
    assert tallies.families()[0].points[()].value == 1.0


def test_nothing_counted_is_no_metric() -> None:
    assert scrape_text().count("# TYPE") == 3  # target_info, and the two that are asked for at the scrape


def test_a_scrape_of_two_hundred_label_sets_takes_less_than_50_ms() -> None:
    tallies = Tallies()
    for n in range(SERIES):
        call = labels(
            (names.OPERATION, "chat"),
            (names.PROVIDER, "openai"),
            (names.ASKED, f"gpt-4o-{n}"),
            (names.SERVED, f"gpt-4o-{n}-2024-11-20"),
            (names.ADDRESS, "api.openai.com"),
            (names.PORT, 443),
        )
        for instrument in names.INSTRUMENTS:
            if instrument.kind == "histogram":
                tallies.observe(instrument, call, 1.5)
            else:
                tallies.add(instrument, call)
    exposition.text(tallies.families(), ())
    took = []
    for _ in range(10):
        began = time.thread_time()
        text = exposition.text(tallies.families(), ())
        took.append(time.thread_time() - began)
    assert text.count("\n") > 15_000
    assert min(took) < 0.05


def test_a_watcher_takes_any_account() -> None:
    """Also one of which nothing is known."""
    bare = Account(Observation(record(), 0.0))
    Accounting(Tallies(), Config.default).close(bare)
