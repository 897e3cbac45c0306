"""UTXO sets from peers, over real processes: a chain of many coins, its set, nodes that know it, peers that lie."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from btcnode.chain.chainstate import Chainstate
from btcnode.chain.store import ChainStore
from btcnode.networks.parameters import params_for
from btcnode.primitives.chunk_tree import chunk_hash, chunk_root
from btcnode.primitives.coin import make_txout
from btcnode.primitives.hashes import BlockHash, to_display
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.storage.coins import in_chunks
from btcnode.storage.utxo_snapshot import VERSION, SnapshotHeader, write_coins
from btcnode.testing.blocks import BlockTemplate, coinbase_tx
from btcnode.wire.codec import Message
from btcnode.wire.constants import FEATURE_UTXO_SETS
from btcnode.wire.messages import GetUtxoSet, GetUtxoTree, UtxoSetChunk, UtxoTree
from tests.lib.peer import ChainServer, ScriptedPeer
from tests.lib.process import NodeProcess

PARAMS = params_for("regtest")
NOW = 2_000_000_000
SET_HEIGHT = 115  # above regtest's coinbase maturity
SCRIPT = b"\x00\x20"  # a witness program of 32 bytes

RUNNER = """
import btcnode.primitives.chunk_tree as chunk_tree
chunk_tree.CHUNK_SIZE = {size}
from btcnode.networks import assumeutxo
from btcnode.networks.assumeutxo import AssumeUtxo
known = AssumeUtxo({height}, {block!r}, {utxo!r}, {txs}, {root!r})
assumeutxo._SETS = {{**assumeutxo._SETS, "regtest": (known,)}}
from btcnode.cli.main import main
main()
"""


def many_coins(count: int, blocks: int = SET_HEIGHT) -> Iterator[bytes]:
    """Blocks whose coinbases have ``count`` coins together, with scripts that nothing makes shorter."""
    rng, prev = Random(11), header_hash(PARAMS.genesis_block[:HEADER_SIZE])
    start = int.from_bytes(PARAMS.genesis_block[68:72], "little")
    for height in range(1, blocks + 1):
        each = count * height // blocks - count * (height - 1) // blocks
        outputs = [make_txout(0, SCRIPT + rng.randbytes(32)) for _ in range(each - 1)]
        coinbase = coinbase_tx(height, 50_0000_0000, extra_outputs=outputs)
        raw = BlockTemplate(PARAMS, prev, height, start + height, PARAMS.pow_limit_bits, coinbase=coinbase).build()
        prev = header_hash(raw[:HEADER_SIZE])
        yield raw


@dataclass
class SetWorld:
    """A chain, the file of the set after its last block, and what nodes know of that."""

    blocks: list[bytes]
    file: Path
    utxo_hash: bytes
    chain_tx: int
    coins: int
    chunk_size: int
    hashes: list[bytes] = field(default_factory=list)

    @classmethod
    def make(cls, directory: Path, coins: int, chunk_size: int) -> SetWorld:
        """Make the chain and the file in ``directory``."""
        blocks, path = list(many_coins(coins)), directory / "utxo.dat"
        state = Chainstate.open(PARAMS, ChainStore.open(directory / "source", PARAMS))
        for raw in blocks:
            state.process_block(raw, NOW)
        state.flush()
        with path.open("wb") as out:
            out.write(SnapshotHeader(header_hash(blocks[-1][:HEADER_SIZE]), coins).pack(PARAMS))
            with state.store.coins.snapshot() as rows:
                written = write_coins(out, in_chunks(iter(rows)), lambda: None)
        assert written.coins == coins
        world = cls(
            blocks, path, written.utxo_hash, state.tree.columns.chain_tx[state.tip], coins, chunk_size
        )  # fmt: skip
        state.close()
        world.hashes = [chunk_hash(world.chunk(n)) for n in range(-(-path.stat().st_size // chunk_size))]
        return world

    @property
    def block_hash(self) -> BlockHash:
        """The set's block."""
        return header_hash(self.blocks[-1][:HEADER_SIZE])

    @property
    def root(self) -> bytes:
        """The root over its chunks."""
        return chunk_root(self.hashes)

    def chunk(self, number: int) -> bytes:
        """One chunk of the file."""
        with self.file.open("rb") as file:
            file.seek(number * self.chunk_size)
            return file.read(self.chunk_size)


class SetNode(NodeProcess):
    """A node that knows a world's set, and has chunks of its size; it knows the root with ``with_root``."""

    def __init__(self, datadir: Path, world: SetWorld, *options: str, with_root: bool = True) -> None:
        datadir.mkdir(parents=True, exist_ok=True)
        super().__init__(datadir, "regtest", *options)
        self._world = world
        self._root = world.root if with_root else None

    def command(self) -> list[str]:
        """The command line: the same program, which is told of the set before it starts."""
        python, _, _, *rest = super().command()
        world = self._world
        program = RUNNER.format(
            size=world.chunk_size,
            height=len(world.blocks),
            block=bytes(world.block_hash),
            utxo=world.utxo_hash,
            txs=world.chain_tx,
            root=self._root,
        )
        return [python, "-c", program, *rest]

    def download(self) -> dict[str, object]:
        """How far the download is, as getchainstates tells it."""
        found: dict[str, object] = self.rpc("getchainstates").get("utxo_set_download", {})
        return found


class SetServer(ChainServer):
    """A peer with the headers of a world's chain and its set, no blocks.

    ``on_chunk`` may change a chunk, or keep it back (None); it is called on the thread of the connection.
    """

    def __init__(self, world: SetWorld, on_chunk: Callable[[int, bytes], bytes | None] = lambda _, data: data) -> None:
        headers = [PARAMS.genesis_block[:HEADER_SIZE], *(raw[:HEADER_SIZE] for raw in world.blocks)]
        self._world = world
        self._on_chunk = on_chunk
        self.given: list[int] = []
        self.trees = 0
        super().__init__(PARAMS, headers)
        self.features = (FEATURE_UTXO_SETS,)

    def _answer(self, peer: ScriptedPeer, message: Message) -> None:
        world = self._world
        if isinstance(message, GetUtxoTree) and message.block_hash == world.block_hash:
            self.trees += 1
            length = world.file.stat().st_size
            peer.send(UtxoTree(world.block_hash, VERSION, length, b"".join(world.hashes)))
        elif isinstance(message, GetUtxoSet) and message.block_hash == world.block_hash:
            data = self._on_chunk(message.chunk, world.chunk(message.chunk))
            if data is not None:
                self.given.append(message.chunk)
                peer.send(UtxoSetChunk(world.block_hash, message.chunk, data))
        else:
            super()._answer(peer, message)


def bent(_: int, data: bytes) -> bytes:
    """A chunk with one bit turned."""
    return data[:100] + bytes([data[100] ^ 1]) + data[101:]


class Leaver:
    """Gives some chunks, then leaves for good with the next one that it is asked for."""

    def __init__(self, chunks: int) -> None:
        self._left = chunks
        self.gone = threading.Event()
        self.server: SetServer | None = None

    def __call__(self, _: int, data: bytes) -> bytes | None:
        self._left -= 1
        if self._left >= 0:
            return data
        assert self.server is not None
        self.gone.set()
        self.server.close()
        return None


@contextmanager
def leaver(world: SetWorld, chunks: int) -> Iterator[tuple[SetServer, Leaver]]:
    """Such a peer."""
    manner = Leaver(chunks)
    with SetServer(world, manner) as server:
        manner.server = server
        yield server, manner


def shown(world: SetWorld) -> str:
    """The set's block as users see it."""
    return to_display(world.block_hash)
