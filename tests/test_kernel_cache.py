"""Where compiled kernels are kept: in the directory keyed by their sources, whatever happened before they were made."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

KEPT = "from mmlib.core.windows import advance; print(advance.stats.cache_path)"


NUMBA_FIRST = "import numba"  # as arch does in the process from which kernels of notebooks are forked
REPLACED = "import os; from mmlib.core.histogram import Histogram; os.environ.clear(); Histogram([1.0])"  # as those forks do


@pytest.mark.parametrize("before", ["", NUMBA_FIRST, REPLACED])
def test_kernels_are_kept_in_the_keyed_directory(before: str, tmp_path: Path) -> None:
    env = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"} | {
        "FINISHLINE_CACHE": str(tmp_path)
    }
    done = subprocess.run(
        [sys.executable, "-c", f"{before}\n{KEPT}"], env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.strip())
    assert path.is_relative_to(tmp_path / "mm-finishline" / "numba")
