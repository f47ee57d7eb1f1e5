"""Where a new text goes on from an old one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, takewhile

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from midstream.healing.joint import OVERLAP, REPEAT, WORD, Joint, Thoughts

LIMIT = 200
FOX = "The quick brown fox jumps over the lazy dog. It runs into the woo"


def join(old: str, pieces: Sequence[str], *, limit: int = LIMIT, prefilled: bool = False) -> tuple[str, str]:
    """What is new, and why there can be no more."""
    joint = Joint(old, limit=limit, prefilled=prefilled)
    new = "".join([joint.feed(piece) for piece in pieces if not joint.failed])
    return (new if joint.failed else new + joint.end()), joint.failed


def joined(old: str, new: str, *, prefilled: bool = False) -> str | None:
    """The whole text; None where it cannot be joined."""
    said, failed = join(old, [new], prefilled=prefilled)
    return None if failed else old + said


EXAMPLES: dict[str, tuple[str, str, str | None]] = {
    # what it shows: (old text, new text, the whole)
    "goes on": ("Hello, wor", "ld!", "Hello, world!"),
    "goes on with a space": ("Hello,", " world", "Hello, world"),
    "one letter twice": ("hel", "lo", "hello"),
    "a word said twice": ("it is very", " very good", "it is very very good"),
    "a word said twice, cut after the space": ("it is very ", "very good", "it is very very good"),
    "a syllable twice": ("ba", "nana", "banana"),
    "begun anew, of one digit": ("1", "1, 2", "1, 2"),
    "begun anew, of two signs": ("**", "**Bold**", "**Bold**"),
    "begun anew": (FOX, FOX + "ds.", FOX + "ds."),
    "begun anew, of one word": ("Hello", "Hello world", "Hello world"),
    "begun anew, of one letter": ("I", "I think", "I think"),
    "begun anew, with a line before it": (FOX, "\n\n" + FOX + "ds.", FOX + "ds."),
    "begun anew, without the line before it": ("\n\n" + FOX, FOX + "ds.", "\n\n" + FOX + "ds."),
    "begun anew, after a space": ("Hello ", "Hello world", "Hello world"),
    "begun anew, and nothing more": (FOX, FOX, FOX),
    "begun anew, and other": (FOX, FOX[:40] + "the cat.", None),
    "begun anew, and over too early": (FOX, FOX[:44], None),
    "begins alike": ("- **Apple**: red\n", "- **Pear**: green", "- **Apple**: red\n- **Pear**: green"),
    "begins alike for long": (
        "x" * REPEAT + "\n",
        "x" * (REPEAT - 1) + "y",
        "x" * REPEAT + "\n" + "x" * (REPEAT - 1) + "y",
    ),
    "an overlap": (FOX, "It runs into the woods.", FOX + "ds."),
    "an overlap, and nothing more": (FOX, " the lazy dog. It runs into the woo", FOX),
    "an overlap of the least length": (FOX, FOX[-OVERLAP:] + "ds.", FOX + "ds."),
    "too short an overlap": ("abcdefghij 12345678901", "12345678901 x", "abcdefghij 1234567890112345678901 x"),
    "an overlap over a line": (
        "## One\n\nSome text\n\n",
        "Some text\n\n## Two",
        "## One\n\nSome text\n\nSome text\n\n## Two",
    ),
    "a longer overlap over a line": (
        "# A\n\nSome more text\n\n",
        "Some more text\n\n# B",
        "# A\n\nSome more text\n\n# B",
    ),
    "an overlap without the space at its end": (
        "# A\n\nSome more text\n",
        "Some more text\n\n# B",
        "# A\n\nSome more text\n\n# B",
    ),
    "of two overlaps the longer": (
        "so. a b a c d e f g a b a c d e f",
        "a b a c d e f g a b a c d e f!",
        "so. a b a c d e f g a b a c d e f!",
    ),
    "the last word begun again": ("It is about saf", "safety first", "It is about safety first"),
    "the last word again": ("It is about safety", "safety first", "It is about safety first"),
    "a short word begun again": ("It is", "isolated", "It isisolated"),
    "the last word, after its space": ("It is about the ", "the end", "It is about the the end"),
    "a rule drawn on": ("Title\n-------------", "-------------\nText", "Title\n--------------------------\nText"),
    "numbers again": ("[0, 0, 0, 0, 0, 0, ", "0, 0, 0, 0, 0, 0]", "[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]"),
    "words again": ("So: tok tok tok tok tok ", "tok tok tok tok", "So: tok tok tok tok tok tok tok tok tok"),
    "nothing but words again": ("tok " * 40, "tok " * 20, "tok " * 60),
    "nothing but words again, from the beginning": ("tok " * 40, "tok " * 60, "tok " * 60),
    "space again": ("Hello, ", " world", "Hello, world"),
    "a line break and another": ("One.\n", "\nTwo.", "One.\n\nTwo."),
    "a blank line again": ("One.\n\n", "\n\nTwo.", "One.\n\nTwo."),
    "less space": ("One.\n\n", "\nTwo.", "One.\n\nTwo."),
    "other space": ("One.\n", " Two.", "One.\n Two."),
    "indented further": ("if x:\n    ", "    return", "if x:\n        return"),
    "nothing": ("Hello", "", "Hello"),
    "space alone": ("Hello ", " ", "Hello "),
    "after white space": ("\n\n", "\n\nHello", "\n\nHello"),
    "another script": ("今日はとても", "いい天気です", "今日はとてもいい天気です"),
    "half an emoji": ("so \ud83d", "\ude00!", "so \ud83d\ude00!"),
}


@pytest.mark.parametrize(("old", "new", "whole"), EXAMPLES.values(), ids=EXAMPLES)
def test_examples(old: str, new: str, whole: str | None) -> None:
    assert joined(old, new) == whole
    said, failed = join(old, list(new))
    assert (None if failed else old + said) == whole


PREFILLED: dict[str, tuple[str, str, str | None]] = {
    "digits": ("1", "10", "110"),
    "a number and its unit": ("1", "1.", "1."),
    "a fence": ("`", "``python", "```python"),
    "the space that was cut off comes again": ("Hello, ", " world", "Hello, world"),
    "the space that was cut off does not come": ("Hello, ", "world", "Hello, world"),
    "more lines than were cut off": ("One.\n", "\n\nTwo.", "One.\n\nTwo."),
    "a line break again": ("One.\n", "\nTwo.", "One.\nTwo."),
    "a word said twice": ("bon", "bon voyage", "bonbon voyage"),
    "begun anew": (FOX, FOX + "ds.", FOX + "ds."),
    "an overlap": (FOX, "It runs into the woods.", FOX + "ds."),
}


@pytest.mark.parametrize(("old", "new", "whole"), PREFILLED.values(), ids=PREFILLED)
def test_after_a_prefill(old: str, new: str, whole: str | None) -> None:
    # "bon" and "bon" is a whole answer begun anew, unless something stands before it
    old, whole = (f"Say {old}", f"Say {whole}") if old == "bon" else (old, whole)
    assert joined(old, new, prefilled=True) == whole


ANSWERS = [
    "Of course! Here is what I found:\n\n1. **Speed** – it is fast, very fast, and it stays fast.\n2. **Safety** – it is "
    "safe, as safe as can be.\n\n> Row, row, row your boat,\n> gently down the stream.\n\nThat that is, is. Bye bye!\n",
    'def test_one() -> None:\n    assert f(1) == 1\n\n\ndef test_two() -> None:\n    assert f(2) == 2\n    """"""\n',
    '{"rows": [{"id": 1, "name": "a", "tags": []}, {"id": 2, "name": "b", "tags": []}], "next": null, "last": null}',
    "| a | b |\n| --- | --- |\n| 1 | 1 |\n| 1 | 2 |\n\n```html\n<td></td><td></td>\n</div></div></div>\n```\n-----------------",
]


@pytest.mark.parametrize("answer", ANSWERS, ids=["prose", "code", "json", "table"])
@pytest.mark.parametrize("prefilled", [False, True])
def test_a_text_that_goes_on_exactly_is_joined_as_it_is_wherever_it_broke(answer: str, prefilled: bool) -> None:
    for at in range(1, len(answer)):
        old, new = answer[:at], answer[at:]
        if not (old[-1].isspace() and new[0].isspace()):  # there the space might be said again: see the examples
            assert joined(old, new, prefilled=prefilled) == answer


@pytest.mark.parametrize("answer", ANSWERS, ids=["prose", "code", "json", "table"])
def test_a_prefill_gives_back_the_space_that_was_cut_off(answer: str) -> None:
    for at in range(1, len(answer)):
        asked = answer[:at].rstrip()
        assert joined(answer[:at], answer[len(asked) :], prefilled=True) == answer


@pytest.mark.parametrize("answer", ANSWERS, ids=["prose", "code", "json", "table"])
@pytest.mark.parametrize("prefilled", [False, True])
def test_an_answer_begun_anew_is_cut_to_what_is_new_wherever_it_broke(answer: str, prefilled: bool) -> None:
    for at in range(WORD if prefilled else 1, len(answer) + 1):
        assert joined(answer[:at], answer, prefilled=prefilled) == answer


LETTERS = st.text("ab \n", max_size=60)
WORDS = st.lists(
    st.sampled_from(["the", "cat", "sat", "on", "a", "and", "12", "34.", "\n", "-", "x,", "saf", "safety"]),
    min_size=1,
    max_size=40,
)
TEXTS = LETTERS | WORDS.map(" ".join)
SPLITS = st.tuples(TEXTS, st.floats(0, 1)).map(lambda said: (said[0], round(len(said[0]) * said[1])))


def is_ambiguous(old: str, new: str) -> bool:
    """Whether a text that goes on exactly also looks like a repetition: of the beginning, of the end, or of its space."""
    end, body = old.rstrip(), new.lstrip()
    same = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(old.strip(), body, strict=False))))
    space = old[-1:].isspace() and new[:1].isspace()
    return (
        space
        or same >= REPEAT
        or same == len(old.strip())
        or any(end.endswith(body[:n]) for n in range(WORD, len(body) + 1))
    )


@given(SPLITS, st.booleans())
def test_an_exact_continuation_is_joined_as_it_is_unless_ambiguous(split: tuple[str, int], prefilled: bool) -> None:
    text, at = split
    assume(not is_ambiguous(text[:at], text[at:]))
    assert joined(text[:at], text[at:], prefilled=prefilled) == text


@given(SPLITS, st.booleans())
def test_a_full_repetition_is_cut_to_what_is_new(split: tuple[str, int], prefilled: bool) -> None:
    text, at = split
    assume(len(text[:at].strip()) >= (WORD if prefilled else 1))
    assert joined(text[:at], text, prefilled=prefilled) == text


NUMBERED = st.lists(st.integers(0, 99_999), min_size=8, max_size=30).map(
    lambda numbers: " ".join(f"w{n}" for n in numbers)
)
"""Texts whose ends do not come twice in them."""


@given(NUMBERED, TEXTS, st.integers(OVERLAP, 60), st.booleans())
def test_an_overlap_is_dropped(text: str, more: str, size: int, prefilled: bool) -> None:
    old, again = f"So {text}", text[-size:]
    assume(len(again.strip()) >= OVERLAP and text.count(again) == 1)
    assume(not any(again.startswith(again[period:]) for period in range(1, len(again) // 2 + 1)))
    assert joined(old, again + more, prefilled=prefilled) == old + more


def chunked(text: str, cuts: Sequence[int]) -> list[str]:
    edges = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    return [text[one:two] for one, two in pairwise(edges)]


CUTS = st.lists(st.integers(0, 200), max_size=12)
RELATED = st.tuples(TEXTS, st.integers(0, 60), TEXTS).flatmap(
    lambda said: st.sampled_from(
        [said[2], said[0] + said[2], said[0][: said[1]] + said[2], said[0][-said[1] :] + said[2]]
    ).map(lambda new: (said[0], new))
)
"""An old text, and a new one that may begin as it does, or as its end."""


@given(RELATED, CUTS, st.sampled_from([0, 1, 5, 13, 40, 200]), st.booleans())
@example(("x" * 40, "x" * 39 + "y"), list(range(40)), 200, False)
def test_chunking_never_changes_the_result(
    texts: tuple[str, str], cuts: list[int], limit: int, prefilled: bool
) -> None:
    old, new = texts
    whole = join(old, [new], limit=limit, prefilled=prefilled)
    for pieces in (chunked(new, cuts), list(new)):
        said, failed = join(old, pieces, limit=limit, prefilled=prefilled)
        assert (said, bool(failed)) == (whole[0], bool(whole[1]))


@given(RELATED, st.sampled_from([0, 1, 5, 13, 40, 200]), st.booleans())
def test_never_more_than_the_limit_is_held(texts: tuple[str, str], limit: int, prefilled: bool) -> None:
    old, new = texts
    said, failed = join(old, [new], limit=limit, prefilled=prefilled)
    assume(not failed)
    cut = len(new) - len(said)
    joint = Joint(old, limit=limit, prefilled=prefilled)
    out = 0
    for fed, letter in enumerate(new, 1):
        out += len(joint.feed(letter))
        assert max(fed - cut, 0) - out <= limit


@given(RELATED, st.booleans())
def test_once_through_everything_comes_out_at_once(texts: tuple[str, str], prefilled: bool) -> None:
    old, new = texts
    joint = Joint(old, limit=LIMIT, prefilled=prefilled)
    for letter in new:
        through = joint.through
        said = joint.feed(letter)
        assert not through or said == letter


@pytest.mark.parametrize("new", ["But", " Then", "\n\n## Then", "ds"])
def test_what_can_be_no_repetition_goes_out_at_once(new: str) -> None:
    joint = Joint("An answer of some length, which was cut in the woo", limit=LIMIT, prefilled=False)
    assert joint.feed(new) == new
    assert joint.through


def test_what_may_be_a_repetition_waits_until_it_is_none() -> None:
    joint = Joint("An answer of some length, which was cut in the woo", limit=LIMIT, prefilled=False)
    assert joint.feed("which was ") == ""
    assert joint.feed("not cut") == "which was not cut"


@pytest.mark.parametrize(("limit", "said"), [(0, FOX), (REPEAT - 1, FOX), (REPEAT, "")])
def test_with_a_limit_below_it_no_long_repetition_is_looked_for(limit: int, said: str) -> None:
    assert join(FOX, [FOX], limit=limit) == (said, "")


def test_a_failure_says_where_it_parted() -> None:
    assert join(FOX, [FOX[:40], "the cat"])[1] == "the answer was begun anew, and is another after 40 characters"
    assert join(FOX, [FOX[:44]])[1] == "the answer was begun anew, and was over after 44 characters"


THOUGHTS: dict[str, tuple[str, str, str]] = {
    # what it shows: (old reasoning, new reasoning, what stands there at last)
    "other": ("Let me see. So", "The user asks", "Let me see. So\n\nThe user asks"),
    "repeated": ("Let me see. So", "Let me see. So it is", "Let me see. So it is"),
    "repeated, and no more": ("Let me see. So", "Let me see. So", "Let me see. So"),
    "shorter": ("Let me see. So", "Let me", "Let me see. So"),
    "begins alike": ("Let me see. So", "Let me think", "Let me see. So\n\nLet me think"),
    "begins alike for long": (
        "The user wants to know about foxes and how they jump",
        "The user wants to know about foxes and horses",
        "The user wants to know about foxes and how they jump\n\nhorses",
    ),
    "begins alike for long, without a space": ("x" * 100, "x" * 90 + "y", "x" * 100 + "\n\n" + "x" * REPEAT + "y"),
    "a blank line is there": ("Let me see.\n\n", "So", "Let me see.\n\nSo"),
    "none": ("", "So", "So"),
}


@pytest.mark.parametrize(("old", "new", "whole"), THOUGHTS.values(), ids=THOUGHTS)
def test_reasoning(old: str, new: str, whole: str) -> None:
    for pieces in ([new], list(new)):
        thoughts = Thoughts(old, limit=LIMIT)
        assert old + "".join(map(thoughts.feed, pieces)) == whole


@given(RELATED, CUTS, st.sampled_from([0, 5, 40]))
def test_chunking_never_changes_the_reasoning(texts: tuple[str, str], cuts: list[int], limit: int) -> None:
    old, new = texts
    thoughts, others = Thoughts(old, limit=limit), Thoughts(old, limit=limit)
    assert "".join(map(thoughts.feed, chunked(new, cuts))) == "".join(map(others.feed, new))
