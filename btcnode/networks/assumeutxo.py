"""UTXO sets that a node may start from: those whose hashes Bitcoin Core has in its sources, by network."""

from __future__ import annotations

from collections.abc import Mapping

from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.hashes import BlockHash, from_display
from btcnode.tuples import NamedTuple


class AssumeUtxo(NamedTuple):
    """The UTXO set after the block ``block_hash``: its serialised hash, and the transactions in the chain so far.

    ``chunk_root`` commits to its file in chunks (BIP 452, draft), None where nobody has told it for all to check.
    """

    height: int
    block_hash: BlockHash
    utxo_hash: bytes
    chain_tx: int
    chunk_root: bytes | None = None


def _of(height: int, block_hash: str, utxo_hash: str, chain_tx: int) -> AssumeUtxo:
    return AssumeUtxo(height, BlockHash(from_display(block_hash)), from_display(utxo_hash), chain_tx)


# by Core's name of the network, ascending
_SETS: Mapping[str, tuple[AssumeUtxo, ...]] = {
    "main": (
        _of(
            840_000,
            "0000000000000000000320283a032748cef8227873ff4872689bf23f1cda83a5",
            "a2a5521b1b5ab65f67818e5e8eccabb7171a517f9e2382208f77687310768f96",
            991_032_194,
        ),
        _of(
            880_000,
            "000000000000000000010b17283c3c400507969a9c2afd1dcf2082ec5cca2880",
            "dbd190983eaf433ef7c15f78a278ae42c00ef52e0fd2a54953782175fbadcea9",
            1_145_604_538,
        ),
        _of(
            910_000,
            "0000000000000000000108970acb9522ffd516eae17acddcb1bd16469194a821",
            "4daf8a17b4902498c5787966a2b51c613acdab5df5db73f196fa59a4da2f1568",
            1_226_586_151,
        ),
        _of(
            935_000,
            "0000000000000000000147034958af1652b2b91bba607beacc5e72a56f0fb5ee",
            "e4b90ef9eae834f56c4b64d2d50143cee10ad87994c614d7d04125e2a6025050",
            1_305_397_408,
        ),
    ),
    "test": (
        _of(
            2_500_000,
            "0000000000000093bcb68c03a9a168ae252572d348a2eaeba2cdf9231d73206f",
            "f841584909f68e47897952345234e37fcd9128cd818f41ee6c3ca68db8071be7",
            66_484_552,
        ),
        _of(
            4_840_000,
            "00000000000000f4971a7fb37fbdff89315b69a2e1920c467654a382f0d64786",
            "ce6bb677bb2ee9789c4a1c9d73e6683c53fc20e8fdbedbdaaf468982a0c8db2a",
            536_078_574,
        ),
    ),
    "testnet4": (
        _of(
            90_000,
            "0000000002ebe8bcda020e0dd6ccfbdfac531d2f6a81457191b99fc2df2dbe3b",
            "784fb5e98241de66fdd429f4392155c9e7db5c017148e66e8fdbc95746f8b9b5",
            11_347_043,
        ),
        _of(
            120_000,
            "000000000bd2317e51b3c5794981c35ba894ce27d3e772d5c39ecd9cbce01dc8",
            "10b05d05ad468d0971162e1b222a4aa66caca89da2bb2a93f8f37fb29c4794b0",
            14_141_057,
        ),
    ),
    "signet": (
        _of(
            160_000,
            "0000003ca3c99aff040f2563c2ad8f8ec88bd0fd6b8f0895cfaf1ef90353a62c",
            "fe0a44309b74d6b5883d246cb419c6221bcccf0b308c9b59b7d70783dbdf928a",
            2_289_496,
        ),
        _of(
            290_000,
            "0000000577f2741bb30cd9d39d6d71b023afbeb9764f6260786a97969d5c9ac0",
            "97267e000b4b876800167e71b9123f1529d13b14308abec2888bbd2160d14545",
            28_547_497,
        ),
    ),
    "regtest": (
        _of(
            110,
            "6affe030b7965ab538f820a56ef56c8149b7dc1d1c144af57113be080db7c397",
            "b952555c8ab81fec46f3d4253b7af256d766ceb39fb7752b9d18cdf4a0141327",
            111,
        ),
        _of(
            200,
            "385901ccbd69dff6bbd00065d01fb8a9e464dede7cfe0372443884f9b1dcf6b9",
            "17dcc016d188d16068907cdeb38b75691a118d43053b8cd6a25969419381d13a",
            201,
        ),
        _of(
            299,
            "7cc695046fec709f8c9394b6f928f81e81fd3ac20977bb68760fa1faa7916ea2",
            "d2b051ff5e8eef46520350776f4100dd710a63447a8e01d917e92e79751a63e2",
            334,
        ),
    ),
}


def known_sets(params: NetworkParams) -> tuple[AssumeUtxo, ...]:
    """All of a network, by height."""
    return _SETS[params.chain]


def set_after(params: NetworkParams, block_hash: BlockHash) -> AssumeUtxo | None:
    """The set after a block, None when its hash is not known."""
    return next((item for item in known_sets(params) if item.block_hash == block_hash), None)
