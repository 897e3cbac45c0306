"""What the C library's allocator tells about itself (glibc); all zero, and no text, where there is another one."""

from __future__ import annotations

import ctypes
import sys
from typing import NamedTuple

_FIELDS = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")


class _Mallinfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in _FIELDS]


class Heap(NamedTuple):
    """Bytes in use and free; objects of the interpreter, and free pieces."""

    used: int
    free: int
    chunks_used: int
    chunks_free: int


def heap() -> Heap:
    """The allocator's figures."""
    call = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if call is None:
        return Heap(0, 0, sys.getallocatedblocks(), 0)
    call.restype = _Mallinfo2
    info = call()
    return Heap(info.uordblks + info.hblkhd, info.fordblks, sys.getallocatedblocks(), info.ordblks)


def malloc_info() -> str | None:
    """The allocator's report in XML, None where there is none."""
    library = ctypes.CDLL(None)
    if not all(hasattr(library, name) for name in ("malloc_info", "open_memstream", "fclose", "free")):
        return None
    text, size = ctypes.c_char_p(), ctypes.c_size_t()
    library.open_memstream.restype = ctypes.c_void_p
    stream = library.open_memstream(ctypes.byref(text), ctypes.byref(size))
    if not stream:
        return None
    failed = library.malloc_info(0, ctypes.c_void_p(stream))
    library.fclose(ctypes.c_void_p(stream))
    report = (text.value or b"").decode()
    library.free(text)
    return None if failed else report
