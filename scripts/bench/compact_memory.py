#!/usr/bin/env python3
"""Memory of a node without coins whose chain has as many headers as mainnet's, while they come and while blocks do.

    python scripts/bench/compact_memory.py [--headers 900000] [--blocks 24] [--txs 2500] [--small 20] [--par 2]

The chain's first blocks are those of ibd.py, with ``--blocks`` large ones; empty headers are on top of them, of which
nobody has blocks. The node has the headers first, of a server that has no proofs, then is told of a bridge, and
connects the blocks by its proofs, every script verified; then it starts anew. Memory is that of the node and its
workers: resident bytes, in which pages that several processes share are counted for each, and proportional ones.
"""

from __future__ import annotations

import argparse
import os
import struct
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from btcnode.networks.parameters import params_for
from btcnode.primitives.hashes import BlockHash
from btcnode.primitives.header import header_hash
from scripts.bench.ibd import family_memory, prepare
from scripts.bench.utreexo import bridge_of
from tests.lib.peer import ChainServer
from tests.lib.process import NodeProcess

PARAMS = params_for("regtest")
BITS = struct.pack("<I", 0x207FFFFF)
POLL = 0.3
SETTLED = 8.0  # seconds without work after which memory is looked at
LIMIT = 3600.0


def more_headers(headers: list[bytes], count: int) -> None:
    """Append so many, each two seconds after the one before it, the last of today."""
    prev = header_hash(headers[-1])
    now = int(time.time()) - 2 * count
    for number in range(count):
        start = struct.pack("<i", 0x20000000) + prev + os.urandom(32) + struct.pack("<I", now + 2 * number) + BITS
        nonce = 0
        while (prev := header_hash(raw := start + struct.pack("<I", nonce)))[31] >= 0x80:
            nonce += 1
        headers.append(raw)


def proportional(pid: int) -> int:
    """Bytes of a process and its children, shared pages divided by those who share them."""
    total = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rsplit(")", 1)[1].split()
            if int(path.parent.name) == pid or int(words[1]) == pid:
                lines = (path.parent / "smaps_rollup").read_text().splitlines()
                total += sum(int(text.split()[1]) << 10 for text in lines if text.startswith("Pss:"))
        except OSError:
            continue
    return total


class Watch:
    """The most memory of a node in a phase."""

    def __init__(self, node: NodeProcess, phase: str) -> None:
        assert node.process is not None
        self._pid, self._phase, self._begun = node.process.pid, phase, time.monotonic()
        self._resident = self._proportional = 0

    def look(self) -> None:
        """Take the figures of now."""
        self._resident = max(self._resident, family_memory(self._pid))
        self._proportional = max(self._proportional, proportional(self._pid))

    def settle(self) -> None:
        """Look for some seconds, then print the phase's figures."""
        end = time.monotonic() + SETTLED
        while time.monotonic() < end:
            self.look()
            time.sleep(POLL)
        print(
            f"| {self._phase} | {self._resident / 1e6:.0f} | {self._proportional / 1e6:.0f} |"
            f" {family_memory(self._pid) / 1e6:.0f} | {proportional(self._pid) / 1e6:.0f} |"
            f" {time.monotonic() - self._begun:.0f} |",
            flush=True,
        )


def measure(node: NodeProcess, bridge: NodeProcess, headers: int, blocks: int) -> None:
    """The three phases."""
    print("| phase | peak MB | proportional | afterwards | proportional | seconds |\n|---|---|---|---|---|---|")
    node.start()
    watch = Watch(node, f"{headers:,} headers come")
    while node.rpc("getblockchaininfo")["headers"] < headers:
        watch.look()
        time.sleep(POLL)
    watch.settle()
    watch = Watch(node, f"{blocks} blocks are connected")
    node.rpc("addnode", bridge.address, "add")
    end = time.monotonic() + LIMIT
    while node.rpc("getblockcount") < blocks:
        if time.monotonic() > end:
            raise TimeoutError(f"at height {node.rpc('getblockcount')} of {blocks} after {LIMIT:.0f} s")
        watch.look()
        time.sleep(POLL)
    watch.settle()
    node.stop()
    node.start()
    Watch(node, "after a new start").settle()
    node.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--headers", type=int, default=900_000)
    parser.add_argument("--blocks", type=int, default=24, help="large blocks")
    parser.add_argument("--txs", type=int, default=2500, help="transactions in each")
    parser.add_argument("--small", type=int, default=20, help="small blocks above")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--par", type=int, default=2, help="processes that verify scripts")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "btcnode-bench")
    options = parser.parse_args()
    chain = prepare(options)
    with bridge_of(chain) as bridge:
        names = [bridge.rpc("getblockhash", height) for height in range(1, chain.total + 1)]
        raws = {BlockHash(bytes.fromhex(name)[::-1]): bytes.fromhex(bridge.rpc("getblock", name, 0)) for name in names}
        headers = [PARAMS.genesis_block[:80], *(raw[:80] for raw in raws.values())]
        more_headers(headers, options.headers - len(headers))
        with ChainServer(PARAMS, headers, raws) as server, tempfile.TemporaryDirectory() as folder:
            words = ("--utreexo-csn", "--assumevalid", "0", "--par", str(options.par), "--connect", server.address)
            measure(NodeProcess(Path(folder), "regtest", *words), bridge, options.headers - 1, chain.total)


if __name__ == "__main__":
    main()
