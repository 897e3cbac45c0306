"""python-bitcointx on the libsecp256k1 that the node uses itself: it would look for one of the system.

python-bitcointx 1.1.5 wants functions by names that libsecp256k1 has given up with 0.7, which is what Python 3.14 gets.
There it is handed the library with the old names for what the new ones do.
"""

from __future__ import annotations

import ctypes
from typing import Any

import bitcointx
from bitcointx.core import secp256k1

from btcnode.libsecp256k1 import library_path

RENAMED = {
    "secp256k1_ec_privkey_negate": "secp256k1_ec_seckey_negate",
    "secp256k1_ec_privkey_tweak_add": "secp256k1_ec_seckey_tweak_add",
    "secp256k1_schnorrsig_sign": "secp256k1_schnorrsig_sign32",
}


def use_our_library() -> None:
    """Have python-bitcointx use the node's library, unless somebody has named another one."""
    if bitcointx.get_custom_secp256k1_path() is not None:
        return
    path = library_path()
    bitcointx.set_custom_secp256k1_path(path)
    library: Any = ctypes.CDLL(path)
    missing = {old: new for old, new in RENAMED.items() if not hasattr(library, old)}
    if not missing:
        return
    for old, new in missing.items():
        setattr(library, old, library[new])  # an object of its own, whose types are set apart from the others
    able = secp256k1._add_function_definitions(library)
    signing, verifying = (
        secp256k1.secp256k1_create_and_init_context(library, flags)
        for flags in (secp256k1.SECP256K1_CONTEXT_SIGN, secp256k1.SECP256K1_CONTEXT_VERIFY)
    )
    contexts = secp256k1.Secp256k1_Contexts(sign=signing, verify=verifying)
    secp256k1._secp256k1 = secp256k1.Secp256k1(lib=library, ctx=contexts, cap=able)
