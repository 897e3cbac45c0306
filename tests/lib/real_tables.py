"""Real blocks as an export: those whose spent coins are known, and mainnet from its first block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from btcnode.consensus.connect import block_outputs
from btcnode.data.export import ExportFolder, ExportForm, Partition, export_chain, write_files
from btcnode.data.folder import BlockFolder, SourceBlock
from btcnode.data.schema import TABLES
from btcnode.data.tasks import TaskRunner
from btcnode.networks.parameters import params_for
from btcnode.primitives.block import parse_block
from tests.lib.block_folder import WrittenFolder
from tests.lib.real_blocks import RealBlock, block_with_undo, floresta_block, framed_blocks, raito_block

MAINNET = params_for("mainnet")
RAITO = (169, 2015, 24834, 32255, 32635, 57042, 72575, 91721, 116927, 150012, 209999, 255017, 403199, 478557,
         757738, 757752)  # fmt: skip
BCOIN_TESTNET3 = (1087400, 928816, 928828, 928831, 928848, 928849, 928927)
WITHOUT_AGES = (300025, 277647)  # nobody has told when their coins were made
FIRST_BLOCKS = 600


def mainnet_blocks(vectors: Path) -> Iterator[RealBlock]:
    """Blocks of mainnet, 20 of the 27."""
    for height in RAITO:
        yield raito_block(vectors / f"raito/full_{height}.json")
    for height in (367891, 866342):
        yield floresta_block(vectors, height)
    yield block_with_undo(vectors / "bcoin/block300025.raw", 300025)
    yield block_with_undo(vectors / "btcd/block277647.raw", 277647)


def real_blocks(vectors: Path) -> Iterator[RealBlock]:
    """All 27."""
    yield from mainnet_blocks(vectors)
    for height in BCOIN_TESTNET3:
        yield block_with_undo(vectors / f"bcoin/block{height}.raw", height)


def as_source(block: RealBlock) -> SourceBlock:
    """As a folder of block files gives it; its median time is not known."""
    parsed, coins = parse_block(block.raw), iter(block.spent)
    counts = [parsed.first_in[i + 1] - parsed.first_in[i] for i in range(1, parsed.n_tx)]
    return SourceBlock(block.height, 0, parsed, [[next(coins).coin for _ in range(count)] for count in counts])


def write_real_blocks(out: Path, blocks: Iterable[RealBlock]) -> list[SourceBlock]:
    """Add each block to an export, as a partition of its own."""
    target, form, found = ExportFolder(out), ExportForm(TABLES, True, 1), []
    for table in (*TABLES, "manifest"):
        (out / table).mkdir(parents=True, exist_ok=True)
    for real in sorted(blocks, key=lambda block: block.height):
        source = as_source(real)
        target.name_files(write_files(out, Partition(real.height, real.height), [source], form, MAINNET))
        found.append(source)
    return found


def first_blocks(vectors: Path, folder: Path) -> dict[bytes, bytes]:
    """Block files of mainnet's first 600 blocks; returns the coins that they leave, by outpoint."""
    raws = [
        raw
        for name in ("blk00000.dat", "blk00001.dat")
        for raw in framed_blocks((vectors / "nbitcoin" / name).read_bytes())
    ]
    made: dict[bytes, bytes] = {}
    blocks = []
    for height, raw in enumerate(raws):
        block = parse_block(raw)
        prevouts, undo = block.prevouts(), []
        for i in range(block.n_tx if height else 0):
            if i:
                undo.append([made.pop(at) for at in prevouts[block.first_in[i] : block.first_in[i + 1]]])
            made.update(block_outputs(block, i, height))
        blocks.append((raw, undo))
    WrittenFolder(folder, MAINNET).append(blocks[1:], 1)
    return made


def write_mainnet(vectors: Path, out: Path, scratch: Path) -> None:
    """An export of mainnet 0 to 599, and of the single blocks above."""
    first_blocks(vectors, scratch / "blocks")
    with TaskRunner() as runner:
        form = ExportForm(TABLES, True, 100)
        export_chain(BlockFolder(scratch / "blocks", MAINNET), out, form, runner=runner)
    blocks = [block for block in mainnet_blocks(vectors) if block.height not in WITHOUT_AGES]
    write_real_blocks(out, [block for block in blocks if block.height >= FIRST_BLOCKS])
