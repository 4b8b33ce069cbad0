"""Regular expressions of a mapping, whose search takes a bounded time on any text."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

STEPS = 2e8
"""Steps of a search, at most; a pattern with more repetitions is applied to shorter texts."""
_NEAR = 8  # a repetition of at most so many has an end
_REPEATS = frozenset({"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"})


class Bounded:
    """A pattern that can be searched for in a time that grows with a small power of the text's length.

    A repetition of what repeats or branches may be searched for ever (``(a+)+``); a mapping needs none.

    Attributes:
        groups: how many it has.
        longest: letters of the longest text that it is applied to.

    Raises:
        ValueError: no regular expression, a repetition or a choice within a repetition, or a reference back.
    """

    def __init__(self, text: str) -> None:
        self._pattern, self.longest = _made(text)
        self.groups = self._pattern.groups
        self.pattern = text

    def search(self, text: str) -> re.Match[str] | None:
        """Where it is in the text.

        Raises:
            ValueError: the text is longer than ``longest``.
        """
        if len(text) > self.longest:
            raise ValueError(
                f"{len(text):,} letters; expected at most {self.longest:,} for the pattern {self.pattern}"
            )
        return self._pattern.search(text)


@lru_cache(64)
def _made(text: str) -> tuple[re.Pattern[str], int]:
    try:
        pattern = re.compile(text)
        tree = list(re._parser.parse(text))  # type: ignore[attr-defined]
        power = _endless(tree, within=False)
    except (re.error, RecursionError, OverflowError) as exc:
        raise ValueError(f"match: {exc}; expected a regular expression") from exc
    begins = bool(tree) and str(tree[0][0]) == "AT" and "BEGINNING" in str(tree[0][1])
    power += 0 if begins else 1  # the search begins at every letter
    return pattern, int(STEPS ** (1 / max(power, 1)))


def _endless(tree: Any, *, within: bool) -> int:
    """Repetitions without a near end that are tried in all combinations."""
    found = beside = 0
    for operation, given in tree:
        name = str(operation)
        if name in _REPEATS:
            _, most, inner = given
            if within and int(most) > 1:
                raise ValueError(
                    "match: a repetition within a repetition; expected none, for it may be searched for ever"
                )
            found += (int(most) > _NEAR) + _endless(inner, within=within or int(most) > 1)
        elif name == "BRANCH":
            if within:
                raise ValueError(
                    "match: a choice within a repetition; expected none, for it may be searched for ever"
                )
            found += max(_endless(one, within=within) for one in given[1])
        elif name in ("ASSERT", "ASSERT_NOT"):  # once it holds it is not tried again
            beside = max(beside, _endless(given[1], within=within))
        elif name == "SUBPATTERN":
            found += _endless(given[-1], within=within)
        elif name == "ATOMIC_GROUP":
            found += _endless(given, within=within)
        elif name in ("GROUPREF", "GROUPREF_EXISTS"):
            raise ValueError("match: a reference back to a group; expected none")
    return max(found, beside)
