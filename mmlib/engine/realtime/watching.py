"""What watches every live session: its telemetry, the stop criteria, its status file, and rollbacks of its flags."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmlib._io import UserError
from mmlib.config.rollback import active_rollback
from mmlib.engine.realtime.loop import LiveLoop, Observer
from mmlib.engine.realtime.status import SUFFIX, StatusFile
from mmlib.engine.realtime.stops import StopCriteria
from mmlib.engine.realtime.telemetry import Telemetry
from mmlib.gates.spec import load_gates

if TYPE_CHECKING:
    from mmlib.config.models import Config

_GATES_FILE = Path("params") / "gates.yaml"


class Rollbacks:
    """Observer that brings a rollback of the workspace's flags into the running session."""

    def __init__(self, ws: Path) -> None:
        self._ws = ws
        self._seen = (active_rollback(ws) or {}).get("id")

    def on_tick(self, symbol: str, rows: np.ndarray, errors: dict[str, int]) -> None:
        """See `loop.Observer`."""

    def on_fill(self, symbol: str, fills: np.ndarray) -> None:
        """See `loop.Observer`."""

    def on_second(self, session: LiveLoop, now_ns: int) -> None:
        """See `loop.Observer`."""
        try:
            active = active_rollback(self._ws)
            if active is None or active["id"] == self._seen:
                return
            self._seen = active["id"]
            config = with_values(session.plan.config, active["sets"])
        except (UserError, ValueError) as exc:
            session.ledger.recent.append(f"rollback: cannot be applied ({exc})")
            return
        session.reconfigure(config, str(active.get("reason", "rollback")))


def with_values(config: Config, changed: dict[str, object]) -> Config:
    """The configuration with some dotted keys changed.

    Raises:
        ValueError: a key or value that it does not take.
    """
    from mmlib.config.models import Config as Model

    tree = config.model_dump(mode="json")
    for key, value in changed.items():
        section, _, name = key.rpartition(".")
        if section not in tree or name not in tree[section]:
            raise ValueError(f"{key}: no key of the configuration")
        tree[section][name] = value
    return Model.model_validate(tree)


@contextmanager
def watching(
    feeds: Path, config: Config, symbols: Sequence[str], arms: Sequence[str]
) -> Iterator[Callable[[LiveLoop], list[Observer]]]:
    """Make the observers of a session in ``feeds``; they end with the block. The gates are those of its workspace, if any.

    Raises:
        UserError: the telemetry port is taken, or the gates cannot be read.
    """
    ws = next((place for place in feeds.resolve().parents if (place / _GATES_FILE).is_file()), None)
    gates = [] if ws is None else list(load_gates(ws).step("soak"))
    limits = [gate.limit for gate in gates if gate.unit == "ms"]
    stops = StopCriteria(gates, arms)
    status = StatusFile(feeds.with_name(feeds.name + SUFFIX), stops.rows)
    telemetry = Telemetry(config.telemetry.port, symbols, arms, limits)
    observers: list[Observer] = [telemetry, stops, status]
    if ws is not None:
        observers.append(Rollbacks(ws))
    try:
        yield lambda _: observers
    finally:
        telemetry.close()
        status.close()
