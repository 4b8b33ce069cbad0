"""What watches every live session: its status file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mmlib.engine.realtime.loop import LiveLoop, Observer
from mmlib.engine.realtime.status import SUFFIX, StatusFile

if TYPE_CHECKING:
    from mmlib.config.models import Config


@contextmanager
def watching(
    feeds: Path, config: Config, arms: Sequence[str]
) -> Iterator[Callable[[LiveLoop], list[Observer]]]:
    """Make the observers of a session in ``feeds``; they end with the block."""
    status = StatusFile(feeds.with_name(feeds.name + SUFFIX))

    def observe(_: LiveLoop) -> list[Observer]:
        return [status]

    try:
        yield observe
    finally:
        status.close()
