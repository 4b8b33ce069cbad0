"""Kept kernels: found wherever their sources lie, never found when anything they were compiled from has changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmlib.core import kernelhome
from mmlib.core.kernelcache import _Imports, module_files, module_key

ROOT = Path(__file__).parents[1]
KEPT = "from mmlib.core.windows import advance; print(advance.stats.cache_path)"
NUMBA_FIRST = "import numba"  # as arch does in the process from which kernels of notebooks are forked
REPLACED = "import os; from mmlib.core.histogram import Histogram; os.environ.clear(); Histogram([1.0])"  # as those forks do
INNER = "from mmlib.core._jit import jit\nfrom pack.constants import STEP\n\n@jit\ndef inner(x):\n    return x + STEP\n"
OUTER = "from mmlib.core._jit import jit\nfrom pack import inner\n\n@jit\ndef outer(x):\n    return inner.inner(x)\n"
CALL = """
from pack.outer import outer
print(outer(1.0), sum(outer.stats.cache_misses.values()))
"""


def _python(code: str, cache: Path, *paths: Path) -> str:
    env = {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "NUMBA_DISABLE_JIT")}
    env |= {"FINISHLINE_CACHE": str(cache), "PYTHONPATH": os.pathsep.join(map(str, [*paths, ROOT]))}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=cache, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _package(folder: Path, step: int = 1) -> Path:
    pack = folder / "pack"
    pack.mkdir(parents=True, exist_ok=True)
    texts = {
        "__init__": "",
        "constants": f"STEP = {step}\n",
        "inner": INNER,
        "outer": OUTER,
        "other": "X = 1\n",
    }
    for name, text in texts.items():
        (pack / f"{name}.py").write_text(text)
    return pack


@pytest.mark.parametrize("before", ["", NUMBA_FIRST, REPLACED])
def test_kernels_are_kept_in_the_keyed_directory(before: str, tmp_path: Path) -> None:
    path = Path(_python(f"{before}\n{KEPT}", tmp_path))
    assert path.is_relative_to(tmp_path / "mm-finishline" / "numba")


def test_a_kernel_is_found_from_wherever_its_sources_lie_and_not_after_a_callee_s_module_changed(
    tmp_path: Path,
) -> None:
    for folder in ("here", "there"):
        _package(tmp_path / folder)
    assert _python(CALL, tmp_path, tmp_path / "here") == "2.0 1"
    assert _python(CALL, tmp_path, tmp_path / "there") == "2.0 0"
    _package(tmp_path / "there", step=5)  # what the callee's module imports, two steps away
    assert _python(CALL, tmp_path, tmp_path / "there") == "6.0 1"
    assert _python(CALL, tmp_path, tmp_path / "here") == "2.0 0"


@pytest.mark.parametrize(
    ("changed", "key_changes"), [("constants", True), ("inner", True), ("outer", True), ("other", False)]
)
def test_the_key_hangs_on_what_a_module_imports_and_on_nothing_else(
    changed: str, key_changes: bool, tmp_path: Path
) -> None:
    keys = []
    for folder, more in (("a", ""), ("b", "Y = 2\n")):
        pack = _package(tmp_path / folder)
        (pack / f"{changed}.py").write_text((pack / f"{changed}.py").read_text() + more)
        keys.append(module_key(pack / "outer.py"))
    assert (keys[0] != keys[1]) is key_changes


@pytest.mark.parametrize(
    "statement",
    [
        "import pack.constants",
        "from pack import constants",
        "from pack.constants import STEP",
        "from . import constants",
        "from .constants import STEP as S",
        "def f():\n    from pack.constants import (\n        STEP,\n    )",
    ],
)
def test_every_form_of_an_import_is_followed(statement: str, tmp_path: Path) -> None:
    pack = _package(tmp_path)
    (pack / "outer.py").write_text(statement + "\n")
    assert "pack.constants" in module_files(pack / "outer.py")


def test_a_name_of_a_package_itself_needs_the_package(tmp_path: Path) -> None:
    pack = _package(tmp_path)
    (pack / "__init__.py").write_text("from pack.constants import STEP\n")
    (pack / "outer.py").write_text("from pack import STEP\n")
    assert set(module_files(pack / "outer.py")) == {"pack.outer", "pack", "pack.constants"}


def test_the_closure_of_every_kernel_module_holds_what_it_really_loads(tmp_path: Path) -> None:
    """What a fresh interpreter has of ours after importing a module is in its closure, packages that hold no name apart."""
    for path in sorted((ROOT / "mmlib" / "core").glob("[a-z]*.py"))[::8]:
        name = f"mmlib.core.{path.stem}"
        code = f"import sys, {name}; print(*[m for m in sys.modules if m.startswith('mmlib')])"
        loaded = set(_python(code, tmp_path).split()) - {"mmlib", "mmlib.core"}
        assert loaded <= set(module_files(path)), name


def test_two_writers_lose_nothing_of_each_other_and_compile_each_kernel_once(tmp_path: Path) -> None:
    _package(tmp_path)
    both = (
        "from pack.outer import outer\nfor x in {}: outer(x)\nprint(sum(outer.stats.cache_misses.values()))"
    )
    env = {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "NUMBA_DISABLE_JIT")}
    env |= {"FINISHLINE_CACHE": str(tmp_path), "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    orders = ["(1, 1.0, 1j)", "(1, 1.0, 1j)", "(1j, 1, 1.0)"]
    started = [
        subprocess.Popen(
            [sys.executable, "-c", both.format(order)], env=env, cwd=tmp_path, stdout=subprocess.PIPE
        )
        for order in orders
    ]
    misses = [int(process.communicate(timeout=600)[0]) for process in started]
    assert sum(misses) == 3  # three types in all, whoever came first
    assert _python(both.format("(1, 1.0, 1j)"), tmp_path, tmp_path) == "0"


@pytest.mark.parametrize("harm", [b"", b"\x80", b"no pickle"])
def test_a_damaged_file_is_compiled_again(harm: bytes, tmp_path: Path) -> None:
    _package(tmp_path)
    assert _python(CALL, tmp_path, tmp_path) == "2.0 1"
    files = list((tmp_path / "mm-finishline").rglob("outer-*.kernel"))
    assert len(files) == 1
    files[0].write_bytes(harm)
    assert _python(CALL, tmp_path, tmp_path) == "2.0 1"
    assert _python(CALL, tmp_path, tmp_path) == "2.0 0"


FLIPPED = """
from pathlib import Path
import numpy as np
from mmlib.core._jit import jit
from pack.outer import outer

def call():
    fresh = jit(outer.py_func)
    assert fresh(1.0) == 2.0
    return sum(fresh.stats.cache_misses.values())

call()
(path,) = Path({home!r}).rglob("outer-*.kernel")
rng, counts = np.random.default_rng(5), []
for _ in range({flips}):
    data = bytearray(path.read_bytes())
    at = int(rng.integers(8 * len(data)))
    data[at // 8] ^= 1 << at % 8
    path.write_bytes(data)
    counts.append((call(), call()))
print(counts.count((1, 0)))
"""


def test_of_forty_flipped_bits_every_one_is_compiled_again_and_none_executed(tmp_path: Path) -> None:
    _package(tmp_path)
    assert _python(FLIPPED.format(home=str(tmp_path / "mm-finishline"), flips=40), tmp_path, tmp_path) == "40"


@pytest.mark.parametrize("harm", ["flip", "cut", "other"])
def test_damaged_notes_of_imports_are_read_again(harm: str, tmp_path: Path) -> None:
    place, source = tmp_path / "imports.kept", b"from pack import inner\n"
    first = _Imports(place)
    expected = first.of(source, "pack")
    first.keep()
    data = bytearray(place.read_bytes())
    if harm == "flip":
        data[data.index(b"inner")] ^= 1
    place.write_bytes({"cut": bytes(data[:-1]), "other": b"{}"}.get(harm, bytes(data)))
    assert _Imports(place).of(source, "pack") == expected == [["pack", "inner"]]


def test_nothing_is_kept_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shut = tmp_path / "file"
    shut.write_text("")
    monkeypatch.setenv("FINISHLINE_CACHE", str(shut))
    monkeypatch.setattr(kernelhome.tempfile, "gettempdir", lambda: str(shut))
    assert kernelhome.kernel_directory() == ""


def test_packages_beside_an_installed_one_are_not_followed(tmp_path: Path) -> None:
    pack = _package(tmp_path / "site-packages")
    other = tmp_path / "site-packages" / "other"
    other.mkdir()
    (other / "__init__.py").write_text("")
    (pack / "outer.py").write_text("import other\nfrom pack import constants\n")
    assert set(module_files(pack / "outer.py")) == {"pack.outer", "pack.constants"}
