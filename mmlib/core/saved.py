"""The whole state of a replay as plain arrays by name, and back: what a checkpoint holds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mmlib.core.book import ASK_FROM, ASK_TO, BID_FROM, BID_TO, NO_BID, Book
from mmlib.core.state import Arms, Market

_SHARED = ("stats", "control")
_OWN = ("state", "orders", "resting", "requests", "responses", "quote")


def save(market: Market, arms: Arms) -> dict[str, np.ndarray]:
    """Copies of everything that changes while a replay runs.

    Of a book only the extent that was ever written is kept, so that the size does not depend on its capacity.
    """
    held = {name: getattr(market, name).copy() for name in _SHARED}
    held |= {f"arms.{name}": getattr(arms, name).copy() for name in _OWN}
    held["capacity"] = np.array(len(market.local.bid_qty))
    for name in ("exchange", "local"):
        book: Book = getattr(market, name)
        bids, asks = _extents(book.top)
        held |= {
            f"{name}.top": book.top.copy(),
            f"{name}.bids": book.bid_qty[bids].copy(),
            f"{name}.asks": book.ask_qty[asks].copy(),
        }
    return held


def restore(market: Market, arms: Arms, held: Mapping[str, np.ndarray]) -> None:
    """Put a saved state into a fresh market of the saved capacity and fresh arms, in place.

    Raises:
        ValueError: an array is absent or does not fit: the state of another version.
    """
    for name in _SHARED:
        _put(getattr(market, name), held, name)
    for name in _OWN:
        _put(getattr(arms, name), held, f"arms.{name}")
    for name in ("exchange", "local"):
        book: Book = getattr(market, name)
        _put(book.top, held, f"{name}.top")
        bids, asks = _extents(book.top)
        _put(book.bid_qty[bids], held, f"{name}.bids")
        _put(book.ask_qty[asks], held, f"{name}.asks")


def _extents(top: np.ndarray) -> tuple[slice, slice]:
    """Price ticks ever written on each side since everything was cleared."""
    bids = slice(int(top[BID_FROM]), int(top[BID_TO]) + 1) if top[BID_TO] != NO_BID else slice(0, 0)
    asks = slice(int(top[ASK_FROM]), int(top[ASK_TO]) + 1) if top[ASK_TO] != NO_BID else slice(0, 0)
    return bids, asks


def _put(target: np.ndarray, held: Mapping[str, np.ndarray], name: str) -> None:
    given = held.get(name)
    if given is None or given.dtype != target.dtype or given.shape != target.shape:
        found = "nothing" if given is None else f"{given.dtype}{list(given.shape)}"
        raise ValueError(f"{name}: {found}; expected {target.dtype}{list(target.shape)}")
    target[...] = given
