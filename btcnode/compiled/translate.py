"""Kernels to machine code by numba: an object file for this processor, which ``machine_code.py`` keeps and loads.

Only this module needs numba, and only when no object file is there yet.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

from llvmlite import binding, ir
from numba import cfunc, types
from numba.extending import intrinsic, overload, register_jitable

from btcnode.compiled import folding, hashing, listing, memory, scanning, short_ids, spending, undo
from btcnode.compiled.entries import ENTRIES

_I1, _I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
_MODULES = (folding, hashing, listing, scanning, short_ids, spending, undo)


def _pointer(builder: Any, address: Any, width: Any) -> Any:
    return builder.inttoptr(address, width.as_pointer())


def _step(result: Any, arguments: int, write: Callable[[Any, list[Any]], Any]) -> Any:
    """A numba intrinsic of ``arguments`` integers that ``write`` emits; ``write`` gives its value, None for none."""

    def generate(context: Any, builder: Any, _signature: Any, values: list[Any]) -> Any:
        value = write(builder, values)
        return context.get_dummy_value() if value is None else value

    signature = result(*[types.int64] * arguments)
    # numba wants to see the names of the parameters
    names = ", ".join(f"a{k}" for k in range(arguments))
    namespace: dict[str, Any] = {"signature": signature, "generate": generate}
    exec(f"def step(typing, {names}): return signature, generate", namespace)
    return intrinsic(namespace["step"])


def _load(width: Any) -> Callable[[Any, list[Any]], Any]:
    def write(builder: Any, values: list[Any]) -> Any:
        value = builder.load(_pointer(builder, values[0], width), align=1)
        return value if width is _I64 else builder.zext(value, _I64)

    return write


def _store(width: Any) -> Callable[[Any, list[Any]], Any]:
    def write(builder: Any, values: list[Any]) -> None:
        value = values[1] if width is _I64 else builder.trunc(values[1], width)
        builder.store(value, _pointer(builder, values[0], width), align=1)

    return write


def _swap32(builder: Any, values: list[Any]) -> Any:
    return builder.zext(builder.bswap(builder.trunc(values[0], _I32)), _I64)


def _rotate64(builder: Any, values: list[Any]) -> Any:
    rotate = builder.module.declare_intrinsic("llvm.fshl", [_I64], ir.FunctionType(_I64, [_I64] * 3))
    return builder.call(rotate, [values[0], values[0], values[1]])


def _copy(builder: Any, values: list[Any]) -> None:
    to, source = (_pointer(builder, value, _I8) for value in values[:2])
    memcpy = builder.module.declare_intrinsic("llvm.memcpy", [to.type, source.type, _I64])
    builder.call(memcpy, [to, source, values[2], ir.Constant(_I1, 0)])


def _clear(builder: Any, values: list[Any]) -> None:
    at = _pointer(builder, values[0], _I8)
    memset = builder.module.declare_intrinsic("llvm.memset", [at.type, _I64])
    builder.call(memset, [at, ir.Constant(_I8, 0), values[1], ir.Constant(_I1, 0)])


def _call(builder: Any, values: list[Any]) -> Any:
    function = ir.FunctionType(_I32, [_I64] * (len(values) - 1))
    return builder.sext(builder.call(_pointer(builder, values[0], function), values[1:]), _I64)


_STEPS: dict[Callable[..., Any], Any] = {
    memory.load8: _step(types.int64, 1, _load(_I8)),
    memory.load16: _step(types.int64, 1, _load(_I16)),
    memory.load32: _step(types.int64, 1, _load(_I32)),
    memory.load64: _step(types.int64, 1, _load(_I64)),
    memory.store8: _step(types.void, 2, _store(_I8)),
    memory.store32: _step(types.void, 2, _store(_I32)),
    memory.store64: _step(types.void, 2, _store(_I64)),
    memory.add64: _step(types.int64, 2, lambda builder, values: builder.add(*values)),
    memory.rotate64: _step(types.int64, 2, _rotate64),
    memory.swap32: _step(types.int64, 1, _swap32),
    memory.copy: _step(types.void, 3, _copy),
    memory.clear: _step(types.void, 2, _clear),
    memory.call2: _step(types.int64, 3, _call),
    memory.call3: _step(types.int64, 4, _call),
    memory.call4: _step(types.int64, 5, _call),
    memory.call5: _step(types.int64, 6, _call),
}


def _teach(function: Callable[..., Any], step: Any) -> None:
    """What the plain function means to the compiler."""
    names = ", ".join(inspect.signature(function).parameters)
    namespace = {"step": step}
    exec(f"def meaning({names}): return lambda {names}: step({names})", namespace)
    overload(function)(namespace["meaning"])


def _own_functions(module: ModuleType) -> list[FunctionType]:
    functions = [value for value in vars(module).values() if isinstance(value, FunctionType)]
    return [function for function in functions if function.__module__ == module.__name__]


def translate(machine: Any) -> bytes:
    """All kernels as one object file for the target ``machine`` (llvmlite); takes some seconds.

    Its symbols are the names in ``ENTRIES``. Raises RuntimeError where the compiler does.
    """
    for function, step in _STEPS.items():
        _teach(function, step)
    for module in _MODULES:
        for function in _own_functions(module):
            register_jitable(function)
    whole = binding.parse_assembly(f'target triple = "{machine.triple}"')
    for entry in ENTRIES:
        count = len(inspect.signature(entry.kernel).parameters)
        compiled = cfunc(types.int64(*[types.int64] * count), error_model="numpy")(entry.kernel)
        part = binding.parse_assembly(
            _with_plain_entry(compiled.inspect_llvm(), compiled.native_name, entry.name, count)
        )
        part.verify()
        whole.link_in(part)
    return bytes(machine.emit_object(whole))


def _with_plain_entry(text: str, wrapper: str, name: str, count: int) -> str:
    """The module with an entry that needs no interpreter in place of numba's, and everything else in it private.

    numba's entry would tell an exception. A kernel raises none; if one did, its answer would be ``UNKNOWN``.
    """
    found = re.search(rf'^define [^\n]*@"?{re.escape(wrapper)}"?\(.*?^}}\n', text, re.M | re.S)
    inner = found and re.search(r"call i32 (@[^(]+)\(", found[0])
    if not found or not inner:
        raise RuntimeError(f"numba's code for {name} has another form than expected")
    text = re.sub(r"^define (linkonce_odr |internal )?", "define internal ", text.replace(found[0], ""), flags=re.M)
    parameters = ", ".join(f"i64 %a{k}" for k in range(count))
    return f"""{text}
define i64 @{name}({parameters}) {{
  %result = alloca i64
  %status = call i32 {inner[1]}(ptr %result, ptr null, {parameters})
  %value = load i64, ptr %result
  %good = icmp eq i32 %status, 0
  %answer = select i1 %good, i64 %value, i64 -1
  ret i64 %answer
}}
"""
