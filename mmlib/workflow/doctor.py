"""Checks of the machine and the workspace before a long run; what cannot be known is said to be unknown."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mmlib._io import UserError

_PACKAGES = (
    "papermill",
    "scrapbook",
    "pandas",
    "numba",
    "numpy",
    "plotly",
    "duckdb",
    "nbconvert",
    "ipykernel",
)
_DISK_GB = 2.0
_MEMORY_GB = 1.0
_DRIFT_MS = 20.0
_STA_UNSYNC = 0x0040  # of linux/timex.h
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "firefox", "xdg-open")


Found = tuple[bool | None, str]


@dataclass(frozen=True)
class Check:
    """One thing looked at: whether it is well (None: unknown, or missing and not needed by every step), and what was found."""

    name: str
    ok: bool | None
    found: str

    def to_dict(self) -> dict[str, Any]:
        """Builtin types."""
        return asdict(self)


def examine(ws: Path) -> list[Check]:
    """Look at the environment, the Jupyter kernel, the caches, disk, memory, clock, workspace, promtool and browser."""
    looks: tuple[tuple[str, Callable[[], Found]], ...] = (
        ("python", _python),
        ("packages", _packages),
        ("workspace", lambda: _writable(ws)),
        ("disk", lambda: _disk(ws)),
        ("memory", _memory),
        ("configuration", lambda: _configuration(ws)),
        ("jupyter kernel", _jupyter_kernel),
        ("kernel cache", _kernel_cache),
        ("decoded cache", _decoded_cache),
        ("clock", clock),
        ("promtool", _promtool),
        ("browser", _browser),
    )
    return [_look(name, look) for name, look in looks]


def text(checks: list[Check]) -> str:
    """One line a check."""
    marks = {True: "ok ", False: "BAD", None: "?  "}
    return "\n".join(f"{marks[c.ok]}  {c.name:<14} {c.found}" for c in checks)


def _look(name: str, look: Callable[[], Found]) -> Check:
    try:
        return Check(name, *look())
    except UserError as exc:
        return Check(name, False, str(exc))
    except Exception as exc:  # a broken installation may raise anything on import
        return Check(name, False, f"{type(exc).__name__}: {exc}")


def _python() -> tuple[bool, str]:
    return sys.version_info >= (
        3,
        11,
    ), f"{platform.python_version()} at {sys.executable}; expected 3.11 or later"


def _packages() -> tuple[bool, str]:
    found, missing = [], []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    return not missing, f"missing: {', '.join(missing)}" if missing else ", ".join(found)


def _writable(ws: Path) -> tuple[bool, str]:
    try:
        ws.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=ws):
            pass
    except OSError as exc:
        return False, f"{ws}: cannot be written ({exc.strerror})"
    return True, str(ws)


def _disk(ws: Path) -> tuple[bool, str]:
    free = shutil.disk_usage(next(p for p in (ws, *ws.parents) if p.exists())).free / 1e9
    return free >= _DISK_GB, f"{free:.1f} GB free; expected {_DISK_GB:g} GB"


def _memory() -> tuple[bool, str]:
    import psutil

    free = psutil.virtual_memory().available / 1e9
    return free >= _MEMORY_GB, f"{free:.1f} GB free, {os.cpu_count()} cores; expected {_MEMORY_GB:g} GB"


def _configuration(ws: Path) -> tuple[bool, str]:
    from mmlib.config.load import load_config
    from mmlib.gates.spec import load_gates

    if not (ws / "params").is_dir():
        return True, f"{ws / 'params'}: not there yet; the first run copies the shipped parameters"
    load_config(ws)
    return True, f"params/config.yaml is valid; {len(load_gates(ws))} gates"


def _kernel_cache() -> tuple[bool, str]:
    from mmlib.core.kernelhome import kernel_directory

    place = os.environ.get("NUMBA_CACHE_DIR") or kernel_directory()
    compiled = "off" if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0") else "on"
    return bool(place), f"{place or 'no writable directory'}; jit {compiled}"


def _jupyter_kernel() -> Found:
    """Whether the kernel that papermill and JupyterLab start is this interpreter."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        spec = KernelSpecManager().get_kernel_spec("python3")  # type: ignore[no-untyped-call, unused-ignore]
    except NoSuchKernel:
        return False, "python3: no such kernel; expected one of ipykernel in this environment"
    program = str(spec.argv[0])
    same = program in ("python", "python3") or Path(program).resolve() == Path(sys.executable).resolve()
    hint = (
        "" if same else f"; expected {sys.executable}: remove that kernel, or set JUPYTER_PREFER_ENV_PATH=1"
    )
    return same, f"python3 runs {sys.executable if same else program}, from {spec.resource_dir}{hint}"


def _decoded_cache() -> Found:
    """Where decoded recordings are kept, and how much there is."""
    from mmlib.market.cachehome import cache_home

    home = cache_home()
    size = sum(path.stat().st_size for path in home.rglob("*") if path.is_file()) if home.is_dir() else 0
    place = next(p for p in (home, *home.parents) if p.exists())
    return os.access(place, os.W_OK), f"{home}, {size / 1e6:.0f} MB"


def clock() -> Found:
    """Whether the system clock runs evenly, and whether the kernel says that it is synchronised."""
    wall, steady = time.time(), time.monotonic()
    time.sleep(0.1)
    drift_ms = 1e3 * abs((time.time() - wall) - (time.monotonic() - steady))
    if drift_ms > _DRIFT_MS:
        return False, f"stepped by {drift_ms:.0f} ms within 0.1 s; expected a clock that is slewed, not set"
    state = _ntp()
    if state is None:
        return None, "even; whether it is synchronised is unknown here"
    synchronised, error_ms = state
    if synchronised:
        return True, f"even, synchronised, at most {error_ms:.1f} ms off"
    return (
        None,
        "even, but the kernel says not synchronised: times of other hosts cannot be compared with ours",
    )


def _ntp() -> tuple[bool, float] | None:
    """Whether the kernel's clock is synchronised, and its largest error [ms]; None where it does not say (adjtimex, Linux)."""
    import ctypes

    class Timex(ctypes.Structure):
        # the kernel's struct timex up to maxerror and status; the rest is room
        _fields_ = (
            ("modes", ctypes.c_uint),
            ("offset", ctypes.c_long),
            ("freq", ctypes.c_long),
            ("maxerror", ctypes.c_long),
            ("esterror", ctypes.c_long),
            ("status", ctypes.c_int),
            ("room", ctypes.c_long * 32),
        )

    try:
        found = Timex()
        said = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(found))
    except (OSError, AttributeError):
        return None
    if said < 0:
        return None
    return not found.status & _STA_UNSYNC, found.maxerror / 1e3


def _promtool() -> Found:
    place = shutil.which("promtool")
    missing = "not installed (Debian package prometheus); finishline alerts --check is skipped"
    return (True, place) if place else (None, missing)


def _browser() -> Found:
    """A browser for ``report --open`` and ``lab``."""
    place = next((found for name in _BROWSERS if (found := shutil.which(name))), None)
    return (
        (True, place)
        if place
        else (None, "none found; the pages open in any browser, also on another machine")
    )
