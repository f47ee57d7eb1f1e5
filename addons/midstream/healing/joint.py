"""Where a new text goes on from an old one: strings alone. How the new one is cut into pieces never changes the result."""

from __future__ import annotations

from typing import Literal

REPEAT = 32
"""Characters that a new text must share with the old one's beginning to be an answer begun anew: from there on it must repeat
all of the old one. Fewer may be shared by chance: lines, rows and paragraphs of one answer begin alike."""

OVERLAP = 12
"""Characters of the old text's end that a new one must begin with for them to be dropped. Less than that an answer may rightly
say twice (`very very`, `null, null`)."""

WORD = 3
"""Letters of an unfinished last word that a new text must begin with for them to be dropped: where a space is missing, `saf` and
`safety` are one word begun twice. Also, after a prefill, the least of an old text that is known again whole."""

BLANK_LINE = "\n\n"


class Joint:
    """Feed a text that is to go on from `old`; pass on what comes back. Decided in this order:

    1. A text that repeats all of the old one is cut to what is new. One that shares REPEAT characters with its beginning, and
       then says something else, cannot be joined: `failed` says so.
    2. An end of the old text that the new one begins with is dropped, from OVERLAP characters on. So is a last word without
       anything after it; not after a prefill, for a model that goes on from its own text does not look back. What says one
       thing again and again (`-----`, `0, 0, 0,`) is not dropped: more of it is as likely.
    3. Anything else is joined as it is.
    After each, white space that the old text ends in is not said again; but in 3, where the model saw it, a line break is.

    limit: characters that are held at most until this is decided; below REPEAT, only short texts are known again.
    """

    def __init__(self, old: str, *, limit: int, prefilled: bool) -> None:
        self.failed = ""
        self._state: Literal["looking", "repeating", "spacing", "through"] = "looking"
        self._limit = limit
        self._prefilled = prefilled
        self._old = old.rstrip()
        self._space = old[len(self._old) :]
        self._whole = self._old.lstrip()
        self._overlaps = self._possible_overlaps()
        self._held = self._lead = ""
        self._at = 0

    @property
    def through(self) -> bool:
        """Whether all is decided: whatever comes now is new."""
        return self._state == "through"

    def feed(self, text: str) -> str:
        """Take a piece; return what is new, as far as that is known."""
        match self._state:
            case "through":
                return text
            case "looking":
                self._held += text
                return self._look(last=len(self._held) >= self._limit)
            case "repeating":
                return self._repeat(text)
            case "spacing":
                return self._unspaced(text)

    def end(self) -> str:
        """The text is over, for the answer is, or goes on with something else: return what was held and is new."""
        new = self._look(last=True) if self._state == "looking" else ""
        if self._state == "repeating":
            new = self._cut_short()
        self._state = "through"
        return new

    def _possible_overlaps(self) -> list[int]:
        most = min(len(self._old), self._limit)
        word = 0
        while not self._space and word < most and self._old[-1 - word].isalpha():
            word += 1
        begun_word = [word] if WORD <= word < OVERLAP and not self._prefilled else []
        return begun_word + list(range(OVERLAP, most + 1))

    def _look(self, *, last: bool) -> str:
        """Decide, or wait. last: there is no more to look at than is held."""
        held = self._held
        seen = held[: self._limit]
        body = seen.lstrip()
        lead = len(seen) - len(body)
        same = _common(body, self._whole)
        if same >= REPEAT or self._is_all(same, body[same : same + 1]):
            self._state, self._held, self._lead = "repeating", "", held[:lead]
            return self._repeat(held[lead:])
        if same == len(body) and not last:
            return ""
        overlap = self._overlap(body, lead, last=last)
        if overlap is None:
            return ""
        self._state, self._held = "spacing", ""
        if self._space == "\n" and not overlap and not self._prefilled:
            self._space = ""  # one line break after another may be the blank line before a paragraph
        return self._unspaced(held[lead + overlap :] if overlap else held)

    def _is_all(self, same: int, after: str) -> bool:
        """Whether the old text comes again whole, and this comes after it. What goes on from a prefill may rightly begin with its
        one or two letters, unless they are a word."""
        whole = self._whole
        if not whole or same < len(whole):
            return False
        a_word = bool(after) and whole[-1].isalnum() and not after.isalnum()
        return not self._prefilled or same >= WORD or a_word

    def _overlap(self, body: str, lead: int, *, last: bool) -> int | None:
        """How much of the new text the old one ends with; None while that is not known."""
        old = self._old
        least = OVERLAP if lead else 0
        self._overlaps = [n for n in self._overlaps if n >= least and old.startswith(body[:n], len(old) - n)]
        longest = self._overlaps[-1] if self._overlaps else 0
        if longest > len(body) and not last:
            return None
        longest = max((n for n in self._overlaps if n <= len(body)), default=0)
        return 0 if _repeats_itself(body[:longest]) else longest

    def _repeat(self, text: str) -> str:
        """The answer was begun anew: suppress it as far as the old text goes."""
        same = len(text) if self._whole.startswith(text, self._at) else _common(text, self._whole[self._at :])
        self._at += same
        if self._at == len(self._whole):
            self._state = "spacing"
            return self._unspaced(text[same:])
        if same < len(text):
            self.failed = f"the answer was begun anew, and is another after {self._at} characters"
        return ""

    def _cut_short(self) -> str:
        """An answer begun anew is over before all of the old one came. Where that ends in the same as it begins with, this was
        none, but more of the same."""
        said = self._whole[: self._at]
        if self._at <= self._limit and self._old.endswith(said.rstrip()):
            return self._unspaced(self._lead + said)
        self.failed = f"the answer was begun anew, and was over after {self._at} characters"
        return ""

    def _unspaced(self, text: str) -> str:
        """The text less what it repeats of the white space at the old one's end."""
        same = _common(text, self._space)
        self._space = self._space[same:]
        if text[same:] or not self._space:
            self._state = "through"
        return text[same:]


class Thoughts:
    """Feed the reasoning of an answer begun anew; pass on what comes back: what repeats the old one is cut, anything else stands
    below it after a blank line. Reasoning is not the answer, so it never fails."""

    def __init__(self, old: str, *, limit: int) -> None:
        self.through = False
        self._old = old
        self._least = min(REPEAT, limit)
        self._at = 0

    def feed(self, text: str) -> str:
        """Take a piece; return what is new, as far as that is known."""
        old = self._old
        if self.through:
            return text
        if old.startswith(text, self._at):
            self._at += len(text)
            self.through = self._at == len(old)
            return ""
        same = _common(text, old[self._at :])
        self._at += same
        self.through = True
        if self._at == len(old):
            return text[same:]
        blank = "" if old.endswith(BLANK_LINE) else BLANK_LINE
        return blank + old[self._again() : self._at] + text[same:]

    def _again(self) -> int:
        """From where to say again what was taken for a repetition: all of it, or the word in which it stopped being one."""
        if self._at < self._least:
            return 0
        word = max(self._old.rfind(" ", 0, self._at), self._old.rfind("\n", 0, self._at)) + 1
        return max(word, self._at - self._least)


def _common(one: str, other: str) -> int:
    """How many characters two texts begin with both."""
    for at, (mine, others) in enumerate(zip(one, other, strict=False)):
        if mine != others:
            return at
    return min(len(one), len(other))


def _repeats_itself(text: str) -> bool:
    """Whether a text is one thing said twice or more, the last time perhaps in part."""
    return any(text.startswith(text[period:]) for period in range(1, len(text) // 2 + 1))
