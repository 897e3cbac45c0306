"""The kernels as Python calls them: bytes in, columns out. Every call lets go of the interpreter.

They only ever say yes: what they do not answer (None, or what they leave over) is for the plain code to judge.
"""

from __future__ import annotations

import ctypes
import hashlib
import inspect
import secrets
import threading
from array import array
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, pairwise
from struct import Struct
from typing import NamedTuple, Protocol

from btcnode.compiled import entries, folding, hashing, listing, scanning, spending, undo
from btcnode.compiled.entries import ENTRIES
from btcnode.compiled.machine_code import MachineCode, NoMachineCode, load, openssl_functions

KEY_BITS = 14  # 16,384 places for parsed keys, 1.7 MB for each thread that verifies
_KERNEL_ROOM = 1024  # bytes beside what is hashed

_outpoint_rows = Struct("36s").iter_unpack

Call = Callable[..., int]


class Facts(NamedTuple):
    """What a scan has found out about a block beside its columns.

    ``sound``: amounts, prevouts, numbers of inputs and outputs are such that no transaction breaks a rule about them,
    and the first one alone spends the null outpoint; False says nothing. ``lock_height`` and ``lock_time`` are the
    latest locks of transactions whose sequences do not switch them off, 0 for none. ``odd_outputs``: the outputs that
    begin with OP_RETURN or have scripts of 253 bytes and more, by their places in ``out_pos``.
    """

    sound: bool
    sigops: int
    lock_height: int
    lock_time: int
    odd_outputs: list[int]


class Scanned(NamedTuple):
    """A block's columns as ``ParsedBlock`` has them, the offset behind the last transaction, and the facts."""

    end: int
    stripped: int
    facts: Facts
    tx_pos: list[int]
    body_pos: list[int]
    witness_pos: list[int]
    first_in: list[int]
    first_out: list[int]
    in_pos: list[int]
    out_pos: list[int]
    txids: list[bytes]
    wtxids: list[bytes]


class Unproven(NamedTuple):
    """An input that is not known to be valid: its job, its place there, offsets of its transaction and its coins."""

    job: int
    place: int
    tx_at: int
    coins_at: int


class Proven(NamedTuple):
    """How many inputs were looked at, and those of them that are not known to be valid, in order."""

    inputs: int
    unproven: list[Unproven]


class Spread(NamedTuple):
    """Outpoints as three columns of 16 bytes each: both halves of the txid; vout and twelve zeros."""

    first: bytearray
    second: bytearray
    third: bytearray


class Listed(NamedTuple):
    """What a block's transactions spend, one outpoint of 36 bytes behind the other, and how many each of them does.

    ``coins`` is how many they make, ``coin_bytes`` what these take, ``locked`` how many may have a relative lock.
    """

    prevouts: list[bytes]
    prevouts_of: list[int]
    coins: int
    coin_bytes: int
    locked: int


class Outputs(Protocol):
    """What is to be known of a block's outputs."""

    raw: bytes
    n_tx: int
    txids: list[bytes]
    out_pos: list[int]
    first_out: list[int]


class _Environment:
    """Room that a kernel works in, of one thread."""

    def __init__(self, functions: tuple[int, int], secp: tuple[int, ...], prepare: Callable[[int], None]) -> None:
        self._room = bytearray(spending.ENV_SIZE)
        self._keys = bytearray()
        self.address = _address(self._room)
        numbers = [*functions, *secp, 0, KEY_BITS]
        self._room[: 8 * len(numbers)] = b"".join([number.to_bytes(8, "little") for number in numbers])
        prepare(self.address)

    def give_keys(self) -> None:
        """Room for parsed keys, unless it is there: only a thread that verifies needs any."""
        if not self._keys:
            self._keys = bytearray(b"\xff") * (spending.KEY_SLOT << KEY_BITS)
            self._room[spending.KEYS : spending.KEYS + 8] = _address(self._keys).to_bytes(8, "little")


def _address(room: bytearray) -> int:
    """Where its bytes are, as long as somebody holds it and nobody changes its size."""
    return ctypes.addressof(ctypes.c_char.from_buffer(room)) if room else 0


def _libsecp256k1() -> tuple[int, ...]:
    """The context and the functions that ``spending`` calls, in the order of its environment."""
    from btcnode.libsecp256k1 import ffi, lib

    names = (
        "secp256k1_ec_pubkey_parse",
        "secp256k1_ecdsa_signature_parse_der",
        "secp256k1_ecdsa_signature_normalize",
        "secp256k1_ecdsa_verify",
        "secp256k1_xonly_pubkey_parse",
        "secp256k1_schnorrsig_verify",
        "secp256k1_xonly_pubkey_tweak_add_check",
    )
    functions = [int(ffi.cast("uintptr_t", ffi.addressof(lib, name))) for name in names]
    return (int(ffi.cast("uintptr_t", lib.secp256k1_context_static)), *functions)


def _set_up(env: int) -> None:
    hashing.set_up_hashing(env)
    for tag, at in (
        (b"TapSighash", spending.TAP_SIGHASH),
        (b"TapLeaf", spending.TAP_LEAF),
        (b"TapBranch", spending.TAP_BRANCH),
        (b"TapTweak", spending.TAP_TWEAK),
    ):
        digest = bytearray(hashlib.sha256(tag).digest())
        hashing.middle_of_tag(env, _address(digest), env + at)


class Kernels:
    """The kernels of ``calls``, by the names of their entries; any thread may use them."""

    def __init__(self, calls: Mapping[str, Call], code: MachineCode | None = None) -> None:
        """``code`` is kept as long as this is. Raises NoMachineCode where OpenSSL's functions cannot be reached."""
        self._code = code
        self._functions = openssl_functions()
        self._secp = _libsecp256k1()
        self._threads = threading.local()
        self._fold_merkle_tree = calls[entries.FOLD_MERKLE_TREE.name]
        self._scan_block = calls[entries.SCAN_BLOCK.name]
        self._prove_prevouts = calls[entries.PROVE_PREVOUTS.name]
        self._verify_spends = calls[entries.VERIFY_SPENDS.name]
        self._spread_inputs = calls[entries.SPREAD_INPUTS.name]
        self._spread_outputs = calls[entries.SPREAD_OUTPUTS.name]
        self._pack_kept = calls[entries.PACK_KEPT.name]
        self._apply_key = calls[entries.APPLY_KEY.name]
        self._encode_undo = calls[entries.ENCODE_UNDO.name]
        self._write_short_ids = calls[entries.WRITE_SHORT_IDS.name]
        self._match_short_ids = calls[entries.MATCH_SHORT_IDS.name]
        self._count_parts = calls[entries.COUNT_PARTS.name]
        self._list_prevouts = calls[entries.LIST_PREVOUTS.name]
        self._list_coins = calls[entries.LIST_COINS.name]
        self._multiplier = secrets.randbits(61) | 1

    def _env(self, *, verifying: bool = False) -> int:
        found: _Environment | None = getattr(self._threads, "environment", None)
        if found is None:
            found = self._threads.environment = _Environment(self._functions, self._secp, _set_up)
        if verifying:
            found.give_keys()
        return found.address

    def merkle_root(self, hashes: bytes) -> tuple[bytes, bool]:
        """See ``primitives.merkle.merkle_root``: of at least one hash, one behind the other."""
        room = bytearray(len(hashes) + 32)
        room[:-32] = hashes
        mutated = self._fold_merkle_tree(self._env(), room, len(hashes) // 32)
        return bytes(room[:32]), mutated == 1

    def scan_block(self, raw: bytes, at: int, n_tx: int) -> Scanned | None:
        """Scan the ``n_tx`` transactions of the block ``raw`` from offset ``at`` on; None for an unusual block."""
        most_in, most_out = len(raw) // 41 + 1, len(raw) // 9 + 1
        sizes = (
            4 * n_tx, 4 * n_tx, 4 * n_tx, 4 * n_tx + 4, 4 * n_tx + 4,
            4 * most_in, 4 * most_out, 32 * n_tx, 32 * n_tx, len(raw) + 8, 4 * most_out,
        )  # fmt: skip
        columns, table = _rooms(sizes)
        found = (ctypes.c_int64 * scanning.FINDINGS)()
        status = self._scan_block(self._env(), raw, at, len(raw), n_tx, table, ctypes.addressof(found))
        if status != 0:
            return None
        inputs, outputs = found[scanning.INPUTS], found[scanning.OUTPUTS]
        in_column = columns[scanning.IN_POS]
        bits = (2 * inputs + 1).bit_length()
        slots = bytearray(4 << bits)
        sound = found[scanning.SOUND] and self._prove_prevouts(raw, in_column, inputs, slots, bits)
        tx_pos = _numbers(columns[scanning.TX_POS], n_tx)
        body_pos = _numbers(columns[scanning.BODY_POS], n_tx)
        txids = _hashes(columns[scanning.TXIDS])
        wtxids = [
            txid if body - start == 4 else wtxid
            for txid, wtxid, body, start in zip(txids, _hashes(columns[scanning.WTXIDS]), body_pos, tx_pos, strict=True)
        ]
        return Scanned(
            end=found[scanning.END],
            stripped=found[scanning.STRIPPED],
            facts=Facts(
                sound == 1,
                found[scanning.SIGOPS],
                found[scanning.LOCK_HEIGHT],
                found[scanning.LOCK_TIME],
                _numbers(columns[scanning.ODD], found[scanning.ODD_OUTPUTS]),
            ),
            tx_pos=tx_pos,
            body_pos=body_pos,
            witness_pos=_numbers(columns[scanning.WITNESS_POS], n_tx),
            first_in=_numbers(columns[scanning.FIRST_IN], n_tx + 1),
            first_out=_numbers(columns[scanning.FIRST_OUT], n_tx + 1),
            in_pos=_numbers(in_column, inputs),
            out_pos=_numbers(columns[scanning.OUT_POS], outputs),
            txids=txids,
            wtxids=wtxids,
        )

    def verify_spends(self, raw: bytes, coins: bytes, jobs: int, flags: int) -> Proven | None:
        """Verify ``jobs`` transactions that stand in ``raw``, and in ``coins`` the packed coins that they spend.

        None where the bytes are anything else. ``flags`` must be consistent.
        """
        inputs = len(raw) // 41 + 1
        sizes = 4 * inputs, 4 * (len(raw) // 9 + 1), 4 * inputs, 2 * (len(raw) + len(coins)) + _KERNEL_ROOM, 16 * inputs
        columns, table = _rooms(sizes)
        count_at = len(table)
        table += bytes(8)
        env = self._env(verifying=True)
        status = self._verify_spends(env, raw, len(raw), coins, len(coins), jobs, flags, table)
        if status < 0:
            return None
        count = int.from_bytes(table[count_at:], "little")
        numbers = iter(_numbers(columns[4], 4 * count))
        return Proven(status, [Unproven(*four) for four in zip(numbers, numbers, numbers, numbers, strict=True)])

    def spread_inputs(self, raw: bytes, in_pos: Sequence[int]) -> Spread:
        """The outpoints that the inputs at these offsets spend."""
        count = len(in_pos)
        columns = Spread(*(bytearray(16 * count) for _ in range(3)))
        self._spread_inputs(raw, _column(in_pos), count, *columns)
        return columns

    def spread_outputs(self, txids: Sequence[bytes], first_out: Sequence[int], marks: bytearray) -> Spread:
        """The outpoints of the outputs that are marked SPENT_LATER."""
        count = marks.count(folding.SPENT_LATER)
        columns = Spread(*(bytearray(16 * count) for _ in range(3)))
        self._spread_outputs(b"".join(txids), _column(first_out), len(txids), marks, *columns)
        return columns

    def pack_kept(self, block: Outputs, marks: bytearray, prefixes: bytes) -> tuple[bytes, int]:
        """Records of the outputs that are marked KEPT, and their satoshi.

        ``prefixes``: four bytes in front of a coin, then those of one of the coinbase.
        """
        raw, columns = block.raw, (_column(block.out_pos), _column(block.first_out), b"".join(block.txids))
        room = bytearray(len(raw) + 42 * marks.count(folding.KEPT))
        heads = bytearray(prefixes + bytes(8))
        size = self._pack_kept(raw, len(raw), *columns, block.n_tx, marks, heads, room)
        return bytes(memoryview(room)[:size]), int.from_bytes(heads[8:], "little")

    def list_inputs(self, raw: bytes, tx_pos: Sequence[int], n_tx: int) -> Listed | None:
        """What the first ``n_tx`` transactions at these offsets spend; None where something is none.

        Raises ValueError where there are fewer offsets.
        """
        if n_tx > len(tx_pos):
            raise ValueError("a transaction without an offset")
        places, found = _column(tx_pos), bytearray(8 * listing.FINDINGS)
        if self._count_parts(raw, len(raw), places, n_tx, found) != 0:
            return None
        inputs, coins, coin_bytes, locked = memoryview(found).cast("q")
        counts, prevouts = bytearray(4 * n_tx), bytearray(36 * inputs)
        self._list_prevouts(raw, len(raw), places, n_tx, counts, prevouts)
        return Listed(_outpoints(prevouts), _numbers(counts, n_tx), coins, coin_bytes, locked)

    def list_coins(
        self, raw: bytes, tx_pos: Sequence[int], txids: Sequence[bytes], prefixes: bytes, listed: Listed
    ) -> dict[bytes, bytes]:
        """The coins that the transactions make; ``prefixes`` as for ``pack_kept``.

        ``listed`` was found of the same ones. Raises ValueError where their number is another.
        """
        if not len(txids) == len(listed.prevouts_of) <= len(tx_pos):
            raise ValueError("these transactions were not listed")
        outpoints, coins, ends = bytearray(36 * listed.coins), bytearray(listed.coin_bytes), bytearray(4 * listed.coins)
        names, heads, n_tx = b"".join(txids), bytearray(prefixes), len(txids)
        self._list_coins(raw, len(raw), _column(tx_pos), n_tx, names, heads, outpoints, coins, ends)
        packed, limits = bytes(coins), pairwise((0, *_numbers(ends, listed.coins)))
        return dict(zip(_outpoints(outpoints), [packed[start:end] for start, end in limits], strict=True))

    def apply_key(self, data: bytes, key: bytes) -> bytes:
        """XOR with the eight bytes of ``key``, again and again."""
        result = bytearray(len(data))
        self._apply_key(data, len(data), int.from_bytes(key, "little", signed=True), result)
        return bytes(result)

    def encode_undo(self, head: bytes, counts: Sequence[int], coins: bytes) -> bytes | None:
        """``head`` and the undo data of transactions with so many inputs, whose packed coins are ``coins``.

        None where a coin is unusual.
        """
        start = len(head)
        room = bytearray(start + len(coins) + undo.MAX_COIN_GROWTH * (sum(counts) + len(counts)))
        room[:start] = head
        size = self._encode_undo(coins, len(coins), _column(counts), len(counts), _address(room) + start)
        return None if size < 0 else bytes(memoryview(room)[: start + size])

    def short_ids(self, key: bytes, hashes: bytes) -> bytes:
        """The short ids (BIP152) of hashes of 32 bytes, six bytes each."""
        count = len(hashes) // 32
        room = bytearray(6 * count)
        self._write_short_ids(key, hashes, count, room)
        return bytes(room)

    def match_short_ids(self, key: bytes, hashes: bytes, ids: Sequence[int]) -> list[tuple[int, int]] | None:
        """Those of the hashes whose short id is one of ``ids``, which differ: by their places, behind each its id's.

        None where somebody has chosen ids that do not spread.
        """
        count = len(hashes) // 32
        bits = (2 * len(ids) + 1).bit_length()
        table, room = bytearray(4 << bits), bytearray(8 * count)
        column = bytearray(array("Q", ids).tobytes())
        found = self._match_short_ids(key, hashes, count, column, len(ids), self._multiplier, table, bits, room)
        if found < 0:
            return None
        numbers = iter(_numbers(room, 2 * found))
        return list(zip(numbers, numbers, strict=True))


def load_kernels() -> Kernels:
    """Those whose machine code is there; raises NoMachineCode."""
    return kernels_of(load())


def kernels_of(code: MachineCode) -> Kernels:
    """Those of this code, tried on what is known; raises NoMachineCode where anything is not as it should be."""
    calls: dict[str, Call] = {}
    for name, kernel in ENTRIES:
        arguments = [ctypes.c_void_p] * len(inspect.signature(kernel).parameters)
        calls[name] = _with_rooms(ctypes.CFUNCTYPE(ctypes.c_int64, *arguments)(code.address(name)))
    kernels = Kernels(calls, code)
    check_kernels(kernels)
    return kernels


def interpreted_kernels() -> Kernels:
    """The same kernels as plain Python, a thousand times slower: for tests."""
    return Kernels({name: _with_addresses(kernel) for name, kernel in ENTRIES})


def _with_rooms(function: Callable[..., int]) -> Call:
    """The function, called with rooms as well, each of which stays as long as the call takes."""

    def call(*arguments: int | bytes | bytearray) -> int:
        return function(*[_address(each) if type(each) is bytearray else each for each in arguments])

    return call


def _pointer(data: ctypes.c_char_p) -> int:
    return ctypes.cast(data, ctypes.c_void_p).value or 0


def _with_addresses(kernel: Callable[..., int]) -> Call:
    """A kernel that runs as Python, which knows no bytes."""

    def call(*arguments: int | bytes | bytearray) -> int:
        kept = [ctypes.c_char_p(each) if isinstance(each, bytes) else each for each in arguments]
        return kernel(*[_pointer(each) if isinstance(each, ctypes.c_char_p) else each for each in kept])

    return _with_rooms(call)


def _rooms(sizes: tuple[int, ...]) -> tuple[list[bytearray], bytearray]:
    """Room of each size, and a table of their addresses."""
    rooms = [bytearray(size) for size in sizes]
    return rooms, bytearray(b"".join([_address(room).to_bytes(8, "little") for room in rooms]))


def _column(numbers: Sequence[int]) -> bytearray:
    return bytearray(array("I", numbers or (0,)).tobytes())


def _numbers(column: bytearray, count: int) -> list[int]:
    return memoryview(column)[: 4 * count].cast("I").tolist()


def _outpoints(column: bytearray) -> list[bytes]:
    return list(chain.from_iterable(_outpoint_rows(column)))


def _hashes(column: bytearray) -> list[bytes]:
    data = bytes(column)
    return [data[at : at + 32] for at in range(0, len(data), 32)]


# the example of BIP143 for P2WPKH: its first input spends a P2PK output, which no kernel knows, its second one P2WPKH
_EXAMPLE = bytes.fromhex(
    "01000000000102fff7f7881a8099afa6940d42d1e7f6362bec38171ea3edf433541db4e4ad969f00000000494830450221008b9d1dc26ba6a9cb62127b02742fa9d754cd3bebf337f7a55d114c8e5cdd30be022040529b194ba3f9281a99f2b1c0a19c0489bc22ede944ccf4ecbab4cc618ef3ed01eeffffffef51e1b804cc89d182d279655c3aa89e815b1b309fe287d9b2b55d57b90ec68a0100000000ffffffff02202cb206000000001976a9148280b37df378db99f66f85c95a783a76ac7a6d5988ac9093510d000000001976a9143bde42dbee7e4dbe6a21b2d50ce2f0167faa815988ac000247304402203609e17b84f6a7d30c80bfa610b5b4542f32a8a0d5447a12fb1366d7f01cc44a0220573a954c4518331561406f90300e8f3358f51928d43c212a8caed02de67eebee0121025476c2e83188368da1ff3e292e7acafcdb3566bb0ad253f62fc70f07aeee635711000000"
)
_EXAMPLE_COINS = bytes.fromhex(
    "00000000404b4c0000000000232103c9f4836b9a4f77fc0d81f7bcb01b7f1b35916864b9476c241ce9fc198bd25432ac"
    "000000000046c323000000001600141d0f172a0ecb48aee1be1f2687d2963ae33f71a1"
)
_EXAMPLE_FLAGS = 1 << 0 | 1 << 11  # P2SH, WITNESS


def check_kernels(kernels: Kernels) -> None:
    """Try them on what is known; raises NoMachineCode where anything is not as it should be."""
    leaves = [bytes([k]) * 32 for k in range(3)]
    pairs = _double(leaves[0] + leaves[1]), _double(leaves[2] + leaves[2])
    if kernels.merkle_root(b"".join(leaves)) != (_double(pairs[0] + pairs[1]), False):
        raise NoMachineCode("the kernel of merkle trees gives another root")
    scanned = kernels.scan_block(_EXAMPLE, 0, 1)
    stripped = _EXAMPLE[:4] + _EXAMPLE[6:-112] + _EXAMPLE[-4:]
    if scanned is None or (scanned.txids, scanned.wtxids) != ([_double(stripped)], [_double(_EXAMPLE)]):
        raise NoMachineCode("the kernel that scans blocks gives other hashes")
    listed = kernels.list_inputs(_EXAMPLE, [0], 1)
    if listed is None or listed.prevouts != [_EXAMPLE[7:43], _EXAMPLE[121:157]]:
        raise NoMachineCode("the kernel that lists inputs finds others")
    names = [_double(stripped) + bytes([vout, 0, 0, 0]) for vout in range(2)]
    coins = [b"base" + _EXAMPLE[start : start + 34] for start in (163, 197)]
    if kernels.list_coins(_EXAMPLE, [0], scanned.txids, b"coinbase", listed) != dict(zip(names, coins, strict=True)):
        raise NoMachineCode("the kernel that lists coins finds others")
    changed = _EXAMPLE.replace(bytes.fromhex("57b90ec68a01"), bytes.fromhex("57b90ec68b01"))
    for raw, unproven in ((_EXAMPLE, [0]), (changed, [0, 1])):
        proven = kernels.verify_spends(raw, _EXAMPLE_COINS, 1, _EXAMPLE_FLAGS)
        if proven is None or [each.place for each in proven.unproven] != unproven:
            raise NoMachineCode("the kernel that verifies spends judges otherwise")


def _double(data: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()
