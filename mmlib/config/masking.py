"""Mask what looks like a secret, by the name of its key or by the look of its value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MASK = "***"

_NAMES = re.compile(
    r"key|secret|token|passw|passphrase|credential|private|auth|bearer|cookie|mnemonic|seed_phrase", re.I
)
_VALUES = re.compile(
    r"-----BEGIN|^Bearer\s|^Basic\s|^eyJ[\w-]+\.|^AKIA[0-9A-Z]{12,}|^gh[opsu]_\w{20,}|^xox[a-z]-|://[^/\s:@]+:[^/\s@]+@",
)
_OPAQUE = re.compile(r"^[A-Za-z0-9+/_=-]{20,}$")


def looks_secret(value: str) -> bool:
    """Whether a text looks like a credential: a known form, or 20 opaque letters mixed with digits."""
    if _VALUES.search(value):
        return True
    return bool(_OPAQUE.match(value) and re.search(r"\d", value) and re.search(r"[A-Za-z]", value))


def mask_value(key: str, value: Any) -> Any:
    """``MASK`` in place of a value whose key or text looks secret; mappings and lists are masked inside."""
    if isinstance(value, Mapping):
        return MASK if _NAMES.search(key) else mask(value)
    if isinstance(value, (list, tuple)):
        return MASK if _NAMES.search(key) else [mask_value("", item) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if _NAMES.search(key) or (isinstance(value, str) and looks_secret(value)):
        return MASK
    return value


def mask(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a nested mapping with everything that looks like a secret replaced by ``MASK``."""
    return {str(key): mask_value(str(key), value) for key, value in tree.items()}
