"""mm-finishline: a workbook that takes a market-making bot to production behind gates.

For an analyst: ``import mmlib as mm; soak = mm.load_soak("artifacts/edge/feeds")`` (see ``mmlib.explore``).
"""

from typing import Any

__version__ = "0.1.0"

_LAZY = {"load_soak": "mmlib.explore", "Soak": "mmlib.explore"}


def __getattr__(name: str) -> Any:
    """What an analyst uses, imported when it is first asked for, so that ``import mmlib`` stays light."""
    if name not in _LAZY:
        raise AttributeError(f"module 'mmlib' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
