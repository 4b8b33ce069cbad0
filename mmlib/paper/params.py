"""What a request brings, read and refused in the exchange's words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from mmlib.paper.errors import UNKNOWN_SYMBOL, ApiError, illegal, missing
from mmlib.paper.steps import parse

_CLIENT_ID = re.compile(r"[\.A-Z\:/a-z0-9_-]{1,36}")
_INT = re.compile(r"-?[0-9]{1,19}")


class Params:
    """Parameters by name; every value as text, however it came."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.given = {name: _text(value) for name, value in given.items() if value is not None}

    def __contains__(self, name: str) -> bool:
        return bool(self.given.get(name))

    def text(self, name: str, default: str | None = None) -> str:
        """A word.

        Raises:
            ApiError: it is absent and has no default.
        """
        found = self.given.get(name, "")
        if found:
            return found
        if default is None:
            raise missing(name)
        return default

    def choice(
        self, name: str, known: Iterable[str], code: int, what: str, default: str | None = None
    ) -> str:
        """One of a few words.

        Raises:
            ApiError: ``code`` for another.
        """
        found = self.text(name, default)
        if found not in known:
            raise ApiError(code, what)
        return found

    def symbol(self, known: Mapping[str, Any]) -> str:
        """A symbol that is traded."""
        found = self.text("symbol")
        if found not in known:
            raise UNKNOWN_SYMBOL
        return found

    def symbols(self, known: Mapping[str, Any]) -> list[str] | None:
        """The symbols asked for; None for all. They come one by one or as a JSON list."""
        if "symbol" in self:
            return [self.symbol(known)]
        if "symbols" in self:
            names = [one.strip("\"' ") for one in self.text("symbols").strip("[]").split(",")]
            if any(name not in known for name in names):
                raise UNKNOWN_SYMBOL
            return names
        return None

    def integer(self, name: str, default: int | None = None) -> int:
        """A whole number."""
        found = self.given.get(name, "")
        if not found:
            if default is None:
                raise missing(name)
            return default
        if not _INT.fullmatch(found):
            raise illegal(name)
        return int(found)

    def maybe_integer(self, name: str) -> int | None:
        """A whole number, or None where it is absent."""
        return self.integer(name) if name in self else None

    def limit(self, default: int, most: int) -> int:
        """How many rows are wanted."""
        found = self.integer("limit", default)
        if found < 1:
            raise ApiError(-1130, "Data sent for parameter 'limit' is not valid.")
        return min(found, most)

    def decimal(self, name: str, default: Decimal | None = None) -> Decimal:
        """A decimal number."""
        found = self.given.get(name, "")
        if not found:
            if default is None:
                raise missing(name)
            return default
        value = parse(found)
        if value is None or "e" in found.lower():
            raise illegal(name)
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        """True or false."""
        found = self.given.get(name, "").lower()
        if not found:
            return default
        if found not in ("true", "false"):
            raise illegal(name)
        return found == "true"

    def client_id(self, name: str) -> str:
        """A client order id; empty where it is absent."""
        found = self.given.get(name, "")
        if found and not _CLIENT_ID.fullmatch(found):
            raise illegal(name)
        return found

    def span(self) -> tuple[int, int]:
        """``startTime`` and ``endTime`` [ms]; everything where they are absent."""
        return self.integer("startTime", 0), self.integer("endTime", 2**62)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
