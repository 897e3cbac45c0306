"""Private names of other packages that ours uses: all are known here, exist, do what we use them for, and are bounded.

A name that begins with an underscore is its package's to change in any release. So each of these packages has a newest
version in pyproject.toml, and these tests are what a newer one has to pass before the bound is raised.
"""

from __future__ import annotations

import ast
import ctypes
import hashlib
import importlib.util
import re
import socket
import sys
import threading
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import bitcointx
import pytest
from bitcointx.core import secp256k1
from bitcointx.core.key import CKey

from btcnode import libsecp256k1
from btcnode.net.nat.helper_tasks import stun_address
from btcnode.primitives import hashes
from btcnode.script import signatures
from btcnode.testing import bitcointx_library
from tests.lib.der import to_der

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "btcnode"
COINCURVE = "coincurve._libsecp256k1"
SECP = "btcnode.libsecp256k1"
# of the standard library: public all the same
DOCUMENTED = {"os._exit", "sys._current_frames", "sys._is_gil_enabled", "_asdict"}
OWNERS = {"coincurve": "coincurve", "bitcointx": "python-bitcointx", "stun": "pystun3"}

# where each private name is used; libsecp256k1's functions are counted one by one below
USED = {
    f"{COINCURVE}.lib": {"libsecp256k1.py"},
    f"{COINCURVE}.ffi": {"libsecp256k1.py"},
    "bitcointx.core._ripemd160.ripemd160": {"primitives/hashes.py"},
    "_hashlib": {"compiled/machine_code.py"},  # of the standard library: whose OpenSSL is asked for two functions
    # what it calls libsecp256k1 by, where that has given up the names it wants
    "bitcointx.core.secp256k1._add_function_definitions": {"testing/bitcointx_library.py"},
    "bitcointx.core.secp256k1._secp256k1": {"testing/bitcointx_library.py"},
    "stun._initialize": {"net/nat/helper_tasks.py"},
}


# -- finding them ----------------------------------------------------------------------------------------------------


def is_private(name: str) -> bool:
    return any(part.startswith("_") and not part.startswith("__") for part in name.split("."))


def at_run_time(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but annotations and what stands under ``if TYPE_CHECKING``: those names are mypy's to check."""
    yield tree
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                continue
            if isinstance(child, ast.AST):
                yield from at_run_time(child)


def foreign_names(tree: ast.AST) -> list[tuple[str, str]]:
    """What the module calls the things that it imports from elsewhere, with their full names."""
    names = []
    for node in at_run_time(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                names.append((alias.asname or top, alias.name if alias.asname else top))
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [(alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names]
    return [(short, full) for short, full in names if full.partition(".")[0] not in ("btcnode", "__future__")]


def private_names(tree: ast.AST) -> set[str]:
    """Full names of private things of other packages that a module uses."""
    names = dict(foreign_names(tree))
    found = {full for _, full in foreign_names(tree) if is_private(full)}
    for node in at_run_time(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            short, _, rest = ast.unparse(node).partition(".")
            if short in names:
                found.add(f"{names[short]}.{rest}")
    return found


def bound_from(tree: ast.AST, module: str) -> list[str]:
    """What a module imports from one of our own."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == module]
    return [alias.name for node in found for alias in node.names]


def own_names(trees: list[ast.AST]) -> set[str]:
    """Everything that the package itself gives a name to."""
    found: set[str] = set()
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                found.add(node.attr)
    return found


TREES: dict[str, ast.AST] = {
    str(path.relative_to(PACKAGE)): ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))
}


def test_every_private_name_is_known() -> None:
    found: dict[str, set[str]] = {}
    for path, tree in TREES.items():
        for name in private_names(tree) - DOCUMENTED:
            found.setdefault(name, set()).add(path)
    assert found == USED


def test_objects_of_others_are_not_reached_into() -> None:
    own = own_names(list(TREES.values())) | {name.rpartition(".")[2] for name in DOCUMENTED | set(USED)}
    foreign = {
        f"{path}:{node.lineno}: {node.attr}"
        for path, tree in TREES.items()
        for node in at_run_time(tree)
        if isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in own
    }
    assert not foreign


def test_their_packages_are_bounded() -> None:
    requirements = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    for module in {name.partition(".")[0] for name in USED} - {"_hashlib"}:
        owner = OWNERS[module]
        if module == "coincurve" and find_spec("coincurve") is None:  # from Python 3.14 on
            owner = "btclib-secp256k1"
        (bound,) = (re.search(r"<=([0-9.]+)(;|$)", text) for text in requirements if text.startswith(owner))
        assert bound is not None, f"{owner}: pyproject.toml names no newest version"
        assert bound[1] == version(owner)


@pytest.mark.skipif(find_spec("coincurve") is None, reason="the other binding has no names for them")
def test_flags_are_those_of_the_library() -> None:
    real = libsecp256k1.lib
    assert real.SECP256K1_CONTEXT_NONE == libsecp256k1.CONTEXT_NONE
    assert real.SECP256K1_EC_COMPRESSED == libsecp256k1.COMPRESSED
    assert real.SECP256K1_EC_UNCOMPRESSED == libsecp256k1.UNCOMPRESSED


def test_the_library_is_a_file_that_ctypes_can_load() -> None:
    loaded = ctypes.CDLL(libsecp256k1.library_path())
    static = ctypes.c_void_p.in_dll(loaded, "secp256k1_context_static").value
    ours = libsecp256k1.lib.secp256k1_context_static
    assert static == int(libsecp256k1.ffi.cast("uintptr_t", ours))


# -- libsecp256k1 ------------------------------------------------------------------------------------------------------


class Recorder:
    """``lib`` or ``ffi``, and which of its names were asked for."""

    def __init__(self, real: object) -> None:
        self._real = real
        self.asked: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.asked.add(name)
        return self._address_of if name == "addressof" else getattr(self._real, name)

    def _address_of(self, lib: Recorder, name: str) -> Any:
        lib.asked.add(name)
        return libsecp256k1.ffi.addressof(libsecp256k1.lib, name)


def watched(path: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Recorder, Recorder]:
    """A copy of a module whose binding of libsecp256k1 is watched."""
    stand_in = ModuleType(SECP)
    lib, ffi = Recorder(libsecp256k1.lib), Recorder(libsecp256k1.ffi)
    vars(stand_in).update(vars(libsecp256k1) | {"lib": lib, "ffi": ffi})
    monkeypatch.setitem(sys.modules, SECP, stand_in)
    spec = importlib.util.spec_from_file_location("watched_" + Path(path).stem, PACKAGE / path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look themselves up
    spec.loader.exec_module(module)
    return module, lib, ffi


def asked_for(path: str, binding: str) -> set[str]:
    """Names of ``lib`` or ``ffi`` in the text of a module; functions of ``lib`` also as strings."""
    texts = {node.value for node in ast.walk(TREES[path]) if isinstance(node, ast.Constant) and type(node.value) is str}
    strings = {text for text in texts if hasattr(libsecp256k1.lib, text)} if binding == "lib" else set()
    return strings | {
        node.attr
        for node in ast.walk(TREES[path])
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == binding
    }


ONE, TWO, THREE = (n.to_bytes(32, "big") for n in (1, 2, 3))
G = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
TWICE_G = "02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5"


def check_signatures(module: Any) -> None:
    assert module.pubkey_create(ONE).hex() == "02" + G
    assert module.pubkey_create(ONE, compressed=False).hex().startswith("04" + G)
    # RFC 6979 over secp256k1: a vector that libraries share
    message = hashlib.sha256(b"Satoshi Nakamoto").digest()
    compact = bytes.fromhex(
        "934b1ea10a4b3c1757e2b0c017d0b6143ce3c9a7e6a4a49860d7a6ab210ee3d8"
        "2442ce9d2b916064108014783e923ec36b49743e2ffa1c4496f01a512aafd9e5"
    )
    der = to_der(compact)
    assert module.sign_ecdsa(ONE, message) == der
    assert len(module.sign_ecdsa(ONE, message, grind=True)) <= 70
    key = bytes.fromhex("02" + G)
    assert module.uncompressed_pubkey(key) == module.pubkey_create(ONE, compressed=False)
    assert module.verify_ecdsa(key, der, message) and module.verify_ecdsa_strict(key, der, message, True)
    assert not module.verify_ecdsa(key, der, message[::-1])
    assert module.is_low_der_s(der)
    assert key in {module.recover_compact(compact, n, message) for n in range(2)}
    assert any(module.recover_compact(compact, n, message, compressed=False)[:1] == b"\x04" for n in range(2))
    # BIP340, test vector 0
    signature = module.sign_schnorr(THREE, bytes(32), bytes(32))
    assert signature.hex() == (
        "e907831f80848d1069a5371b402410364bdf1c5f8307b0084c55f1ce2dca8215"
        "25f66a4a85ea8b71e482a74f382d2ce5ebeee8fdb2172f477df4900d310536c0"
    )
    assert module.verify_schnorr(module.xonly(THREE), signature, bytes(32))
    assert not module.verify_schnorr(module.xonly(TWO), signature, bytes(32))
    # BIP341, wallet test vectors
    secret = bytes.fromhex("6b973d88838f27366ed61c9ad6367663045cb456e28335c109e30717ae0c6baa")
    assert module.taproot_tweak_seckey(secret).hex() == (
        "2405b971772ad26915c8dcdf10f238753a9b837e5f8e6a86fd7c0cce5b7296d9"
    )
    output, parity = module.taproot_tweak_pubkey(module.xonly(secret))
    assert output.hex() == "53a1f6e454df1aa2776a2814a721372d6258050de330b3c6d10ee8f4e0dda343"
    tweak = module.tap_tweak_hash(module.xonly(secret))
    assert module.check_taproot_tweak(output, parity, module.xonly(secret), tweak)
    assert not module.check_taproot_tweak(output, 1 - parity, module.xonly(secret), tweak)


def check_curve(module: Any) -> None:
    point = bytes.fromhex("02" + G)
    assert module.pubkey_tweak_add(point, ONE).hex() == TWICE_G
    assert module.seckey_tweak_add(ONE, ONE) == TWO
    compact, recovery = module.sign_recoverable(ONE, hashlib.sha256(b"x").digest())
    assert len(compact) == 64 and recovery in range(4)
    # BIP327, the first vector of key aggregation
    keys = [
        bytes.fromhex("02f9308a019258c31049344f85f89d5229b531c845836f99b08601f113bce036f9"),
        bytes.fromhex("03dff1d77f2a671c5f36183726db2341be58feae1da2deced843240f7b502ba659"),
        bytes.fromhex("023590a94e768f8e1815c2f24b4d80a8e3149316c3518ce7b7ad338368d038ca66"),
    ]
    aggregate = "90539eede565f5d054f32cc0c220126889ed1e5d193baf15aef344fe59d4610c"
    assert module.musig_aggregate(keys)[1:].hex() == aggregate
    check_musig_signature(module)


def check_musig_signature(module: Any) -> None:
    """Two signers, an x-only and a plain tweak: what they sign together holds for the tweaked aggregate."""
    secrets, message, tweaks = (ONE, TWO), bytes(range(32)), [(THREE, True), (TWO, False)]
    keys = [signatures.pubkey_create(secret) for secret in secrets]
    aggregate = module.musig_aggregate(keys)
    made = [
        module.musig_nonce(secret, key, aggregate, keys, message, bytes([number]) * 32)
        for number, (secret, key) in enumerate(zip(secrets, keys, strict=True), 1)
    ]
    nonces = [nonce for nonce, _ in made]
    assert [len(nonce) for nonce in nonces] == [module.PUBNONCE_SIZE] * 2
    partials = [
        module.musig_partial_signature(secret, made[n][1], n, keys, aggregate, tweaks, message, nonces)
        for n, secret in enumerate(secrets)
    ]
    signers = Signers(secrets, keys, tweaks, message)
    signature = module.musig_signature(keys, aggregate, tweaks, message, signers.nonces, signers.partials)
    assert signatures.verify_schnorr(signers.output, signature, message)
    signature = module.musig_signature(keys, aggregate, tweaks, message, nonces, partials)
    assert signatures.verify_schnorr(signers.output, signature, message)
    assert module.musig_signature(keys, aggregate, tweaks, message, signers.nonces, signers.partials[::-1]) is None


class Signers:
    """The signers' side of MuSig2 by libsecp256k1 itself."""

    def __init__(self, secrets: tuple[bytes, ...], keys: list[bytes], tweaks: Any, message: bytes) -> None:
        self.ffi, self.lib = libsecp256k1.ffi, libsecp256k1.lib
        new, lib, static = self.ffi.new, self.lib, self.lib.secp256k1_context_static
        signing = lib.secp256k1_context_create(libsecp256k1.CONTEXT_NONE)
        points = [self.parsed(key) for key in keys]
        cache, null = new("secp256k1_musig_keyagg_cache *"), self.ffi.NULL
        assert lib.secp256k1_musig_pubkey_agg(static, null, cache, new("secp256k1_pubkey *[]", points), len(points))
        tweaked = new("secp256k1_pubkey *")
        for tweak, xonly in tweaks:
            add = lib.secp256k1_musig_pubkey_xonly_tweak_add if xonly else lib.secp256k1_musig_pubkey_ec_tweak_add
            assert add(static, tweaked, cache, tweak)
        out, size = new("unsigned char[33]"), new("size_t *", 33)
        lib.secp256k1_ec_pubkey_serialize(static, out, size, tweaked, libsecp256k1.COMPRESSED)
        self.output = bytes(self.ffi.buffer(out))[1:]
        private, public = [], []
        for number, (secret, point) in enumerate(zip(secrets, points, strict=True), 1):
            private.append(new("secp256k1_musig_secnonce *"))
            public.append(new("secp256k1_musig_pubnonce *"))
            entropy = new("unsigned char[32]", bytes([number]) * 32)
            assert lib.secp256k1_musig_nonce_gen(
                signing, private[-1], public[-1], entropy, secret, point, message, cache, null
            )
        total, session = new("secp256k1_musig_aggnonce *"), new("secp256k1_musig_session *")
        nonces = new("secp256k1_musig_pubnonce *[]", public)
        assert lib.secp256k1_musig_nonce_agg(static, total, nonces, len(public))
        assert lib.secp256k1_musig_nonce_process(static, session, total, message, cache)
        self.nonces = [self.written(66, lib.secp256k1_musig_pubnonce_serialize, nonce) for nonce in public]
        self.partials = []
        for secret, nonce in zip(secrets, private, strict=True):
            pair, partial = new("secp256k1_keypair *"), new("secp256k1_musig_partial_sig *")
            assert lib.secp256k1_keypair_create(signing, pair, secret)
            assert lib.secp256k1_musig_partial_sign(static, partial, nonce, pair, cache, session)
            self.partials.append(self.written(32, lib.secp256k1_musig_partial_sig_serialize, partial))

    def parsed(self, key: bytes) -> Any:
        point = self.ffi.new("secp256k1_pubkey *")
        assert self.lib.secp256k1_ec_pubkey_parse(self.lib.secp256k1_context_static, point, key, len(key))
        return point

    def written(self, size: int, serialize: Any, thing: Any) -> bytes:
        out = self.ffi.new(f"unsigned char[{size}]")
        assert serialize(self.lib.secp256k1_context_static, out, thing)
        return bytes(self.ffi.buffer(out))


def check_ellswift(module: Any) -> None:
    ours, theirs = module.create(ONE, bytes(range(32))), module.create(TWO, bytes(range(32)))
    assert module.decode(ours)[1:].hex() == G
    secret = module.shared_secret(ONE, ours, theirs, initiator=True)
    assert secret == module.shared_secret(TWO, theirs, ours, initiator=False)
    # BIP324, packet encoding vector 0
    ours = bytes.fromhex(
        "ec0adff257bbfe500c188c80b4fdd640f6b45a482bbc15fc7cef5931deff0aa1"
        "86f6eb9bba7b85dc4dcc28b28722de1e3d9108b985e2967045668f66098e475b"
    )
    theirs = bytes.fromhex(
        "a4a94dfce69b4a2a0a099313d10f9f7e7d649d60501c9e1d274c300e0d89aafa"
        "ffffffffffffffffffffffffffffffffffffffffffffffffffffffff8faf88d5"
    )
    key = bytes.fromhex("61062ea5071d800bbfd59e2e8b53d47d194b095ae5a4df04936b49772ef0d4d7")
    assert module.shared_secret(key, ours, theirs, initiator=True).hex() == (
        "c6992a117f5edbea70c3f511d32d26b9798be4b81a62eaee1a5acaa8459a3592"
    )


def check_kernel_bindings(module: Any) -> None:
    context, *functions = module._libsecp256k1()
    assert context and len({*functions}) == len(functions) and all(functions)


CHECKS = {
    "compiled/kernels.py": check_kernel_bindings,
    "descriptors/curve.py": check_curve,
    "script/signatures.py": check_signatures,
    "wire/ellswift.py": check_ellswift,
}


@pytest.mark.parametrize("path", sorted(CHECKS))
def test_libsecp256k1_does_what_we_use_it_for(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(CHECKS) == {name for name, tree in TREES.items() if {"ffi", "lib"} & set(bound_from(tree, SECP))}
    module, lib, ffi = watched(path, monkeypatch)
    CHECKS[path](module)
    assert lib.asked == asked_for(path, "lib"), "a function that no check here comes to"
    assert ffi.asked == asked_for(path, "ffi")


# -- the others --------------------------------------------------------------------------------------------------------


def test_ripemd160_of_bitcointx(monkeypatch: pytest.MonkeyPatch) -> None:
    real = hashlib.new

    def without_legacy(name: str, *args: Any) -> Any:
        if name == "ripemd160":
            raise ValueError("unsupported hash type")
        return real(name, *args)

    monkeypatch.setattr(hashlib, "new", without_legacy)
    plain, after_sha256 = hashes._pick_ripemd160()
    assert plain(b"abc").hex() == "8eb208f7e05d987a9b044a8e98c6b087f15a0bfc"
    assert after_sha256(bytes.fromhex("02" + G)).hex() == "751e76e8199196d454941c45d1b3a323f1433bd6"


def test_names_that_the_library_has_given_up_are_there_for_bitcointx(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = {"a_name_that_is_gone": "secp256k1_ec_seckey_verify"}
    monkeypatch.setattr(bitcointx_library, "RENAMED", bitcointx_library.RENAMED | gone)
    monkeypatch.setattr(bitcointx, "get_custom_secp256k1_path", lambda: None)
    monkeypatch.setattr(secp256k1, "_secp256k1", None)
    bitcointx_library.use_our_library()
    made = secp256k1.get_secp256k1()
    assert all(hasattr(made.lib, name) for name in bitcointx_library.RENAMED)
    key = CKey(ONE)
    assert signatures.verify_ecdsa(bytes(key.pub), key.sign(TWO), TWO) and key.pub.verify(TWO, key.sign(TWO))
    assert signatures.verify_schnorr(signatures.xonly(ONE), key.sign_schnorr_no_tweak(TWO), TWO)


def test_stun_tables_of_pystun() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(20)

        def answer() -> None:
            request, peer = server.recvfrom(2048)
            mapped = bytes.fromhex("00010008" + "0001" + "208d") + socket.inet_aton("203.0.113.5")
            server.sendto(b"\x01\x01" + len(mapped).to_bytes(2, "big") + request[4:20] + mapped, peer)

        thread = threading.Thread(target=answer)
        thread.start()
        assert stun_address(f"127.0.0.1:{server.getsockname()[1]}") == {"host": "203.0.113.5"}
        thread.join()
