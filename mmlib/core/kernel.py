"""A compiled function, made so that little is compiled: what only kernels call is neither optimised nor emitted by itself.

numba's own dispatcher optimises every function, emits its code and two wrappers for calls from outside, and then does all but
the wrappers again inside each function that calls it. Here a function that is called by another kernel is typed and lowered,
once, and goes into that kernel's module as it is; a function that Python calls is a whole module, optimised once, with one
wrapper.

Arguments are of plain types whoever calls: numba's dispatcher would compile ``f(0)`` inside a kernel for ``Literal[int](0)``
beside ``int64``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar
from weakref import WeakSet

from numba import types
from numba.core import sigutils, typing
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Flags, compile_extra
from numba.core.compiler_lock import global_compiler_lock
from numba.core.event import trigger_event
from numba.core.registry import CPUDispatcher

from mmlib.core import compiling
from mmlib.core.kernelcache import KernelCache


class _Whole(JITCodeLibrary):
    """Code of a kernel that Python calls, with all that it calls."""

    def finalize(self) -> None:
        """Link what it calls, directly or not, and make it ready to be run.

        Each library comes after all that call it: LLVM leaves out what nothing before has asked for.
        """
        order: dict[Any, None] = {}

        def visit(library: Any) -> None:
            if library not in order:
                for called in getattr(library, "called", []):
                    visit(called)
                order[library] = None

        for library in self._linking_libraries[:]:
            visit(library)
        self._linking_libraries[:] = reversed(order)
        super().finalize()


class _Part(JITCodeLibrary):
    """Code that is compiled only inside kernels that call it."""

    @property
    def called(self) -> list[Any]:
        """Libraries of what it calls."""
        return self._linking_libraries

    def finalize(self) -> None:
        """Nothing: it is not run by itself."""
        self._finalized = True


class Kernel(CPUDispatcher):
    """A function that numba compiles at its first call with arguments of new types, or finds compiled.

    Attributes:
        made: every kernel of this process.
        parts: what is known of it where kernels call it, by types of arguments.
    """

    made: ClassVar[WeakSet[Kernel]] = WeakSet()

    def __init__(self, py_func: Callable[..., Any], locals: Any = None, targetoptions: Any = None) -> None:
        super().__init__(py_func, locals, targetoptions)
        self._cache = KernelCache(py_func)
        self.parts: dict[tuple[Any, ...], Any] = {}
        Kernel.made.add(self)

    def compile(self, sig: Any) -> Any:
        """Entry point for a call by Python; no two processes compile the same at once."""
        args, _ = sigutils.normalize_signature(sig)
        with global_compiler_lock:
            if args in self.overloads:
                return self.overloads[args].entry_point
            if not self._load(args):
                with self._cache.compiling(args, self.targetctx):
                    if not self._load(args):
                        self._make(args)
            return self.overloads[args].entry_point

    def get_call_template(self, args: Any, kws: Any) -> Any:
        """What numba asks for where a kernel calls this one: its result's type."""
        pysig, args = self._compiler.fold_argument_types(args, kws)
        args = tuple(types.unliteral(arg) for arg in args)
        with global_compiler_lock:
            if args not in self.parts:
                self._make_part(args)
        name = self.py_func.__name__
        signatures = [self.parts[args].signature]
        return typing.make_concrete_template(f"CallTemplate({name})", name, signatures), pysig, args, {}

    def get_overload(self, sig: Any) -> Any:
        """What numba asks for where a kernel calls this one: under which name its code is known."""
        args, _ = sigutils.normalize_signature(sig)
        return self.parts[args].entry_point

    def _load(self, args: tuple[Any, ...]) -> bool:
        made = self._cache.load_overload(args, self.targetctx)
        if made is None:
            return False
        self._cache_hits[args] += 1
        self.add_overload(made)
        return True

    def _make(self, args: tuple[Any, ...]) -> None:
        self._cache_misses[args] += 1
        made = self._compiled(args, _Whole, no_cfunc_wrapper=True)
        made.library._ensure_finalized()
        for environment in made._find_referenced_environments():
            made.library.codegen.set_env(environment.env_name, environment)
        self.add_overload(made)
        self._cache.save_overload(args, made)

    def _make_part(self, args: tuple[Any, ...]) -> None:
        part = self._compiled(args, _Part, no_cpython_wrapper=True, no_cfunc_wrapper=True)
        name = (self, args)
        self.targetctx.insert_user_function(name, part.fndesc, [part.library])
        self.parts[args] = part._replace(entry_point=name)

    def _compiled(self, args: tuple[Any, ...], library: type[JITCodeLibrary], **options: bool) -> Any:
        flags = Flags()
        self.targetdescr.options.parse_as_flags(flags, self.targetoptions | options)
        flags.no_compile = library is _Part
        code = library(self.targetctx.codegen(), f"{self.py_func.__module__}.{self.py_func.__qualname__}")
        code.enable_object_caching()
        compiling.tell(code.name, done=False)
        with (
            trigger_event("numba:compile", data={"dispatcher": self, "args": args, "return_type": None}),
            self._compiling_counter,
        ):
            made = compile_extra(
                self.typingctx,
                self.targetctx,
                self.py_func,
                args=args,
                return_type=None,
                flags=flags,
                locals=self.locals,
                library=code,
            )
        compiling.tell(code.name, done=True)
        return made
