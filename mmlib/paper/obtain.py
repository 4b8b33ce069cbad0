"""The feeds of a step: the workbook's own session, or one of bots on the paper exchange, whose server is imported only then."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmlib.config.models import Config
from mmlib.engine.session import obtain_feeds as obtain_own
from mmlib.engine.spec import SessionSpec


def obtain_feeds(
    spec: SessionSpec, config: Config, feeds: Path, *, ws: Path, bots: Sequence[str] = (), **given: Any
) -> Path:
    """As `engine.session.obtain_feeds`; with ``bots``, a session of those on the paper exchange.

    Args:
        ws: the workspace; logs of the bots go below it.
        bots: what `bots.read_bot` takes, one an arm.
        given: what `engine.session.obtain_feeds` takes beside.

    Raises:
        UserError: as there, and as `session.run_bots`.
    """
    bots = [one for one in bots if one]
    if not bots:
        return obtain_own(spec, config, feeds, **given)
    from mmlib.paper.session import run_bots

    named = {name: given[name] for name in ("quarantine", "stops", "progress") if name in given}
    return run_bots(spec, config, feeds, ws=ws, bots=bots, **named).feeds
