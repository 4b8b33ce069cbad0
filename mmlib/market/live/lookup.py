"""An exchange by its name: read raw, or through ccxt."""

from __future__ import annotations

from mmlib._extras import need
from mmlib.market.live.venues import VENUES, Venue, raw_venue_of


def venue_of(name: str, url: str = "") -> Venue:
    """An exchange by name, read raw where that is possible and through ccxt where not.

    Args:
        name: as in ``live:NAME``.
        url: replaces its addresses: one base for both protocols, or ``REST,WS``.

    Raises:
        UserError: unknown exchange, one without streams, an address of another protocol, or one that carries a name, a
            password or a query; ccxt is asked for and not installed.
    """
    if name in VENUES:
        return raw_venue_of(name, url)
    need("ccxt", f"live:{name} (read without it: {', '.join(VENUES)})")
    from mmlib.market.live.ccxt_exchanges import ccxt_venue

    return ccxt_venue(name, url)
