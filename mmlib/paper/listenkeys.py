"""Listen keys: the name of a user stream, good for an hour unless it is kept."""

from __future__ import annotations

import secrets
import time

from mmlib.paper.errors import ApiError
from mmlib.paper.party import Party

LIFETIME_S = 3600.0


def begin(party: Party) -> dict[str, str]:
    """Begin a user stream, or keep the one that is there."""
    if not party.listen_key or party.listen_until < time.time():
        party.listen_key = secrets.token_urlsafe(48)[:64]
    party.listen_until = time.time() + LIFETIME_S
    return {"listenKey": party.listen_key}


def keep(party: Party) -> dict[str, str]:
    """Keep the user stream for another hour.

    Raises:
        ApiError: there is none.
    """
    if not party.listen_key or party.listen_until < time.time():
        raise ApiError(-1125, "This listenKey does not exist.")
    party.listen_until = time.time() + LIFETIME_S
    return {"listenKey": party.listen_key}


def expire(party: Party, now_ms: int) -> None:
    """The listen key is over: say so to the streams that used it."""
    key, party.listen_key = party.listen_key, ""
    if key:
        party.say({"e": "listenKeyExpired", "E": now_ms, "listenKey": key})
