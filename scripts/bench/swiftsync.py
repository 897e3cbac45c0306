#!/usr/bin/env python3
"""SwiftSync, measured over TCP: btcnode with hints, as usual, and a bitcoind that assumes the same scripts valid.

    BTCNODE_BITCOIND=path/to/bitcoind python scripts/bench/swiftsync.py [--blocks 40] [--txs 2500] [--small 2100]
                                                        [--only swift1,swift2,usual,bitcoind,full1,full2,scripts]
                                                        [--coins MILLIONS] [--dbcache MIB] [--memory-limit MIB]

The chain is that of ibd.py, built once and kept (``--cache``), with hints for its last large block; the small blocks
above make two weeks of work, so that scripts count as valid. It is served by a bitcoind where there is one, else by
ibd.py. The clock, and the processor time, run from a fresh node's answering RPC until it has the last large block,
headers and the loading of coins included. Every UTXO set at the tip is compared with the others. ``swift1``: no
worker process, a thread of the node folds; ``swift2``: two workers. ``full1`` and ``full2`` verify every script, with
the coins of one more node that has synced before and does nothing else (its processor time is not counted);
``scripts`` is the usual sync with every script and two processes.

``--coins``: the chain of utxo_scale.py instead, with so many coins in its set, hints for its last block, and nothing
to sign. ``--memory-limit`` puts each node that is measured into a memory cgroup; the peak column is then the group's,
pages of files included.

Behind the table: microseconds per input on the node's own process and on workers, and what they make of more cores:
the rate is bounded by the own process, and by all processes together.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from btcnode.primitives.block import parse_block
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.rpc.client import RpcConnectionError
from btcnode.swiftsync.fold import spendable_outputs
from scripts.bench import utxo_scale
from scripts.bench.ibd import Chain, Server, family_cpu, family_memory, prepare, read_chain
from tests.lib.bitcoind import find_bitcoind
from tests.lib.coin_chain import FULL_BLOCK
from tests.lib.daemons import Daemon
from tests.lib.hints import pack_hints, reference_hints
from tests.lib.memory_group import LimitedGroup
from tests.lib.process import NodeProcess

POLL = 0.05
LEAST = 1e-3  # microseconds: what is less was not measured
LIMIT = 1200.0  # seconds for one sync
CORES = (4, 8, 16, 32, 64)
SPENDING_BLOCKS = 40  # of the chain with many coins


@dataclass
class Figures:
    """One sync: seconds, processor seconds of the own process and of its children, peak memory, hash of the set."""

    seconds: float
    cpu: float
    worker_cpu: float
    memory: int
    utxo_hash: str


@contextmanager
def served(chain: Chain, program: str | None) -> Iterator[str]:
    """The address of what serves the chain."""
    if program is None:
        server = Server(chain)
        try:
            server.go()
            yield server.address
        finally:
            server.close()
        return
    with tempfile.TemporaryDirectory() as folder:
        daemon = Daemon([program], Path(folder), f"-loadblock={chain.path}", "-listen=1", "-connect=0")
        try:
            while daemon.rpc("getblockcount") < chain.total:
                time.sleep(POLL)
            yield f"127.0.0.1:{daemon.p2p}"
        finally:
            daemon.close()


@contextmanager
def telling(chain: Chain, address: str, assumed: str) -> Iterator[str]:
    """The address of a btcnode with the whole chain that tells what blocks spend."""
    with tempfile.TemporaryDirectory() as folder:
        words = ("--connect", address, "--peerblockinputs", "--assumevalid", assumed)
        with NodeProcess(Path(folder), "regtest", *words).start() as node:
            node.wait_height(chain.total, LIMIT)
            yield node.address


def measure(pid: int, rpc: Any, chain: Chain) -> Figures:
    """Wait until a fresh node has the large blocks, then the chain."""
    start, begun, memory = time.perf_counter(), family_cpu(pid), 0
    while rpc("getblockcount") < chain.large_end:
        memory = max(memory, family_memory(pid))
        if time.perf_counter() - start > LIMIT:
            raise TimeoutError(f"not at height {chain.large_end} after {LIMIT:.0f} s")
        time.sleep(POLL)
    seconds, ended = time.perf_counter() - start, family_cpu(pid)
    while rpc("getblockcount") < chain.total:
        time.sleep(POLL)
    cpu, worker_cpu = (after - before for before, after in zip(begun, ended, strict=True))
    return Figures(seconds, cpu, worker_cpu, memory, rpc("gettxoutsetinfo")["hash_serialized_3"])


@contextmanager
def limited(limit: int | None) -> Iterator[LimitedGroup | None]:
    """A control group with so many MiB of memory, None for none."""
    if limit is None:
        yield None
        return
    with LimitedGroup(limit << 20) as group:
        yield group


def run_btcnode(chain: Chain, address: str, limit: int | None, *options: str) -> Figures:
    """A fresh btcnode."""
    with tempfile.TemporaryDirectory() as folder, limited(limit) as group:
        node = NodeProcess(Path(folder), "regtest", "--connect", address, *options, listen=False)
        node.prefix = () if group is None else tuple(group.enter([]))
        with node.start():
            assert node.process is not None
            figures = measure(node.process.pid, node.rpc, chain)
            return figures if group is None else replace(figures, memory=group.peak)


def run_bitcoind(program: str, chain: Chain, address: str, limit: int | None, *options: str) -> Figures | None:
    """A fresh bitcoind; None where it was ended for lack of memory."""
    with tempfile.TemporaryDirectory() as folder, limited(limit) as group:
        command = [program] if group is None else group.enter([program])
        daemon = Daemon(command, Path(folder), f"-connect={address}", "-listen=0", *options)
        try:
            daemon.rpc("getblockcount")
            figures = measure(daemon.process.pid, daemon.rpc, chain)
            return figures if group is None else replace(figures, memory=group.peak)
        except RpcConnectionError:
            if group is None or not group.kills:
                raise
            print(f"bitcoind was ended for lack of memory: {limit} MiB")
            return None
        finally:
            daemon.close()


def prepare_chain(options: argparse.Namespace) -> tuple[Chain, Path, str]:
    """The chain, its hintsfile, and the hash of the hints' block as users write it."""
    if options.coins is None:
        chain = prepare(options)
    else:
        made = utxo_scale.prepare(options.cache, int(options.coins * 1_000_000), SPENDING_BLOCKS, FULL_BLOCK)
        inputs = made.grown_inputs + made.inputs
        size = made.path.stat().st_size
        chain = Chain(made.path, 0, made.height, made.height, inputs, inputs, size, inputs, "")
    blocks = read_chain(chain.path)[: chain.large_end]
    hints = chain.path.with_suffix(".hints")
    if not hints.exists():
        hints.write_bytes(pack_hints(reference_hints(blocks) if options.coins is None else quick_hints(blocks)))
    return chain, hints, header_hash(blocks[-1][:HEADER_SIZE])[::-1].hex()


def quick_hints(blocks: list[bytes]) -> Iterator[list[int]]:
    """As ``reference_hints``, of chains that are too long for it."""
    spent = {outpoint for raw in blocks for outpoint in parse_block(raw).prevouts()}
    for raw in blocks:
        names = spendable_outputs(parse_block(raw))
        yield [number for number, name in enumerate(names) if name not in spent]


def line(name: str, chain: Chain, figures: Figures, reference: float | None) -> str:
    """One row of the table."""
    ratio = "" if reference is None else f"{reference / figures.seconds:.2f}"
    rate = chain.inputs / figures.seconds
    cpu = f"{figures.cpu:.1f} + {figures.worker_cpu:.1f}"
    return f"| {name} | {figures.seconds:.2f} | {rate:,.0f} | {ratio} | {cpu} | {figures.memory >> 20} |"


def model(figures: Figures, chain: Chain) -> str:
    """What the processor seconds make of more cores."""
    own, workers = (max(LEAST, 1e6 * part / chain.inputs) for part in (figures.cpu, figures.worker_cpu))
    rates = [f"{cores}: {min(1e6 / own, cores * 1e6 / (own + workers)):,.0f}" for cores in CORES]
    return (
        f"microseconds per input: own process {own:.2f}, workers {workers:.2f}; inputs/s by cores: {', '.join(rates)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=40, help="large blocks")
    parser.add_argument("--txs", type=int, default=2500, help="transactions in each")
    parser.add_argument("--small", type=int, default=2100, help="small blocks above")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--only", default="swift1,swift2,usual,bitcoind,full1,full2,scripts", help="measurements, in this order"
    )
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "btcnode-bench")
    parser.add_argument("--coins", type=float, help="millions: the chain with so many coins instead")
    parser.add_argument("--dbcache", default="450", help="MiB, of every node that is measured")
    parser.add_argument("--memory-limit", type=int, help="MiB, of every node that is measured")
    options = parser.parse_args()
    chain, hints, assumed = prepare_chain(options)
    valid = ("--assumevalid", assumed)
    swift = (*valid, "--swiftsync", str(hints), "--swiftsyncblock", assumed)
    program, found = find_bitcoind(), dict[str, Figures]()
    with served(chain, program) as address:
        for name in options.only.split(","):
            if name == "bitcoind":
                if program is not None:
                    wishes = (f"-assumevalid={assumed}", f"-dbcache={options.dbcache}")
                    figures = run_bitcoind(program, chain, address, options.memory_limit, *wishes)
                    if figures is not None:
                        found[name] = figures
                continue
            others: dict[str, tuple[str, ...]] = {"usual": valid, "scripts": ("--assumevalid", "0")}
            words = others.get(name, swift)
            processes = ("--par", "1" if name.endswith("1") else "2", "--dbcache", options.dbcache)
            if name.startswith("full"):
                words = ("--swiftsync", str(hints), "--swiftsync-full")
                with telling(chain, address, assumed) as teller:
                    found[name] = run_btcnode(
                        chain, address, options.memory_limit, "--connect", teller, *processes, *words
                    )
            else:
                found[name] = run_btcnode(chain, address, options.memory_limit, *processes, *words)
    reference = found["bitcoind"].seconds if "bitcoind" in found else None
    print(f"{chain.large_end} blocks, {chain.inputs:,} inputs; served by {program or 'ibd.py'}")
    print("| what | seconds | inputs/s | of bitcoind's rate | CPU seconds: node + workers | MB at most |")
    for name, figures in found.items():
        print(line(name, chain, figures, reference))
    for name in ("swift2", "full2"):
        if name in found:
            print(f"{name}: {model(found[name], chain)}")
    if len({figures.utxo_hash for figures in found.values()}) > 1:
        raise SystemExit("the UTXO sets differ")


if __name__ == "__main__":
    main()
