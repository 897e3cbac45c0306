"""Psbts with records of every type, known and not, whose keys and values have right lengths and wrong ones."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from random import Random

from btcnode.primitives.tx import Tx
from btcnode.script.scriptparse import push_data
from btcnode.wire.codec import Reader, encode_var_bytes

from .cases import Case
from .values import Values
from .world import PUBKEYS, UNCOMPRESSED, UNUSUAL_SCRIPTS, wif

MAGIC = b"psbt\xff"
GLOBAL, INPUT, OUTPUT = range(3)
TYPES = (
    (0x00, 0x01, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0xFB, 0xFC, 0x07, 0x08, 0x09, 0x0F),
    (*range(0x1F), *range(0x13, 0x1D), 0xFC, 0x0F),
    (*range(0x0C), 0x05, 0x06, 0x07, 0x08, 0xFC, 0x0F),
)
LENGTHS = (0, 1, 2, 3, 4, 5, 8, 16, 20, 31, 32, 33, 34, 36, 64, 65, 66, 71, 72, 78, 97, 98, 130, 132)
XONLY = 32


def _blob(rng: Random, tx: Tx) -> bytes:
    """Bytes that a key or a value may be made of."""
    key = rng.choice(PUBKEYS)
    return rng.choice(
        (
            b"",
            key,
            key,
            key[1:],
            rng.choice(UNCOMPRESSED),
            b"\x02" + rng.randbytes(XONLY),
            rng.randbytes(rng.choice(LENGTHS)),
            bytes(rng.choice(LENGTHS)),
            rng.choice((1, 2, 3, 0x81, 0x82, 0x83, 0, 4, 0x41)).to_bytes(4, "little"),
            b"\x51",
            push_data(key) + b"\xac",
            b"\x51" + push_data(key) + b"\x51\xae",
            b"\x00\x20" + rng.randbytes(XONLY),
            rng.choice(UNUSUAL_SCRIPTS[:-1]),
            rng.randbytes(4) + b"".join(n.to_bytes(4, "little") for n in (0x80000054, 0, 1)[: rng.randrange(4)]),
            b"\x04\x35\x87\xcf" + bytes([rng.choice((0, 1, 3))]) + bytes(8) + rng.randbytes(32) + key,
            tx.raw,
            tx.txouts[0],
            b"\x00" + b"\xc0" + push_data(b"\x51"),
            b"\x01\x20" + rng.randbytes(32) + rng.randbytes(8),
            b"\xc0" + key[1:],
            b"\xc0" + key[1:] + rng.randbytes(32 * rng.randrange(3)),
            b"\x51\xc0",
            b"\x01" + rng.randbytes(32),
            key + key[1:],
            key + rng.choice(PUBKEYS) + rng.randbytes(rng.choice((0, 32))),
            b"\x02\x01\x51\x01\x52",
            b"\x30\x06\x02\x01\x01\x02\x01\x01\x01",
            rng.randbytes(64) + rng.choice((b"", b"\x01", b"\x83")),
        )
    )


def psbt_of(maps: Sequence[Sequence[tuple[bytes, bytes]]]) -> bytes:
    """A psbt of these maps: the global one, then one for each input and output; records are key and value."""
    return MAGIC + b"".join(b"".join(_record(*record) for record in part) + b"\0" for part in maps)


def _record(key: bytes, value: bytes) -> bytes:
    return encode_var_bytes(key) + encode_var_bytes(value)


def _maps(raw: bytes) -> list[list[tuple[bytes, bytes]]]:
    """The maps of a good psbt, records as they stand."""
    reader = Reader(raw[len(MAGIC) :])
    maps: list[list[tuple[bytes, bytes]]] = [[]]
    while reader.remaining:
        key = reader.var_bytes()
        if key:
            maps[-1].append((key, reader.var_bytes()))
        else:
            maps.append([])
    return maps[:-1]


def _changed(rng: Random, tx: Tx, maps: list[list[tuple[bytes, bytes]]]) -> bytes:
    """With one to three more records, or records taken out, doubled or moved."""
    maps = [list(part) for part in maps]
    n = len(tx.prevouts)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at = rng.randrange(len(maps))
        part = maps[at]
        kind = GLOBAL if at == 0 else INPUT if at <= n else OUTPUT
        roll = rng.random()
        if roll < 0.8:
            key = bytes([rng.choice(TYPES[kind])]) + rng.choice((b"", b"", _blob(rng, tx)))
            part.insert(rng.randint(0, len(part)), (key, _blob(rng, tx)))
        elif part and roll < 0.86:
            part.pop(rng.randrange(len(part)))
        elif part and roll < 0.92:
            part.append(rng.choice(part))
        elif part:
            key, _ = part.pop()
            part.append((key, _blob(rng, tx)))
    return psbt_of(maps)


def cases(values: Values, count: int) -> Iterator[Case]:
    """``count`` times twenty psbts, each given to each method."""
    rng = values.rng
    bases = []
    for text in values.psbts[-24:]:  # those of this chain
        raw = base64.b64decode(text)
        maps = _maps(raw)
        tx = Tx.parse(maps[0][0][1])
        bases.append((text, tx, maps))
    for _ in range(count * 20):
        text, tx, maps = rng.choice(bases)
        changed = base64.b64encode(_changed(rng, tx, maps)).decode()
        yield Case("decodepsbt", [changed])
        yield Case("analyzepsbt", [changed])
        yield Case("finalizepsbt", [changed, rng.random() < 0.5])
        yield Case("utxoupdatepsbt", [changed])
        yield Case("descriptorprocesspsbt", [changed, [f"wpkh({wif(seed)})" for seed in range(3)], "ALL"])
        yield Case("combinepsbt", [[text, changed]])
        yield Case("combinepsbt", [[changed, text]])
        yield Case("joinpsbts", [[changed, rng.choice(bases)[0]]])
