"""The one grammar of numbers in parameter files, gates, mappings, profiles, market presets and ``--set``.

A number is what every reader takes for the same decimal number: ``150``, ``-1``, ``+1``, ``.5``, ``1.``, ``1e-6``, ``1_000``
(digits in groups of three). What looks like a number and means different things to readers is refused: ``0150`` (octal to
YAML 1.1), ``1:30`` (base 60 to YAML 1.1), ``0x10``, ``0o7``, ``0b1``, ``1_00``, infinity and NaN. Everything else is text.
"""

from __future__ import annotations

import math
import re

_DIGITS = r"(?:0|[1-9][0-9]{0,2}(?:_[0-9]{3})+|[1-9][0-9]*)"
_WHOLE = re.compile(rf"[-+]?{_DIGITS}")
_REAL = re.compile(rf"[-+]?(?:{_DIGITS}(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_DOUBTFUL = (
    (re.compile(r"[-+]?0[xXoObB][0-9a-fA-F_]+"), "is not decimal"),
    (
        re.compile(r"[-+]?[0-9][0-9_]*(?::[0-9_]+)+(?:\.[0-9_]*)?"),
        "is base 60 to some readers and a time to others",
    ),
    (re.compile(r"[-+]?\.?(?:inf|infinity|nan)", re.IGNORECASE), "is not finite"),
    (
        re.compile(r"[-+]?0[0-9_]+(?:\.[0-9_]*)?(?:[eE][-+]?[0-9]+)?"),
        "is octal to some readers and decimal to others",
    ),
    (
        re.compile(r"[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9_]+)?"),
        "has digits that are not in groups of three",
    ),
)
LOOKS_LIKE = re.compile(
    "(?:"
    + "|".join(pattern.pattern for pattern in (_WHOLE, _REAL))
    + "|"
    + "|".join(
        pattern.pattern if not pattern.flags & re.IGNORECASE else f"(?i:{pattern.pattern})"
        for pattern, _ in _DOUBTFUL
    )
    + r")\Z"
)
"""What is read as a number or refused; any other text is text."""
EXPECTED = "expected a decimal number such as 150, 0.5, 1e-6 or 1_000, or the text in quotes"
_LONGEST = 400  # characters; Python refuses to convert thousands of digits


def number(text: str) -> int | float:
    """The value of a number.

    Raises:
        ValueError: it is ambiguous, not finite or no number; says which, and what was expected.
    """
    if len(text) > _LONGEST:
        raise ValueError(f"a number of {len(text)} characters; {EXPECTED}")
    if _WHOLE.fullmatch(text):
        return int(text.replace("_", ""))
    if _REAL.fullmatch(text):
        value = float(text.replace("_", ""))
        if math.isinf(value):
            raise ValueError(f"{text} is too large; {EXPECTED}")
        return value
    why = next((reason for pattern, reason in _DOUBTFUL if pattern.fullmatch(text)), "is no number")
    raise ValueError(f"{text} {why}; {EXPECTED}")
