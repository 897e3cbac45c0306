"""libsecp256k1 as cffi's ``ffi`` and ``lib``, by coincurve up to Python 3.13 and by btclib from 3.14 on.

Both are bindings of the same library, with the same names of its functions; coincurve has no release for Python 3.14
(its newest, 21.0.0, does not build there either). Which is installed follows from the requirements in pyproject.toml.
"""

from __future__ import annotations

import sys

try:
    from coincurve._libsecp256k1 import ffi, lib
except ImportError:
    from btclib_secp256k1 import ffi, lib

__all__ = ["COMPRESSED", "CONTEXT_NONE", "UNCOMPRESSED", "ffi", "lib", "library_path"]

CONTEXT_NONE, UNCOMPRESSED, COMPRESSED = 1, 2, 258  # flags of secp256k1.h, which not every binding has as names


def library_path() -> str:
    """The file that has the library's functions in it, for others that load it through ctypes."""
    return str(sys.modules[lib.__name__.removesuffix(".lib")].__file__)
