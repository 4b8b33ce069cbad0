"""Adds compiled kernels to a wheel: ``add_kernels.py PURE.whl KERNELS OUT``; prints the new wheel's path.

The wheel is then one of this Python and platform; on another processor, or beside another numba or NumPy, its kernels are not
taken and are compiled as usual.
"""

from __future__ import annotations

import base64
import hashlib
import sys
import sysconfig
import zipfile
from pathlib import Path

_HOME = "mmlib/_kernels"


def _row(name: str, data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(data)}\n"


def add_kernels(pure: Path, kernels: Path, out: Path) -> Path:
    """A copy of a wheel in ``out`` with all kernels below ``kernels``."""
    python = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    tag = f"{python}-{python}-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
    target = out / pure.name.replace("py3-none-any", tag)
    added = {f"{_HOME}/{path.parent.name}/{path.name}": path for path in sorted(kernels.rglob("*.kernel"))}
    if not added or target.name == pure.name:
        raise SystemExit(
            f"{pure}, {kernels}: expected a pure wheel and some kernels, found {len(added)} kernels"
        )
    record, name = "", ""
    with zipfile.ZipFile(pure) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for item in old.infolist():
            data = old.read(item)
            if item.filename.endswith(".dist-info/RECORD"):
                name = item.filename
                continue
            if item.filename.endswith(".dist-info/WHEEL"):
                data = data.replace(b"py3-none-any", tag.encode())
                data = data.replace(b"Root-Is-Purelib: true", b"Root-Is-Purelib: false")
            new.writestr(item, data)
            record += _row(item.filename, data)
        for place, path in added.items():
            new.writestr(
                zipfile.ZipInfo(place, (1980, 1, 1, 0, 0, 0)), path.read_bytes(), zipfile.ZIP_DEFLATED
            )
            record += _row(place, path.read_bytes())
        new.writestr(name, record + f"{name},,\n")
    return target


if __name__ == "__main__":
    print(add_kernels(*(Path(word) for word in sys.argv[1:4])))
