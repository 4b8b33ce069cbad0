"""Cheaper imports of the notebook stack."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def absent(name: str) -> Iterator[None]:
    """Let a module that others treat as optional be missing for them; afterwards it can be imported normally again."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # documented meaning: importing it raises ImportError
    try:
        yield
    finally:
        sys.modules.pop(name, None)


@contextmanager
def light_jsonschema() -> Iterator[None]:
    """Keep jsonschema from loading its IRI grammar (two seconds) while something first imports it.

    No schema of ours uses that format.
    """
    with absent("rfc3987_syntax"):
        yield
