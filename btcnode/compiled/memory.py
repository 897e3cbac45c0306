"""What kernels are written in: integers of 64 bits, addresses among them, and these few steps on memory.

Here is what each step means, in plain Python, so that a kernel runs without being translated (slowly: for tests and
for reading). ``translate.py`` gives the compiler one machine instruction for each of them. Addresses are integers; who
calls a kernel answers for the memory behind them.
"""

from __future__ import annotations

import ctypes

_Function2 = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 2)
_Function3 = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 3)
_Function4 = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 4)
_Function5 = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 5)


def load8(at: int) -> int:
    """The byte at an address."""
    return ctypes.c_uint8.from_address(at).value


def load16(at: int) -> int:
    """Two bytes, little-endian, unsigned."""
    return int.from_bytes(ctypes.string_at(at, 2), "little")


def load32(at: int) -> int:
    """Four bytes, little-endian, unsigned."""
    return int.from_bytes(ctypes.string_at(at, 4), "little")


def load64(at: int) -> int:
    """Eight bytes, little-endian, signed."""
    return int.from_bytes(ctypes.string_at(at, 8), "little", signed=True)


def store8(at: int, value: int) -> None:
    """Write the lowest byte of ``value``."""
    ctypes.c_uint8.from_address(at).value = value & 0xFF


def store32(at: int, value: int) -> None:
    """Write the lowest four bytes of ``value``, little-endian."""
    ctypes.memmove(at, (value & 0xFFFFFFFF).to_bytes(4, "little"), 4)


def store64(at: int, value: int) -> None:
    """Write eight bytes, little-endian."""
    ctypes.memmove(at, (value & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "little"), 8)


def add64(a: int, b: int) -> int:
    """The sum as the machine has it: of its 64 bits the first is the sign."""
    return ctypes.c_int64(a + b).value


def rotate64(value: int, bits: int) -> int:
    """Its 64 bits turned to the left, by 1 to 63."""
    word = value & 0xFFFFFFFFFFFFFFFF
    return ctypes.c_int64(word << bits | word >> (64 - bits)).value


def swap32(value: int) -> int:
    """The lowest four bytes of ``value`` in the other order."""
    return int.from_bytes((value & 0xFFFFFFFF).to_bytes(4, "little"), "big")


def copy(to: int, source: int, size: int) -> None:
    """Copy ``size`` bytes; the two ranges do not overlap."""
    ctypes.memmove(to, source, size)


def clear(at: int, size: int) -> None:
    """Write ``size`` zero bytes."""
    ctypes.memset(at, 0, size)


def call2(function: int, a: int, b: int) -> int:
    """Call a C function by its address with arguments as wide as an address; its int, noise where it has none."""
    return int(_Function2(function)(a, b))


def call3(function: int, a: int, b: int, c: int) -> int:
    """The same with three arguments."""
    return int(_Function3(function)(a, b, c))


def call4(function: int, a: int, b: int, c: int, d: int) -> int:
    """The same with four arguments."""
    return int(_Function4(function)(a, b, c, d))


def call5(function: int, a: int, b: int, c: int, d: int, e: int) -> int:
    """The same with five arguments."""
    return int(_Function5(function)(a, b, c, d, e))
