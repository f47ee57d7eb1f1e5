"""docs/grafana.json: a dashboard that loads, of queries that parse and find what they ask for in a scrape."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest

from midstream.config.tables import Target
from midstream.events import END, Failure, Malformed, Text
from midstream.watch import names
from watch.test_metrics import Scrape, account, healed, scrape, targets, whole

__all__ = ["targets"]

DASHBOARD = json.loads((Path(__file__).parent.parent.parent / "docs" / "grafana.json").read_text())
VARIABLES = {"$__rate_interval": "1m", "$__range": "1h", "$provider": ".*", "$model": ".*"}


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def filled(query: str) -> str:
    """As Grafana sends it."""
    for variable, value in VARIABLES.items():
        query = query.replace(variable, value)
    assert "$" not in query, query
    return query


QUERIES = sorted({filled(target["expr"]) for panel in panels() for target in panel["targets"]})


def selectors(node: Any) -> Iterator[Any]:
    """Every vector selector below a node of the syntax tree."""
    if isinstance(node, promql.VectorSelector):
        yield node
    for name in ("expr", "lhs", "rhs", "param", "vector_selector"):
        if (below := getattr(node, name, None)) is not None:
            yield from selectors(below)
    for argument in getattr(node, "args", None) or []:
        yield from selectors(argument)


def groups(node: Any) -> Iterator[str]:
    """Every label that a `by` names."""
    if isinstance(node, promql.AggregateExpr) and node.modifier is not None:
        yield from node.modifier.labels
    for name in ("expr", "lhs", "rhs"):
        if (below := getattr(node, name, None)) is not None:
            yield from groups(below)
    for argument in getattr(node, "args", None) or []:
        yield from groups(argument)


@pytest.fixture
def found(targets: Any) -> Scrape:
    """A scrape after all that can happen to streams."""
    targets.of(Target("openai", "gpt-4o"), 0.0)
    return scrape(
        whole(gaps=(0.1,), cost=0.1, key="mobile", paused_ms=10.0, resumes=1),
        healed(),
        account(Text("x"), Malformed("no JSON"), END),
        account(Failure("no", type="server_error")),
        live=(whole(),),
    )


def samples_of(found: Scrape, selector: Any) -> list[dict[str, str]]:
    """What Prometheus would find, without the ranges."""
    matchers = [(m.name, m.op, m.value) for m in selector.matchers.matchers]
    named = [dict(have) for name, have in found if name == selector.name]
    return [have for have in named if all(_matches(have.get(n, ""), str(op), v) for n, op, v in matchers)]


def _matches(have: str, op: str, value: str) -> bool:
    equal = have == value if op.endswith("Equal") else re.fullmatch(value, have) is not None
    return equal != ("Not" in op)


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_finds_what_it_asks_for(query: str, found: Scrape) -> None:
    parsed = promql.parse(query)
    asked = list(selectors(parsed))
    assert asked
    for selector in asked:
        hits = samples_of(found, selector)
        assert hits, f"nothing in a scrape is {selector.prettify()}"
    grouped = set(groups(parsed))
    shown = {label for selector in asked for have in samples_of(found, selector) for label in have}
    assert grouped <= shown


def test_a_query_for_what_is_not_there_is_found_out(found: Scrape) -> None:
    for wrong in (
        'midstream_streams_total{midstream_outcom="complete"}',
        "midstream_stream_total",
        'midstream_cost_USD_total{a!=""}',
    ):
        selector = next(selectors(promql.parse(wrong)))
        assert samples_of(found, selector) == []


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: str(panel["title"]))
def test_legends_show_labels_that_the_query_keeps(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        kept = set(groups(promql.parse(filled(target["expr"]))))
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= kept


def test_every_metric_of_ours_is_on_it() -> None:
    asked = {s.name for query in QUERIES for s in selectors(promql.parse(query))}
    bases = {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked}
    assert bases == {one.prometheus for one in names.INSTRUMENTS}


def test_the_variables_are_filled_from_labels_that_exist(found: Scrape) -> None:
    listed = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert set(listed) == {"datasource", "provider", "model"}
    for name in ("provider", "model"):
        match = re.fullmatch(r"label_values\((.+), (\w+)\)", listed[name]["query"]["query"])
        assert match
        selector = next(selectors(promql.parse(filled(match[1]))))
        assert any(match[2] in have for have in samples_of(found, selector))


def test_it_is_a_dashboard_that_grafana_imports() -> None:
    """What its importer asks for: no id of another installation, unique panels within the grid, no uid of a data source."""
    assert DASHBOARD["title"]
    assert DASHBOARD.get("id") is None
    assert DASHBOARD["schemaVersion"] >= 36
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken
        taken |= cells
    for panel in panels():
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs)
