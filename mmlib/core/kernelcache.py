"""Where compiled kernels are kept, and under which key: what they were compiled from, not where that lies.

A kernel's directory is named by a hash of its module and of every module of ours that this one imports, directly or not:
numba inlines a callee of another module and does not notice when it changes. Versions and bounds checking go into the same
hash, argument types and processor into the name of the file. So a change recompiles what depends on it and nothing else, and
all checkouts and environments of a user share their kernels. They live in ``$FINISHLINE_CACHE`` or the user's cache directory.

One specialisation is one file, written beside it and renamed: whoever writes at the same time, none is lost, and a killed
process leaves whole files only. A checksum stands behind it; a file in which a bit differs is never unpickled, but compiled and
written again.
"""

from __future__ import annotations

import ast
import fcntl
import hashlib
import inspect
import json
import os
import pickle
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba
import numpy as np
from numba.core.caching import _Cache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from mmlib._crc import intact_payload, trailer
from mmlib.core.kernelhome import DIRECTORY

_ROOT = Path(__file__).resolve().parents[2]
_SUFFIX = ".kernel"
_INSTALLED = ("site-packages", "dist-packages")
_BUILT_BY = f"{numba.__version__} {llvmlite.__version__} {np.__version__} {sys.version_info[:2]}"
_BUILT_BY += f" bounds {int(numba.config.BOUNDSCHECK or 0)} opt {numba.config.OPT}"


SHIPPED = Path(__file__).resolve().parents[1] / "_kernels"
"""Kernels that a wheel brings along; read, never written."""
SHIPPED_FOR = ("x86-64-v3", "")
"""Processor and further features that they are compiled for, as numba names them."""
_V3 = (
    "avx",
    "avx2",
    "bmi",
    "bmi2",
    "cx16",
    "f16c",
    "fma",
    "lzcnt",
    "movbe",
    "popcnt",
    "sahf",
    "sse4.2",
    "xsave",
)


@cache
def _runs_shipped() -> bool:
    """Whether this processor has all that x86-64-v3 asks for, and nobody asked numba for another."""
    asked = os.environ.get("NUMBA_CPU_NAME") or os.environ.get("NUMBA_CPU_FEATURES")
    has = llvmlite.binding.get_host_cpu_features()
    return not asked and all(has.get(name) for name in _V3)


def module_files(path: Path) -> dict[str, Path]:
    """Names and files of a module and of all that it imports, directly or not, beside it or in this package."""
    top = path.parent
    while (top / "__init__.py").is_file():
        top = top.parent
    found: dict[str, Path] = {}
    waiting = [(_name(path, top), path)]
    own_package = waiting[0][0].split(".")[0]
    while waiting:
        name, file = waiting.pop()
        if name not in found:
            found[name] = file
            package = name if file.name == "__init__.py" else name.rpartition(".")[0]
            for origin, wanted in _IMPORTS.of(_source(file), package):
                if top.name in _INSTALLED and origin.split(".")[0] not in ("mmlib", own_package):
                    continue  # beside an installed package lie all others, whose versions are in the key
                waiting += _resolved(origin, wanted, (top, _ROOT))
    _IMPORTS.keep()
    return found


@cache
def module_key(path: Path) -> str:
    """Name of the directory of a module's kernels, such as ``mmlib.core.touch-0123456789abcdef``.

    Args:
        path: the module's file.
    """
    files = module_files(path)
    digest = hashlib.sha256(_BUILT_BY.encode())
    for name in sorted(files):
        digest.update(f"\0{name}\0".encode() + hashlib.sha256(_source(files[name])).digest())
    return f"{next(iter(files))}-{digest.hexdigest()[:16]}"


def _name(path: Path, top: Path) -> str:
    parts = path.relative_to(top).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def _source(path: Path) -> bytes:
    """A module's source as this process first saw it."""
    return path.read_bytes()


@cache
def _resolved(origin: str, wanted: str, roots: tuple[Path, ...]) -> list[tuple[str, Path]]:
    """Module that an import needs: ``from package import module`` needs the module, any other name the package itself."""
    for name in [f"{origin}.{wanted}", origin] if wanted else [origin]:
        for root in roots:
            place = root.joinpath(*name.split("."))
            for file in (place.with_suffix(".py"), place / "__init__.py"):
                if file.is_file():
                    return [(name, file)]
    return []


class _Imports:
    """What sources import, kept by their hashes: reading fifty sources takes a tenth of a second in every process."""

    def __init__(self, place: Path | None) -> None:
        self._place = place
        self._known: dict[str, list[list[str]]] | None = None
        self._new = False

    def of(self, source: bytes, package: str) -> list[list[str]]:
        """Every import of a source, wherever it stands: a module's full name, and the name taken from it (empty: the module).

        Args:
            source: text of a module.
            package: full name of the package that it lies in.
        """
        if self._known is None:
            self._known = self._read()
        digest = _digest(package, source)
        if digest not in self._known:
            self._known[digest] = _imports(source, package)
            self._new = True
        return self._known[digest]

    def keep(self) -> None:
        """Keep what was read; two writers at once cost a reading later."""
        if self._new and self._place is not None:
            with suppress(OSError):
                _replace(self._place, json.dumps(self._known).encode())
        self._new = False

    def _read(self) -> dict[str, list[list[str]]]:
        try:
            return dict(json.loads(_read_whole(self._place))) if self._place is not None else {}
        except (OSError, ValueError):
            return {}


@cache
def _digest(package: str, source: bytes) -> str:
    return hashlib.sha256(package.encode() + b"\0" + source).hexdigest()


def _imports(source: bytes, package: str) -> list[list[str]]:
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [[alias.name, ""] for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            origin = ".".join([*above, *filter(None, [node.module])])
            found += [[origin, alias.name] for alias in node.names]
    return found


_IMPORTS = _Imports(Path(DIRECTORY, "imports.kept") if DIRECTORY else None)


def kept_keys(directory: Path) -> Iterator[tuple[Any, ...]]:
    """Keys of all that is kept: argument types, processor, code; what another version wrote is passed over."""
    for path in sorted(directory.rglob(f"*{_SUFFIX}")):
        with suppress(Exception):  # a type that is no more, a file that is being replaced
            kept = _read(path)
            if kept is not None:
                yield kept[0]


class KernelCache(_Cache):
    """Keeps the specialisations of one kernel; in place of numba's own cache, whose index two writers take from each other."""

    def __init__(self, function: Any) -> None:
        self._function = function
        self._enabled = bool(DIRECTORY)

    @property
    def cache_path(self) -> str:
        """Directory of this kernel's module."""
        return str(Path(DIRECTORY, module_key(Path(inspect.getfile(self._function)).resolve())))

    def has(self, sig: Any, target_context: Any) -> bool:
        """Whether a specialisation is likely to be kept here."""
        key = self._key(sig, target_context.codegen())
        places = (self._file(key), *(path for path, _ in self._shipped(key)))
        return self._enabled and any(path.is_file() for path in places)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled specialisation, or None."""
        target_context.refresh()
        if not self._enabled:
            return None
        key = self._key(sig, target_context.codegen())
        for path, wanted in ((self._file(key), key), *self._shipped(key)):
            kept = _read(path)
            if kept is not None and kept[0] == wanted:
                return CompileResult._rebuild(target_context, *pickle.loads(kept[1]))  # noqa: S301
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a specialisation; one that numba cannot keep, such as one with a pointer in it, is left out in silence."""
        if not self._enabled or data.library.has_dynamic_globals or any(not x.can_cache for x in data.lifted):
            return
        key = self._key(sig, data.codegen)
        path = self._file(key)
        with suppress(OSError):  # a full disk costs a compilation, not a run
            path.parent.mkdir(parents=True, exist_ok=True)
            _replace(path, dumps((key, dumps(data._reduce()))))

    @contextmanager
    def compiling(self, sig: Any, target_context: Any) -> Iterator[None]:
        """While this process compiles a specialisation, no other compiles the same; it waits, and then finds it here."""
        if not self._enabled:
            yield
            return
        path = self._file(self._key(sig, target_context.codegen())).with_suffix(".lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = path.open("wb")
        except OSError:
            yield
            return
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
                fcntl.flock(lock, fcntl.LOCK_UN)  # also for a process that was forked meanwhile

    def enable(self) -> None:
        """Keep from here on."""
        self._enabled = bool(DIRECTORY)

    def disable(self) -> None:
        """Keep nothing."""
        self._enabled = False

    def flush(self) -> None:
        """Throw away what is kept of this kernel."""
        for path in Path(self.cache_path).glob(f"{self._stem}-*{_SUFFIX}"):
            path.unlink(missing_ok=True)

    def _shipped(self, key: tuple[Any, ...]) -> Iterator[tuple[Path, tuple[Any, ...]]]:
        """Place and key of a specialisation that came with the package, where this processor can run it."""
        sig, (triple, *_), code = key
        if SHIPPED.is_dir() and _runs_shipped():
            other = (sig, (triple, *SHIPPED_FOR), code)
            yield Path(SHIPPED, Path(self.cache_path).name, self._file(other).name), other

    @property
    def _stem(self) -> str:
        return self._function.__qualname__.replace("<", "").replace(">", "")

    def _key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        """Argument types, processor, and the function itself: several of one name may stand in a module."""
        code, cells = self._function.__code__, self._function.__closure__ or ()
        within = dumps(tuple(cell.cell_contents for cell in cells)) if cells else b""
        return sig, codegen.magic_tuple(), hashlib.sha256(code.co_code + within).hexdigest()

    def _file(self, key: tuple[Any, ...]) -> Path:
        digest = hashlib.sha256(str(key).encode()).hexdigest()[:16]
        return Path(self.cache_path, f"{self._stem}-{digest}{_SUFFIX}")


def _read(path: Path) -> tuple[tuple[Any, ...], bytes] | None:
    """Key and pickled code of a file; None where it is absent or damaged."""
    try:
        key, payload = pickle.loads(_read_whole(path))  # noqa: S301  (written by this user, or part of the package)
    except Exception:  # whatever a damaged file raises
        return None
    return key, payload


def _read_whole(path: Path) -> bytes:
    """What ``_replace`` wrote.

    Raises:
        OSError: it cannot be read. ValueError: any bit of it differs.
    """
    payload = intact_payload(path.read_bytes())
    if payload is None:
        raise ValueError(f"{path}: its checksum does not match")
    return payload


def _replace(path: Path, data: bytes) -> None:
    """Write bytes and their checksum beside the path, and rename."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.write(trailer(data))
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
