"""Signature hashes written out as the BIPs say them, field by field.

Slow on purpose: no midstates, nothing shared. Generators of test spends sign with these, so that the
verification's own shortcuts are checked against them.
"""

from __future__ import annotations

from collections.abc import Sequence

from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.hashes import sha256, sha256d
from btcnode.primitives.tx import Tx
from btcnode.script.scriptparse import iter_ops, push_data

_ONE = b"\x01" + bytes(31)


def tagged_hash(tag: str, data: bytes) -> bytes:
    """BIP340 tagged hash: ``SHA256(SHA256(tag) || SHA256(tag) || data)``."""
    prefix = sha256(tag.encode()).digest()
    return sha256(prefix + prefix + data).digest()


def remove_separators(script: bytes) -> bytes:
    """A well-formed script without its OP_CODESEPARATORs."""
    parts = []
    pos = 0
    for op, data in iter_ops(script):
        size = 1 + len(data) + (0 if op < 0x4C or op > 0x4E else 1 << (op - 0x4C))
        if op != 0xAB:
            parts.append(script[pos : pos + size])
        pos += size
    return b"".join(parts)


def legacy(tx: Tx, index: int, script_code: bytes, hash_type: int) -> bytes:
    """The original signature hash: the whole transaction rewritten; ``hash_type`` is the signature's last byte."""
    base = hash_type & 0x1F
    if base == 3 and index >= len(tx.txouts):
        return _ONE
    script_code = remove_separators(script_code)
    inputs = []
    for i, (prevout, sequence) in enumerate(zip(tx.prevouts, tx.sequences, strict=True)):
        if hash_type & 0x80 and i != index:
            continue
        script = script_code if i == index else b""
        kept = sequence if i == index or base not in (2, 3) else 0
        inputs.append(prevout + compact_size(len(script)) + script + kept.to_bytes(4, "little"))
    outputs = list(tx.txouts)
    if base == 2:
        outputs = []
    elif base == 3:
        outputs = [b"\xff" * 8 + b"\0"] * index + [tx.txouts[index]]
    parts = [tx.version.to_bytes(4, "little"), compact_size(len(inputs)), *inputs, compact_size(len(outputs)), *outputs]
    parts += [tx.lock_time.to_bytes(4, "little"), hash_type.to_bytes(4, "little")]
    return sha256d(b"".join(parts))


def segwit_v0(tx: Tx, index: int, script_code: bytes, value: bytes, hash_type: int) -> bytes:
    """BIP143; ``value`` is the spent output's 8 bytes."""
    base, alone = hash_type & 0x1F, bool(hash_type & 0x80)
    sequences = b"".join(s.to_bytes(4, "little") for s in tx.sequences)
    hash_prevouts = bytes(32) if alone else sha256d(b"".join(tx.prevouts))
    hash_sequence = bytes(32) if alone or base in (2, 3) else sha256d(sequences)
    hash_outputs = bytes(32)
    if base not in (2, 3):
        hash_outputs = sha256d(b"".join(tx.txouts))
    elif base == 3 and index < len(tx.txouts):
        hash_outputs = sha256d(tx.txouts[index])
    return sha256d(
        b"".join(
            (
                tx.version.to_bytes(4, "little"),
                hash_prevouts,
                hash_sequence,
                tx.prevouts[index],
                compact_size(len(script_code)),
                script_code,
                value,
                tx.sequences[index].to_bytes(4, "little"),
                hash_outputs,
                tx.lock_time.to_bytes(4, "little"),
                hash_type.to_bytes(4, "little"),
            )
        )
    )


def tapleaf(script: bytes, leaf_version: int = 0xC0) -> bytes:
    """BIP341 leaf hash."""
    return tagged_hash("TapLeaf", bytes([leaf_version]) + compact_size(len(script)) + script)


def tapbranch(a: bytes, b: bytes) -> bytes:
    """BIP341 branch hash of two nodes, in their sorted order."""
    return tagged_hash("TapBranch", min(a, b) + max(a, b))


def taproot(
    tx: Tx,
    index: int,
    spent: Sequence[bytes],
    hash_type: int,
    *,
    annex: bytes | None = None,
    leaf_hash: bytes | None = None,
    separator: int = 0xFFFFFFFF,
) -> bytes | None:
    """BIP341/BIP342; ``spent`` are the serialised outputs of all inputs; None where the BIP forbids the hash type."""
    if hash_type not in (0, 1, 2, 3, 0x81, 0x82, 0x83):
        return None
    base, alone = hash_type & 3, bool(hash_type & 0x80)
    if base == 3 and index >= len(tx.txouts):
        return None
    parts = [b"\0", bytes([hash_type]), tx.version.to_bytes(4, "little"), tx.lock_time.to_bytes(4, "little")]
    if not alone:
        parts.append(sha256(b"".join(tx.prevouts)).digest())
        parts.append(sha256(b"".join(txout[:8] for txout in spent)).digest())
        parts.append(sha256(b"".join(txout[8:] for txout in spent)).digest())
        parts.append(sha256(b"".join(s.to_bytes(4, "little") for s in tx.sequences)).digest())
    if base not in (2, 3):
        parts.append(sha256(b"".join(tx.txouts)).digest())
    parts.append(bytes([2 * (leaf_hash is not None) + (annex is not None)]))
    if alone:
        parts += [tx.prevouts[index], spent[index], tx.sequences[index].to_bytes(4, "little")]
    else:
        parts.append(index.to_bytes(4, "little"))
    if annex is not None:
        parts.append(sha256(compact_size(len(annex)) + annex).digest())
    if base == 3:
        parts.append(sha256(tx.txouts[index]).digest())
    if leaf_hash is not None:
        parts += [leaf_hash, b"\0", separator.to_bytes(4, "little")]
    return tagged_hash("TapSighash", b"".join(parts))


def p2pkh_code(key_hash: bytes) -> bytes:
    """The script of P2PKH, which is also the script code of P2WPKH."""
    return b"\x76\xa9" + push_data(key_hash) + b"\x88\xac"
