"""The one place that configures numba: decorators, error model, monotonic clock; `kernelcache` says where kernels are kept."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from mmlib.core.kernel import Kernel

JIT_DISABLED = bool(numba.config.DISABLE_JIT)


def _kernel(function: Callable[..., Any], **options: Any) -> Any:
    if JIT_DISABLED:
        return function
    common = {"nopython": True, "boundscheck": None, "error_model": "numpy", "nogil": True}
    return Kernel(function, targetoptions=common | options)


def jit(function: Callable[..., Any]) -> Any:
    """Compile lazily in nopython mode, kept on disk, NumPy error model (division by zero gives inf), never fastmath.

    The interpreter's lock is released while a kernel runs, so that a thread can read ahead meanwhile.
    """
    return _kernel(function)


def read_only(array: np.ndarray) -> np.ndarray:
    """A view that cannot be written: for numba another type than an array that can, so a caller passes always the same."""
    view = array.view()
    view.flags.writeable = False
    return view


@intrinsic
def _item(typingctx: Any, array: Any, at: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        held = context.make_array(signature.args[0])(context, builder, args[0])
        return builder.load(builder.gep(held.data, [args[1]]))

    return array.dtype(array, types.int64), codegen


def _item_python(array: Any, at: Any) -> Any:
    return array[at]


item = _item_python if JIT_DISABLED else _item
"""``array[at]`` of a contiguous array of numbers, for a place that is not negative: to ask whether it is takes longer."""


@intrinsic
def load_word(typingctx: Any, buf: Any, at: Any) -> Any:
    """Eight bytes of a ``uint8[]`` from place ``at`` on as one ``uint64``, the first byte lowest; needs no alignment."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, args[0])
        place = builder.gep(array.data, [args[1]])
        word = builder.load(builder.bitcast(place, ir.IntType(64).as_pointer()))
        word.align = 1
        return word if sys.byteorder == "little" else builder.bswap(word)

    return types.uint64(buf, types.int64), codegen


@intrinsic
def equal_bytes(typingctx: Any, buf: Any, at: Any, byte: Any) -> Any:
    """Which of the 64 bytes of a ``uint8[]`` from place ``at`` on are ``byte``, the first one's bit lowest (little endian)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, args[0])
        several = ir.VectorType(ir.IntType(8), 64)
        place = builder.gep(array.data, [args[1]])
        found = builder.load(builder.bitcast(place, several.as_pointer()))
        found.align = 1
        one = builder.insert_element(ir.Constant(several, ir.Undefined), args[2], ir.IntType(32)(0))
        wanted = builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), 64), [0] * 64))
        return builder.bitcast(builder.icmp_unsigned("==", found, wanted), ir.IntType(64))

    return types.uint64(buf, types.int64, types.uint8), codegen


@intrinsic
def same_bytes(typingctx: Any, buf: Any, at: Any, other: Any, where: Any) -> Any:
    """Which of the 32 bytes of a ``uint8[]`` from place ``at`` on are those of another from ``where`` on."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        several = ir.VectorType(ir.IntType(8), 32)
        loaded = []
        for kind, held, first in zip(signature.args[::2], args[::2], args[1::2], strict=True):
            array = context.make_array(kind)(context, builder, held)
            place = builder.gep(array.data, [first])
            loaded.append(builder.load(builder.bitcast(place, several.as_pointer())))
            loaded[-1].align = 1
        found = builder.bitcast(builder.icmp_unsigned("==", *loaded), ir.IntType(32))
        return builder.zext(found, ir.IntType(64))

    return types.uint64(buf, types.int64, other, types.int64), codegen


@intrinsic
def ones(typingctx: Any, word: Any) -> Any:
    """Number of bits that are set in a ``uint64``."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.int64(types.uint64), codegen


@intrinsic
def low_zeros(typingctx: Any, word: Any) -> Any:
    """Number of zero bits below the lowest one of a ``uint64``, 64 for 0."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), codegen


@intrinsic
def high_zeros(typingctx: Any, word: Any) -> Any:
    """Number of zero bits above the highest one of a ``uint64``, 64 for 0."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctlz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), codegen


@intrinsic
def high_product(typingctx: Any, left: Any, right: Any) -> Any:
    """Upper 64 bits of the 128-bit product of two ``uint64``; the lower ones are ``left * right``."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(*(builder.zext(arg, wide) for arg in args))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), codegen


def jit_borrowing(function: Callable[..., Any]) -> Any:
    """The same without reference counting, for loops that allocate nothing: arrays stay the caller's for the whole call.

    Counting references to the arrays inside a NamedTuple took two thirds of the time of a replay.
    """
    return _kernel(function, _nrt=False)


def jit_within(function: Callable[..., Any]) -> Any:
    """``jit_borrowing`` for a part of a hot loop, always compiled into its caller.

    An array is passed as seven words, and a NamedTuple of twenty of them for every call took half of the time of a tick.
    """
    return _kernel(function, _nrt=False, forceinline=True)


@intrinsic
def _prefetch(typingctx: Any, array: Any, at: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        held = context.make_array(signature.args[0])(context, builder, args[0])
        step = cgutils.unpack_tuple(builder, held.strides, 1)[0]
        byte = ir.IntType(8).as_pointer()
        place = builder.gep(builder.bitcast(held.data, byte), [builder.mul(step, args[1])])
        whole = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, whole, whole, whole])
        hint = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(hint, [place, whole(0), whole(3), whole(1)])
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen


def _prefetch_python(array: Any, at: Any) -> None:
    return None


prefetch = _prefetch_python if JIT_DISABLED else _prefetch
"""Have the memory of ``array[at]`` (one dimension) fetched ahead of its use; places beyond the end do no harm."""


# CLOCK_MONOTONIC through libc: unlike a ctypes pointer, an external symbol can be cached on disk.
_CLOCK_MONOTONIC = 6 if os.uname().sysname == "Darwin" else 1
_clock_gettime = types.ExternalFunction("clock_gettime", types.int32(types.int32, types.intp))


@jit
def _clock_ns(timespec):
    _clock_gettime(_CLOCK_MONOTONIC, timespec.ctypes.data)
    return timespec[0] * 1_000_000_000 + timespec[1]


def _clock_ns_python(timespec: Any) -> int:
    return time.monotonic_ns()


clock_ns = _clock_ns_python if JIT_DISABLED else _clock_ns
"""Monotonic clock [ns] for kernels; the argument is an ``int64[2]`` scratch array that the call overwrites."""
