"""What ``live:EXCHANGE`` says: the exchange, another address, a recording; a query of the source, so notebooks have it too."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

from mmlib._io import UserError
from mmlib.market.live.lookup import venue_of
from mmlib.market.live.venues import Venue

RESUME_ENV = "FINISHLINE_RESUME"
"""Set to 1, a session that was cut off goes on where its last synced second ended."""


@dataclass(frozen=True)
class LiveUri:
    """A live source.

    Attributes:
        exchange: such as ``binanceusdm``.
        url: replaces the exchange's addresses; empty for its own.
        record: where the raw stream is kept; None for nowhere.
    """

    exchange: str
    url: str = ""
    record: Path | None = None

    @classmethod
    def parse(cls, uri: str) -> LiveUri:
        """Read ``live:EXCHANGE[?url=...&record=...]``.

        Raises:
            UserError: not such a source; an unknown exchange; an address that is none, or that carries a key.
        """
        kind, _, rest = uri.partition(":")
        name, _, query = rest.partition("?")
        if kind != "live" or not name:
            raise UserError(f"source {uri!r}: expected live:EXCHANGE")
        given = dict(parse_qsl(query, keep_blank_values=True))
        for key in given:
            if key not in ("url", "record"):
                raise UserError(
                    f"source 'live:{name}': option {key!r} is unknown; expected url or record (data are public)"
                )
        record = Path(given["record"]).expanduser() if given.get("record") else None
        parsed = cls(name, given.get("url", ""), record)
        parsed.venue()
        return parsed

    def venue(self) -> Venue:
        """The exchange with its addresses."""
        return venue_of(self.exchange, self.url)

    def text(self) -> str:
        """The source that ``parse`` reads."""
        given = {"url": self.url, "record": str(self.record) if self.record else ""}
        query = urlencode({key: value for key, value in given.items() if value}, safe=":/,")
        return f"live:{self.exchange}" + (f"?{query}" if query else "")


def resume_wanted() -> bool:
    """Whether a session that was cut off shall go on."""
    return os.environ.get(RESUME_ENV, "") == "1"
