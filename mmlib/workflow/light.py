"""Cheaper imports of the notebook stack."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def light_jsonschema() -> Iterator[None]:
    """Keep jsonschema from loading its IRI grammar (two seconds) while something first imports it.

    jsonschema treats ``rfc3987_syntax`` as optional and no schema of ours uses that format; afterwards the
    package can be imported normally again.
    """
    name = "rfc3987_syntax"
    if name in sys.modules or "jsonschema" in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # documented meaning: importing it raises ImportError
    try:
        yield
    finally:
        sys.modules.pop(name, None)
