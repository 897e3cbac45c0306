"""Readers for the real blocks among the vectors, and stand-ins for what lies below them."""

from __future__ import annotations

import bz2
import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from btcnode.consensus.connect import ConnectContext
from btcnode.consensus.deployments import script_flags
from btcnode.consensus.subsidy import block_subsidy
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.block import ParsedBlock
from btcnode.primitives.coin import make_coin
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.hashes import BlockHash, from_display
from btcnode.primitives.merkle import merkle_root
from btcnode.primitives.tx import Tx

OLD_HEIGHT = 1  # coins of unknown age


@dataclass
class Spent:
    """A spent output with what BIP68 and maturity need."""

    coin: bytes
    height: int
    mtp: int  # median time past of the block before the one that made it


@dataclass
class RealBlock:
    name: str
    height: int
    raw: bytes
    spent: list[Spent]
    prev_mtp: int = 0
    expected: dict[str, Any] = field(default_factory=dict)


def context(block: RealBlock, parsed: ParsedBlock, params: NetworkParams) -> ConnectContext:
    """The context of a block whose ancestors are known only through the coins it spends."""
    times = {max(spent.height - 1, 0): spent.mtp for spent in block.spent}
    return ConnectContext(
        flags=script_flags(block.height, parsed.hash, params),
        subsidy=block_subsidy(block.height, params),
        check_bip30=False,
        csv_active=block.height >= params.csv_height,
        prev_mtp=block.prev_mtp,
        mtp_at=times.__getitem__,
    )


def outside_coins(block: RealBlock, parsed: ParsedBlock) -> dict[bytes, bytes]:
    """The coins that the block does not make itself."""
    made = set(parsed.txids)
    pairs = zip(parsed.prevouts()[1:], block.spent, strict=True)
    return {outpoint: spent.coin for outpoint, spent in pairs if outpoint[:32] not in made}


def read_undo_file(path: Path) -> list[bytes]:
    """The txouts of an ``-undo.raw`` file."""
    raw, pos, found = path.read_bytes(), 0, []
    while pos < len(raw):
        size, start = raw[pos + 8], pos + 9
        if size >= 0xFD:
            width = 2 if size == 0xFD else 4
            size, start = int.from_bytes(raw[pos + 9 : pos + 9 + width], "little"), pos + 9 + width
        found.append(raw[pos : start + size])
        pos = start + size
    return found


def block_with_undo(path: Path, height: int) -> RealBlock:
    """A block and its spent outputs, whose ages are not told."""
    prefix = (OLD_HEIGHT << 1).to_bytes(4, "little")
    txouts = read_undo_file(path.with_name(path.stem + "-undo.raw"))
    return RealBlock(path.stem, height, path.read_bytes(), [Spent(prefix + txout, OLD_HEIGHT, 0) for txout in txouts])


def framed_blocks(data: bytes) -> Iterator[bytes]:
    """Blocks of the blk*.dat form; stops at the first torn frame."""
    pos = 0
    while pos + 8 <= len(data):
        size = int.from_bytes(data[pos + 4 : pos + 8], "little")
        if pos + 8 + size > len(data):
            return
        yield data[pos + 8 : pos + 8 + size]
        pos += 8 + size


def bz2_blocks(path: Path) -> list[bytes]:
    return list(framed_blocks(bz2.decompress(path.read_bytes())))


def floresta_block(vectors: Path, height: int) -> RealBlock:
    """A block whose spent outputs come with height, coinbase flag and median time past."""
    entries = json.loads(gzip.decompress((vectors / f"floresta/block{height}-spent_utxos.json.gz").read_bytes()))
    spent = []
    for entry in entries:
        txout, made = entry["txout"], entry["creation_height"]
        script = bytes.fromhex(txout["script_pubkey"])
        coin = make_coin(made, entry["is_coinbase"], txout["value"], script)
        spent.append(Spent(coin, made, entry["creation_time"]))
    raw = (vectors / f"floresta/block{height}.raw").read_bytes()
    return RealBlock(f"floresta {height}", height, raw, spent)


def raito_block(path: Path) -> RealBlock:
    """A block of raito's ``full_N.json``, with the state before and after it; ``raw`` is rebuilt from the fields."""
    data = json.loads(path.read_text())
    state, (block,) = data["chain_state"], data["blocks"]
    spent: list[Spent] = []
    txs = []
    for number, tx in enumerate(block["data"]["transactions"]):
        txs.append(_raito_tx(tx))
        for entry in tx["inputs"] if number else ():
            out = entry["previous_output"]
            script = bytes.fromhex(out["data"]["pk_script"][2:])
            coin = make_coin(out["block_height"], out["is_coinbase"], out["data"]["value"], script)
            spent.append(Spent(coin, out["block_height"], out["median_time_past"]))
    root = merkle_root([tx.txid for tx in txs])[0]
    header = raito_header(state, block["header"], root)
    raw = b"".join((header, compact_size(len(txs)), *(tx.raw for tx in txs)))
    prev_mtp = sorted(state["prev_timestamps"])[len(state["prev_timestamps"]) // 2]
    return RealBlock(path.stem, state["block_height"] + 1, raw, spent, prev_mtp, data["expected"])


def raito_header(state: dict[str, Any], header: dict[str, int], root: bytes) -> bytes:
    return b"".join(
        (
            header["version"].to_bytes(4, "little"),
            from_display(state["best_block_hash"]),
            root,
            *(header[name].to_bytes(4, "little") for name in ("time", "bits", "nonce")),
        )
    )


def _raito_tx(tx: dict[str, Any]) -> Tx:
    prevouts, scripts, sequences, stacks = [], [], [], []
    for entry in tx["inputs"]:
        out = entry["previous_output"]
        prevouts.append(from_display(out["txid"]) + out["vout"].to_bytes(4, "little"))
        scripts.append(bytes.fromhex(entry["script"][2:]))
        sequences.append(entry["sequence"])
        stacks.append([bytes.fromhex(item[2:]) for item in entry["witness"]])
    txouts = [make_coin(0, False, out["value"], bytes.fromhex(out["pk_script"][2:]))[4:] for out in tx["outputs"]]
    witnesses = stacks if tx["is_segwit"] else None
    return Tx(tx["version"], prevouts, scripts, sequences, txouts, witnesses, tx["lock_time"])


class PointAncestry:
    """The tree below one block, known only by figures: height, median time past, time of the period's start."""

    def __init__(
        self,
        height: int,
        *,
        mtp: int = 0,
        bits: int = 0,
        times: dict[int, int] | None = None,
        interval: int = 2016,
    ) -> None:
        self._tip = height
        self._mtp = mtp
        self._bits = bits
        self._times = times or {}
        self._interval = interval

    # headers are named by their height here
    def height(self, index: int) -> int:
        return index

    def version(self, index: int) -> int:
        raise NotImplementedError

    def time(self, index: int) -> int:
        return self._times[index]

    def bits(self, index: int) -> int:
        return self._bits

    def hash(self, index: int) -> BlockHash:
        raise NotImplementedError

    def prev(self, index: int) -> int:
        return index - 1

    def ancestor(self, index: int, height: int) -> int:
        return height

    def median_time_past(self, index: int) -> int:
        assert index == self._tip
        return self._mtp

    def chainwork(self, index: int) -> int:
        raise NotImplementedError
