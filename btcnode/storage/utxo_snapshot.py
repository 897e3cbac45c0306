"""UTXO sets in a file, in Bitcoin Core's form: what dumptxoutset writes and loadtxoutset reads.

``"utxo" ff | version[u16] | network magic[4] | block hash[32] | coins[u64]``, then for each transaction
``txid[32] | CompactSize outputs | (CompactSize vout | coin as in the chainstate, compressed) ...``. Transactions come
in the order of their txids, outputs in that of Core's database: by the bytes of the VARINT of their number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from itertools import chain, groupby
from struct import Struct
from typing import BinaryIO

from btcnode.errors import DecodeError
from btcnode.networks.names import NETWORKS
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.hashes import BlockHash
from btcnode.storage.coins import CoinItem
from btcnode.storage.undo import compress_coin, encode_varint
from btcnode.tuples import NamedTuple

MAGIC = b"utxo\xff"
VERSION = 2
HEADER = Struct("<5sH4s32sQ")
ORDERED_VOUTS = 0x4080  # below it the order of VARINTs is that of the numbers


class SnapshotHeader(NamedTuple):
    """The block after which the coins are, and how many there are."""

    block_hash: BlockHash
    coins: int

    def pack(self, params: NetworkParams) -> bytes:
        """The first bytes of the file."""
        return HEADER.pack(MAGIC, VERSION, params.magic, self.block_hash, self.coins)


def parse_header(data: bytes, params: NetworkParams) -> SnapshotHeader:
    """Decode the first bytes of a file; raises DecodeError in Core's words."""
    if len(data) < len(MAGIC):
        raise DecodeError("AutoFile::read: end of file")
    if data[: len(MAGIC)] != MAGIC:
        raise DecodeError(
            "Invalid UTXO set snapshot magic bytes. Please check if this is indeed a snapshot file or if you are using"
            " an outdated snapshot format."
        )
    if len(data) != HEADER.size:
        raise DecodeError("AutoFile::read: end of file")
    _, version, magic, block_hash, coins = HEADER.unpack(data)
    if version != VERSION:
        raise DecodeError(f"Version of snapshot {version} does not match any of the supported versions.")
    if magic != params.magic:
        other = next((known.chain for known in NETWORKS if known.magic == magic), None)
        if other is None:
            raise DecodeError(
                "This snapshot has been created for an unrecognized network. This could be a custom signet, a new"
                " testnet or possibly caused by data corruption."
            )
        raise DecodeError(
            f"The network of the snapshot ({other}) does not match the network of this node ({params.chain})."
        )
    return SnapshotHeader(BlockHash(block_hash), coins)


class Written(NamedTuple):
    """How many coins were written, and their serialised hash (Core's hash_serialized_3)."""

    coins: int
    utxo_hash: bytes


def write_coins(file: BinaryIO, chunks: Iterable[list[CoinItem]], between: Callable[[], None]) -> Written:
    """Write coins behind the header.

    ``chunks`` are whole transactions in the order of ``hash_serialized_3``; ``between`` is called before each and
    may raise. Raises OSError.
    """
    digest = sha256()
    count = 0
    for items in chunks:
        between()
        digest.update(b"".join(chain.from_iterable(items)))
        count += len(items)
        file.write(b"".join(_serialised(items)))
    return Written(count, sha256(digest.digest()).digest())


def _serialised(items: list[CoinItem]) -> Iterator[bytes]:
    for txid, group in groupby(items, _txid):
        outputs = [(int.from_bytes(outpoint[32:], "little"), coin) for outpoint, coin in group]
        if outputs[-1][0] >= ORDERED_VOUTS:
            outputs.sort(key=lambda output: encode_varint(output[0]))
        yield txid + compact_size(len(outputs))
        for vout, coin in outputs:
            yield compact_size(vout) + compress_coin(coin)


def _txid(item: CoinItem) -> bytes:
    return item[0][:32]
