"""The terminal view of a running session: gates with their margin, ticks, cache, fills, inventory."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from mmlib._io import UserError
from mmlib.config.terminal import drawing, plain

_STALE_S = 10.0


def show(ws: Path, *, once: bool = False, console: Console | None = None) -> int:
    """Show the session that runs in a workspace until it ends, or once; always 0.

    Raises:
        UserError: none of its sessions is running.
    """
    place = console or Console(file=drawing(sys.stdout))
    found = running(ws)
    if found is None:
        raise UserError(f"{ws}: no session is running; expected one started with --source live:EXCHANGE")
    if once:
        place.print(_drawn(found))
        return 0
    with Live(_drawn(found), console=place, refresh_per_second=2, transient=False) as live:
        while (found := running(ws)) is not None:
            live.update(_drawn(found))
            time.sleep(1.0)
    return 0


def running(ws: Path) -> dict[str, Any] | None:
    """The newest status of a session that is alive, None for none."""
    from mmlib.engine.realtime.status import SUFFIX

    newest: dict[str, Any] | None = None
    for path in (ws / "artifacts").rglob(f"*{SUFFIX}"):
        try:
            status = dict(json.loads(path.read_text(encoding="utf-8")))
            fresh = abs(time.time() - status["at_ns"] / 1e9) < _STALE_S
            lives = fresh and _alive(int(status["pid"]))
        except (OSError, ValueError, KeyError, TypeError, OverflowError):
            continue  # being replaced, or not ours
        if lives and (newest is None or status["at_ns"] > newest["at_ns"]):
            newest = status | {"_file": str(path)}
    return newest


def _drawn(status: dict[str, Any]) -> Group:
    """``view`` of a status whose texts may come from anywhere, and which may be damaged.

    Raises:
        UserError: the status is not what a session writes.
    """
    try:
        return view(_plain(status))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as exc:
        reason = f"{exc} is missing" if isinstance(exc, KeyError) else str(exc)
        raise UserError(
            f"{status['_file']}: damaged ({reason}); expected the status of a running session"
        ) from exc


def _plain(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {plain(str(name)): _plain(value) for name, value in tree.items()}
    if isinstance(tree, list):
        return [_plain(value) for value in tree]
    return plain(tree) if isinstance(tree, str) else tree


def view(status: dict[str, Any]) -> Group:
    """What is drawn."""
    link = "connected" if status["connected"] else "NOT CONNECTED"
    head = Text.assemble(
        (f"{status['exchange']} ", "bold"),
        f"{status['address']}  {link}  {status['frames']:,} frames  {status['rss_mb']:.0f} MB  "
        f"{100 * status['share']:.1f} % done",
    )
    parts: list[Text | Table] = [head, _symbols(status)]
    if status["gates"]:
        parts.append(_gates(status["gates"]))
    parts += [Text(f"  {line}", style="yellow") for line in status["recent_errors"]]
    return Group(*parts)


def _symbols(status: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))  # eighty columns hold a symbol of two arms
    left = "symbol", "book", "guard"
    right = "mid", "ticks", "p95\nms", "hit\nratio", "misses", "fills", "errors", "inventory"
    for name in (*left[:2], *right, left[2]):
        table.add_column(name, justify="left" if name in left else "right", no_wrap=True)
    for symbol, row in status["symbols"].items():
        guard = "breaker" if row.get("breaker_open") else ("", "soft", "hard")[row.get("guard_level", 0)]
        table.add_row(
            Text(symbol),
            "ok" if row["synced"] else "resync",
            _number(row.get("mid"), "{:,.8g}"),
            f"{row['ticks']:,}",
            _number(row["tick_p95_ms"], "{:.2f}"),
            _number(row["hit_ratio"], "{:.3f}"),
            str(row["deadline_misses"]),
            str(row["fills"]),
            str(row["errors"]),
            "\n".join(f"{value:.4g}" for value in row.get("inventory", [])),
            guard,
        )
    return table


def _gates(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("gate", "where", "now", "limit", "margin", "violated for"):
        table.add_column(name, justify="left" if name in ("gate", "where") else "right")
    for row in rows:
        bad = row["violated_s"] is not None
        table.add_row(
            Text(row["gate"], style="red" if bad else ""),
            Text(row["series"]),
            _number(row["value"], "{:.4g}"),
            f"{row['op']} {row['limit']:g} {row['unit'].removeprefix('1')}".rstrip(),
            _number(row["margin"], "{:+.4g}"),
            f"{row['violated_s']:.0f} s of {row['for_s']:.0f}" if bad else "",
        )
    return table


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
