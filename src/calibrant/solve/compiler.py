"""Kernels: numba compiles them once; afterwards their machine code is loaded without numba.

    @kernel("complex64[:,:,:]", "int64[:]", fastmath=FAST)
    def double(vis, rows): ...

Importing numba and its cached functions costs 0.5 s of CPU time, more than most solves here; loading a stored object
file through llvmlite costs 0.02 s. So a kernel is wrapped as a C function (`numba.cfunc`: pointers and sizes, the
ordinary C convention), its object code is kept beside the source (`__pycache__`) or in the user's cache folder, and
called through ctypes, which releases the GIL. The key of a stored kernel holds everything that it depends on: source,
signature, options, versions of Python, numba and llvmlite, and the processor with its features. Whatever does not fit
(no folder to write to, a symbol that cannot be resolved, a damaged file) leads to compiling it again.

A kernel takes C-contiguous arrays of exactly the declared types, and scalars; it must not allocate, raise, or return
anything but nothing or an int. Several signatures of the same length may be declared: the dtypes decide.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import pickle
import platform
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable
from importlib.metadata import version
from typing import Any

import numpy as np

_SCALARS = {"int64": ctypes.c_int64, "float64": ctypes.c_double, "bool": ctypes.c_bool}
_lock = threading.RLock()
_engines: list[Any] = []  # loaded code lives as long as its engine


class Kernel:
    """A compiled function with one or more signatures; call it with arrays and scalars."""

    def __init__(
        self, function: Callable[..., Any], signatures: list[tuple[str, ...]], options: dict[str, Any]
    ) -> None:
        functools.update_wrapper(self, function)
        self.python = function
        self._signatures = [tuple(_parse(word) for word in words) for words in signatures]
        self._options = options
        self._loaded: dict[tuple[str, ...], Callable[..., int]] = {}

    def __call__(self, *arguments: Any) -> int:
        key = tuple([a.dtype.name if isinstance(a, np.ndarray) else "" for a in arguments])
        call = self._loaded.get(key)
        if call is None:
            call = self._load(key)
        words: list[Any] = []
        for (_, ndim), argument in zip(self._match(key), arguments, strict=True):
            if not ndim:
                words.append(argument)
            elif argument.ndim != ndim or not argument.flags.c_contiguous:
                raise TypeError(f"{self.__name__}: expected a C-contiguous array of {ndim} dimensions")  # type: ignore[attr-defined]
            else:
                words.append(argument.__array_interface__["data"][0])
                words += argument.shape
        return call(*words)

    def _match(self, key: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
        for signature in self._signatures:
            if len(signature) == len(key) and all(
                (dtype == name) if ndim else name == "" for (dtype, ndim), name in zip(signature, key, strict=True)
            ):
                return signature
        raise TypeError(f"{self.__name__} does not take arguments of types {', '.join(key)}")  # type: ignore[attr-defined]

    def _load(self, key: tuple[str, ...]) -> Callable[..., int]:
        signature = self._match(key)
        with _lock:
            if key not in self._loaded:
                address = _address(self.python, signature, self._options)
                kinds = [kind for dtype, ndim in signature for kind in _c_types(dtype, ndim)]
                self._loaded[key] = ctypes.CFUNCTYPE(ctypes.c_int64, *kinds)(address)
        return self._loaded[key]


def kernel(*signature: str | Iterable[str], **options: Any) -> Callable[[Callable[..., Any]], Kernel]:
    """Decorate a function as a kernel.

    signature: a type for each argument ("float32[:,:]", "int64"), or a tuple of alternatives. options: `fastmath` of
    numba.njit; `helpers`: functions that it calls, compiled with it; `returns=True`: it returns an int.
    """
    columns = [(word,) if isinstance(word, str) else tuple(word) for word in signature]
    count = max(len(column) for column in columns)
    every = [tuple(column[min(k, len(column) - 1)] for column in columns) for k in range(count)]
    return lambda function: Kernel(function, every, options)


def _parse(word: str) -> tuple[str, int]:
    """'float32[:,:]' -> ('float32', 2); 'int64' -> ('int64', 0)."""
    dtype, bracket, rest = word.partition("[")
    return dtype, rest.count(":") if bracket else 0


def _c_types(dtype: str, ndim: int) -> list[Any]:
    return [ctypes.c_void_p] + [ctypes.c_int64] * ndim if ndim else [_SCALARS[dtype]]


# ---- stored code ----------------------------------------------------------------------------------------------


def _address(function: Callable[..., Any], signature: tuple[tuple[str, int], ...], options: dict[str, Any]) -> int:
    """Address of the compiled C function: from the store, or compiled and stored now."""
    name = _file_name(function, signature, options)
    for folder in _folders(function):
        stored = _read(os.path.join(folder, name))
        if stored is not None:
            address = _link(*stored)
            if address:
                return address
    symbol, code, externals, address = _compile(function, signature, options)
    for folder in _folders(function):
        if _write(os.path.join(folder, name), (symbol, code, externals)):
            break
    return address


def _file_name(function: Callable[..., Any], signature: tuple[tuple[str, int], ...], options: dict[str, Any]) -> str:
    digest = hashlib.sha256(_machine())
    with open(sys.modules[function.__module__].__file__ or "", "rb") as source:
        digest.update(source.read())
    words = {key: value if isinstance(value, bool) else _names(value) for key, value in sorted(options.items())}
    digest.update(repr((function.__qualname__, signature, words)).encode())
    return f"{function.__module__.rsplit('.', 1)[-1]}.{function.__name__}-{digest.hexdigest()[:24]}.kernel"


def _names(items: Iterable[Any]) -> list[str]:
    return sorted(getattr(item, "__name__", str(item)) for item in items)


@functools.cache
def _machine() -> bytes:
    import llvmlite.binding as llvm

    with open(__file__, "rb") as own:
        words = [sys.version, version("numba"), version("llvmlite"), platform.machine(), llvm.get_host_cpu_name()]
        return repr(words).encode() + llvm.get_host_cpu_features().flatten().encode() + own.read()


def _folders(function: Callable[..., Any]) -> list[str]:
    """Where kernels may be stored, best first."""
    beside = os.path.join(os.path.dirname(sys.modules[function.__module__].__file__ or ""), "__pycache__")
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return [beside, os.path.join(home, "calibrant")]


def _read(path: str) -> tuple[str, bytes, list[str]] | None:
    try:
        with open(path, "rb") as file:
            content = file.read()
        if hashlib.sha256(content[32:]).digest() != content[:32]:
            return None
        symbol, code, externals = pickle.loads(content[32:])
        return symbol, code, externals
    except (OSError, ValueError, EOFError, pickle.UnpicklingError):
        return None


def _write(path: str, stored: tuple[str, bytes, list[str]]) -> bool:
    """Store under a temporary name, then rename; False where that is not possible."""
    content = pickle.dumps(stored)
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path))
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(content).digest() + content)
        os.replace(temporary, path)
    except OSError:
        return False
    return True


def _link(symbol: str, code: bytes, externals: list[str]) -> int:
    """Load object code into the process; 0 where something it calls is not there."""
    import llvmlite.binding as llvm

    _start_llvm()
    for name in externals:
        if llvm.address_of_symbol(name):
            continue
        # numba's own functions are called only to raise or to free what was allocated: kernels do neither
        found = getattr(ctypes.pythonapi, "abort" if name.startswith(("numba_", "NRT_")) else name, None)
        if found is None:
            return 0
        llvm.add_symbol(name, ctypes.cast(found, ctypes.c_void_p).value)
    machine = llvm.Target.from_default_triple().create_target_machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _engines.append(engine)
    return int(engine.get_function_address(symbol))


@functools.cache
def _start_llvm() -> None:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


# ---- compiling ------------------------------------------------------------------------------------------------


def _compile(
    function: Callable[..., Any], signature: tuple[tuple[str, int], ...], options: dict[str, Any]
) -> tuple[str, bytes, list[str], int]:
    """(symbol, object code, names it calls, address in this process) of `function` as a C function."""
    import llvmlite.binding as llvm
    import numba
    from numba import cfunc, njit, types

    settings = {"fastmath": options.get("fastmath", False), "error_model": "numpy"}
    namespace = dict(function.__globals__)
    for helper in options.get("helpers", ()):
        namespace[helper.__name__] = njit(**settings)(_rebind(helper, namespace))
    inner = njit(**settings)(_rebind(function, namespace))
    types_, names, calls = [], [], []
    for number, (dtype, ndim) in enumerate(signature):
        sizes = [f"n{number}_{axis}" for axis in range(ndim)]
        names += [f"a{number}", *sizes]
        calls.append(f"carray(a{number}, ({', '.join(sizes)},))" if ndim else f"a{number}")
        kind = getattr(types, {"bool": "boolean"}.get(dtype, dtype))
        types_ += [types.CPointer(kind), *[types.int64] * ndim] if ndim else [kind]
    text = f"def entry({', '.join(names)}):\n    result = inner({', '.join(calls)})\n    return RESULT\n"
    scope: dict[str, Any] = {"inner": inner, "carray": numba.carray}  # type: ignore[attr-defined]
    exec(text.replace("RESULT", "result" if options.get("returns") else "0"), scope)
    compiled: Any = cfunc(types.int64(*types_), error_model="numpy")(scope["entry"])
    library = compiled._library
    module = llvm.parse_assembly(library.get_llvm_str())
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3, jit=True
    )
    externals = [f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm.")]
    return compiled.native_name, machine.emit_object(module), externals, int(compiled.address)


def _rebind(function: Callable[..., Any], namespace: dict[str, Any]) -> Callable[..., Any]:
    """The same function over other globals, so that helpers are found compiled."""
    import types

    return types.FunctionType(function.__code__, namespace, function.__name__)
