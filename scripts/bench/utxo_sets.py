#!/usr/bin/env python3
"""A UTXO set from three peers of which one lies and one leaves, with a kill on the way: is it right, what does it take?

    python scripts/bench/utxo_sets.py [--coins 1000000] [--pause 0.2] [--chunk BYTES]

The peers are threads of this process, which wait ``--pause`` seconds before each chunk, so that the kill comes in the
middle. Chunks have their real size unless ``--chunk`` gives another. Printed are what was here at the kill, who was
named, whether the coins that were loaded have the hash that is known, and the processor seconds and memory of the node.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from btcnode.primitives.chunk_tree import CHUNK_SIZE
from btcnode.primitives.hashes import to_display
from scripts.bench.ibd import family_memory
from tests.lib.process import wait_until
from tests.lib.utxo_sets import SetNode, SetServer, SetWorld, bent, leaver

LIMIT = 600.0  # seconds for anything


def stored(node: SetNode) -> int:
    """Chunks that are here."""
    found = node.download().get("chunks_stored", 0)
    return found if isinstance(found, int) else 0


def run(directory: Path, coins: int, pause: float, chunk: int) -> None:
    """Make the set, fetch it, compare."""
    begun = time.perf_counter()
    world = SetWorld.make(directory, coins, chunk)
    size, count = world.file.stat().st_size, len(world.hashes)
    print(f"{coins} coins, {size / 1e6:.1f} MB, {count} chunks, made in {time.perf_counter() - begun:.0f} s")
    node = SetNode(directory / "node", world, f"--downloadutxoset={len(world.blocks)}")
    with node, SetServer(world, bent, pause) as liar, leaver(world, 2, pause) as (leaving, manner):
        with SetServer(world, pause=pause) as honest:
            peers = [text for peer in (liar, leaving, honest) for text in ("--connect", peer.address)]
            node.start(*peers)
            wait_until(lambda: stored(node) >= count // 2 and manner.gone.is_set(), LIMIT, "half of the chunks")
            here = stored(node)
            node.kill()
            print(f"killed with {here} of {count} chunks here; {leaving.address} has left")
            began, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
            node.start(*peers)
            assert node.process is not None
            peak = 0.0
            while node.download().get("state") != "loaded":
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
        if not right or f"({liar.address})" not in node.output():
            sys.exit(1)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coins", type=int, default=1_000_000)
    parser.add_argument("--pause", type=float, default=0.2)
    parser.add_argument("--chunk", type=int, default=CHUNK_SIZE, help="bytes")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        run(Path(directory), given.coins, given.pause, given.chunk)


if __name__ == "__main__":
    main()
