"""docs/translation.md is true: every cell of its tables, from every dialect that can say it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from midstream.conversation import Conversation, Inexpressible
from midstream.dialects.prefill import PROVIDERS
from translated import DIALECTS, FEATURES, MODELS, again, body_of, read, write

DOC = (Path(__file__).parents[2] / "docs" / "translation.md").read_text()
HEAD = "a request says"


def rows_of(*columns: str) -> list[list[str]]:
    """The rows of the table with these columns."""
    head = f"| {' | '.join(columns)} |".replace("|  |", "| |")
    lines = DOC.splitlines()
    rows = lines[lines.index(head) + 2 :]
    ends = next((n for n, line in enumerate(rows) if not line.startswith("|")), len(rows))
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[:ends]]


CELLS = [
    (feature, target, MODELS[target], cell)
    for feature, *cells in rows_of(HEAD, *(f"`{name}`" for name in DIALECTS))
    for target, cell in zip(DIALECTS, cells, strict=True)
]
BY_MODEL = [
    (feature, target.strip("`"), model.strip("`"), cell)
    for feature, target, model, cell in rows_of(HEAD, "target", "model", "")
]


def sources_of(feature: str, target: str) -> list[str]:
    return [source for source in FEATURES[feature].says if source != target]


def asked(feature: str, source: str) -> Conversation:
    return read(source, body_of(source, **FEATURES[feature].says[source]))


def test_the_table_has_a_row_for_every_feature_and_no_other() -> None:
    assert [feature for feature, target, *_ in CELLS if target == "gemini"] == list(FEATURES)


@pytest.mark.parametrize(("feature", "target", "cell"), [(f, t, c) for f, t, _, c in CELLS])
def test_a_dash_stands_where_no_other_dialect_can_say_it(feature: str, target: str, cell: str) -> None:
    assert (cell == "—") == (not sources_of(feature, target))


@pytest.mark.parametrize(
    ("feature", "source", "target", "model", "cell"),
    [(f, source, t, model, cell) for f, t, model, cell in CELLS + BY_MODEL for source in sources_of(f, t)],
)
def test_a_cell(feature: str, source: str, target: str, model: str, cell: str) -> None:
    outcome, _, words = cell.partition(": ")
    conversation = asked(feature, source)
    if outcome == "ruled out":
        with pytest.raises(Inexpressible) as told:
            write(target, conversation, model)
        assert words in str(told.value)
        return
    written = write(target, conversation, model)
    if outcome == "dropped":
        check_names(words, written.dropped)
        return
    assert cell == "kept"
    assert written.dropped == ()
    means = FEATURES[feature].means
    assert means(again(target, written, model)) == means(replace(conversation, model=model))


def check_names(words: str, dropped: tuple[str, ...]) -> None:
    """Each is named, by its place in the client's own request (`generationConfig.responseLogprobs`)."""
    names = sorted(word.strip("`") for word in words.split(", "))
    assert len(dropped) == len(names)
    for name, said in zip(names, sorted(dropped), strict=True):
        assert said.lower().endswith(name.lower())


@pytest.mark.parametrize(
    ("feature", "source"), [(feature, source) for feature in FEATURES for source in FEATURES[feature].says]
)
def test_its_own_dialect_keeps_every_word(feature: str, source: str) -> None:
    body: dict[str, Any] = {**body_of(source, **FEATURES[feature].says[source]), "stream": False}
    written = write(source, asked(feature, source), "m")
    assert written.dropped == ()
    assert {**written.body, "stream": False} == body if source != "gemini" else without(body, "stream")


def without(body: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != key}


def test_the_table_of_prefills_is_the_one_that_is_used() -> None:
    words = {True: "yes", False: "no", None: "by its model"}
    told = {
        name: [f"`{mark(key, value)}` in the message" for key, value in prefill.message.items()]
        + [f"`{mark(key, value)}`" for key, value in prefill.body.items()]
        for name, prefill in PROVIDERS.items()
    }
    assert rows_of("provider", "takes a prefill", "told by") == [
        [f"`{name}`", words[prefill.takes], ", ".join(told[name])] for name, prefill in PROVIDERS.items()
    ]


def mark(key: str, value: Any) -> str:
    return json.dumps({key: value})[1:-1]
