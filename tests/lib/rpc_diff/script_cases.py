"""Scripts of every form, decoded: standard ones with one thing wrong, Miniscript compiled, opcodes by chance."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from btcnode.descriptors.errors import DescriptorError
from btcnode.descriptors.parser import parse_descriptor
from btcnode.descriptors.provider import SigningProvider
from btcnode.networks.parameters import params_for
from btcnode.primitives.coin import make_txout
from btcnode.primitives.hashes import hash160
from btcnode.primitives.tx import Tx
from btcnode.script.scriptparse import push_data

from .cases import Case
from .expressions import Grower
from .values import Values, changed_bytes
from .world import PUBKEYS, UNCOMPRESSED

HASH_TYPES = (0, 1, 2, 3, 4, 0x80, 0x81, 0x82, 0x83, 0x84, 0xFF)
SIGNATURE = bytes.fromhex(  # in strict DER, without hash type
    "304402203da9d487be5302a6d69e02a861acff1da472885e43d7528ed9b1b537a8e2cac9022002d1bca03a1e9715a99971bafe3b1852b7a4f"
    "0168281cbd27a220380a01b3307"
)
MOST_OPCODES = 12
TRIES = 20  # expressions until one is Miniscript
OUTPOINT = bytes(range(32)) + bytes(4)  # that no chain has


class ScriptMaker:
    """Scripts from a seed."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.grower = Grower(rng)

    def piece(self) -> bytes:
        """What a script may push: keys, signatures, numbers, hashes."""
        rng = self.rng
        key = rng.choice(PUBKEYS)
        return rng.choice(
            (
                b"",
                key,
                key[1:],
                rng.choice(UNCOMPRESSED),
                b"\x02" + rng.randbytes(32),
                b"\x06" + rng.choice(UNCOMPRESSED)[1:],
                hash160(key),
                rng.randbytes(rng.choice((19, 20, 32, 33))),
                rng.randbytes(rng.choice((1, 1, 2, 3, 4, 4, 5, 6, 8))),
                rng.choice((b"\0", b"\x80", b"\x81", b"\x10", b"\x11", b"\x7f", b"\xff", b"\0\0\0\x80", b"\xff" * 4)),
                SIGNATURE + bytes([rng.choice(HASH_TYPES)]),
                SIGNATURE,
                changed_bytes(rng, SIGNATURE + b"\x01"),
                rng.randbytes(rng.choice((75, 76, 77, 255, 256, 520, 521))),
            )
        )

    def push(self, data: bytes) -> bytes:
        """A push of the data, now and then with a longer opcode than needed."""
        size = len(data)
        forms = [
            push_data(data),
            b"\x4d" + size.to_bytes(2, "little") + data,
            b"\x4e" + size.to_bytes(4, "little") + data,
        ]
        return self.rng.choices(forms, (8, 1, 1))[0]

    def number(self, value: int) -> bytes:
        """A count as multisig has it, small or pushed."""
        if 1 <= value <= 16 and self.rng.random() < 0.9:
            return bytes([0x50 + value])
        return self.push(value.to_bytes(2, "little").rstrip(b"\0"))

    def standard(self) -> bytes:
        """One of the forms that have a name."""
        rng = self.rng
        keys = [rng.choice((*PUBKEYS, *UNCOMPRESSED[:2])) for _ in range(rng.choice((1, 2, 3, 3, 4, 15, 16, 17, 20)))]
        least = rng.choice((0, 1, 1, len(keys), len(keys) + 1))
        return rng.choice(
            (
                push_data(keys[0]) + b"\xac",
                b"\x76\xa9\x14" + hash160(keys[0]) + b"\x88\xac",
                b"\xa9\x14" + rng.randbytes(20) + b"\x87",
                b"\x00" + push_data(rng.randbytes(rng.choice((20, 32, 31, 2, 40, 41)))),
                bytes([rng.randrange(0x51, 0x61)]) + push_data(rng.randbytes(rng.choice((1, 2, 20, 32, 40, 41)))),
                b"\x51" + push_data(keys[0][1:33]),
                b"\x51\x02\x4e\x73",
                b"\x6a" + b"".join(self.push(self.piece()) for _ in range(rng.randrange(4))),
                self.number(least) + b"".join(map(push_data, keys)) + self.number(len(keys)) + b"\xae",
                self.number(least) + b"".join(map(self.push, keys)) + self.number(len(keys)) + b"\xae",
                b"".join((push_data(keys[0][1:33]), b"\xac", push_data(keys[-1][1:33]), b"\xba", b"\x51\x9c")),
                b"\xa9\x14" + hash160(push_data(keys[0])) + b"\x87",
            )
        )

    def miniscript(self) -> bytes:
        """The script of a wsh() expression; a standard one where none is found."""
        for _ in range(TRIES):
            expression = self.grower.typed("B", self.rng.randrange(4), xonly=False)
            known = SigningProvider()
            try:
                made, *_ = parse_descriptor(f"wsh({expression})", params_for("regtest"), SigningProvider())
                made.expand(0, SigningProvider(), known)
            except DescriptorError:
                continue
            if known.scripts:
                return next(iter(known.scripts.values()))
        return self.standard()

    def by_chance(self) -> bytes:
        """Opcodes and pushes in any order."""
        rng = self.rng
        parts = [
            self.push(self.piece()) if rng.random() < 0.5 else bytes([rng.randrange(256)])
            for _ in range(rng.randrange(MOST_OPCODES))
        ]
        return b"".join(parts)

    def script(self) -> bytes:
        """Any of them, now and then with a byte wrong."""
        rng = self.rng
        found = rng.choice((self.standard, self.standard, self.miniscript, self.by_chance))()
        return changed_bytes(rng, found) if rng.random() < 0.2 else found


def cases(values: Values, count: int) -> Iterator[Case]:
    """``count`` times forty scripts: alone, in a transaction's every place, and as what descriptors tell of them."""
    rng = values.rng
    maker = ScriptMaker(rng)
    for _ in range(count * 40):
        script = maker.script()
        yield Case("decodescript", [script.hex()])
        yield Case("getdescriptorinfo", [f"{rng.choice(('raw', 'raw', 'wsh', 'sh'))}({script.hex()})"])
        scripts = [maker.script() for _ in range(rng.randrange(3))]
        yield from _in_transaction(maker, script, scripts)


def _in_transaction(maker: ScriptMaker, script: bytes, scripts: list[bytes]) -> Iterator[Case]:
    rng = maker.rng
    inputs = rng.choice((1, 1, 1, 2))
    tx = Tx(
        rng.choice((0, 1, 2, 3, 2**32 - 1)),
        [OUTPOINT, bytes(32) + b"\xff" * 4][-inputs:],
        [maker.script(), b""][:inputs],
        [rng.choice((0, 0xFFFFFFFF, 0x400001)), 0][:inputs],
        [make_txout(rng.choice((0, 1, 10**8, -1, 2**63 - 1)), out) for out in (script, *scripts)],
        [[*(maker.piece() for _ in range(rng.randrange(4))), script]] * inputs if rng.random() < 0.5 else None,
        rng.choice((0, 1, 500_000_000, 2**32 - 1)),
    )
    yield Case("decoderawtransaction", [tx.raw.hex(), *rng.choice(([], [True], [False]))])
    yield Case("converttopsbt", [tx.raw.hex(), True])
    yield Case("testmempoolaccept", [[tx.raw.hex()]])
