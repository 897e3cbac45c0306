#!/usr/bin/env python3
"""A UTXO set from three peers of which one lies and one leaves, with a kill on the way: is it right, what does it take?

    python scripts/bench/utxo_sets.py [--coins 1000000] [--chunk BYTES]

The peers are threads of this process. The third gives its first chunk when the second has left, and goes on beyond
the half after the kill. Chunks have their real size unless ``--chunk`` gives another. Printed are what was here at the
kill, who was named, whether the coins that were loaded have the hash that is known, and the processor seconds and
memory of the node.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from btcnode.primitives.chunk_tree import CHUNK_SIZE
from btcnode.primitives.hashes import to_display
from scripts.bench.ibd import family_memory
from tests.lib.process import wait_until
from tests.lib.utxo_sets import Leaver, SetNode, SetServer, SetWorld, bent, leaver

LIMIT = 600.0  # seconds for anything
LEAST = 6  # chunks: the peer that leaves gives two of them, each gets some, and some are left at the kill


def stored(node: SetNode) -> int:
    """Chunks that are here."""
    found = node.download().get("chunks_stored", 0)
    return found if isinstance(found, int) else 0


class Last:
    """Gives chunks when another peer has left, and those beyond the half after the kill: it comes in the middle."""

    def __init__(self, other: Leaver, half: int) -> None:
        self._other = other
        self._left = half
        self.killed = threading.Event()

    def __call__(self, _: int, data: bytes) -> bytes | None:
        self._other.gone.wait(LIMIT)
        self._left -= 1
        if self._left < 0:
            self.killed.wait(LIMIT)
        return data


def loaded(node: SetNode) -> bool:
    """Whether the set is here; exits when it never will be."""
    found = node.download()
    if found.get("state") in ("failed", "aborted"):
        sys.exit(f"the set is not loaded: {found.get('error')}")
    return found.get("state") == "loaded"


def run(directory: Path, coins: int, chunk: int) -> None:
    """Make the set, fetch it, compare."""
    begun = time.perf_counter()
    world = SetWorld.make(directory, coins, chunk)
    size, count = world.file.stat().st_size, len(world.hashes)
    print(f"{coins} coins, {size / 1e6:.1f} MB, {count} chunks, made in {time.perf_counter() - begun:.0f} s")
    if count < LEAST:
        sys.exit(f"that are too few chunks: {LEAST} at least, with more --coins or a smaller --chunk")
    node = SetNode(directory / "node", world, f"--downloadutxoset={len(world.blocks)}")
    with node, SetServer(world, bent) as liar, leaver(world, 2) as (leaving, manner):
        last = Last(manner, count // 2)
        with SetServer(world, last) as honest:
            peers = [text for peer in (liar, leaving, honest) for text in ("--connect", peer.address)]
            node.start(*peers)
            named = f"({liar.address})"
            wait_until(lambda: stored(node) >= count // 2 and named in node.output(), LIMIT, "half of the chunks")
            here = stored(node)
            node.kill()
            last.killed.set()
            print(f"killed with {here} of {count} chunks here; {leaving.address} has left")
            began, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
            node.start(*peers)
            assert node.process is not None
            peak = 0.0
            while not loaded(node):
                peak = max(peak, family_memory(node.process.pid))
                time.sleep(0.05)
            took = time.perf_counter() - began
            stats = node.rpc("gettxoutsetinfo")
        for line in node.output().splitlines():
            if "wrong part" in line or "here already" in line:
                print(line)
        right = (stats["txouts"], stats["hash_serialized_3"]) == (coins, to_display(world.utxo_hash))
        print(f"{stats['txouts']} coins, hash {stats['hash_serialized_3']}: {'right' if right else 'WRONG'}")
        assert node.stop() == 0
        now = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
        print(f"after the kill {took:.1f} s, {cpu:.1f} s of processor time, peak {peak / 1e6:.0f} MB")
        if not right:
            sys.exit(1)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coins", type=int, default=1_000_000)
    parser.add_argument("--chunk", type=int, default=CHUNK_SIZE, help="bytes")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        run(Path(directory), given.coins, given.chunk)


if __name__ == "__main__":
    main()
