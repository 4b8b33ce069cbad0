"""What is compiled: nothing twice, nothing for a literal, no code of its own for what only kernels call."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmlib.core._jit import JIT_DISABLED, jit, jit_borrowing, jit_within
from mmlib.core.kernelcache import DIRECTORY, kept_keys

pytestmark = pytest.mark.skipif(JIT_DISABLED, reason="kernels run as plain Python")


@jit_within
def _step(x, by):
    return x + by


@jit_borrowing
def _twice(x, by):
    return _step(_step(x, by), 1)


@jit
def outer(values):
    total = 0
    for at in range(len(values)):
        total = _twice(total, 0) + _twice(values[at], at) + _step(0, 2)
    return total


@jit
def _array(n):
    return np.arange(n) + max(n, 3)


@jit
def with_array(values, at):
    return _array(3)[at] + values[at]


def test_a_kernel_says_what_python_says() -> None:
    values = np.arange(5)
    assert outer(values) == outer.py_func(values)
    assert with_array(np.arange(9), 2) == 7


def test_a_callee_is_compiled_once_for_plain_types_and_not_by_itself() -> None:
    @jit_within
    def step(x, by):
        return x + by

    @jit
    def whole(values):
        total = 0
        for at in range(len(values)):
            total = step(total, 0) + step(values[at], at) + step(0, 2)
        return total

    whole._cache.disable()
    step._cache.disable()
    assert whole(np.arange(3)) == 12
    assert (len(step.parts), len(step.overloads)) == (1, 0)
    assert step(2, 3) == 5  # until Python calls it
    assert len(step.overloads) == 1


def test_nothing_that_is_kept_was_compiled_for_a_literal() -> None:
    outer(np.arange(5))
    keys = list(kept_keys(Path(DIRECTORY)))
    assert keys
    assert [key for key in keys if "Literal[" in str(key[0])] == []


def test_an_error_in_a_callee_reaches_python() -> None:
    @jit
    def inner(x):
        if x < 0:
            raise ValueError("negative")
        return x

    @jit
    def whole(x):
        return inner(x) * 2

    assert whole(2) == 4
    with pytest.raises(ValueError, match="negative"):
        whole(-1)
