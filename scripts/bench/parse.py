"""How fast bytes become blocks and messages: rates of this machine, and the ratio to libbitcoinkernel's parser.

    python scripts/bench/parse.py [--vectors DIR] [--rounds N]

Blocks: ``parse_block`` with txid and wtxid of every transaction, against libbitcoinkernel's C++ parser over the same
bytes in the same run (which computes the same hashes), once alone and once as ``pbk.Block``, whose time is mostly the
copy of the bytes into a C buffer. Frames: version 1 frames cut from chunks of 64 KiB, checksum included. The best of
the rounds counts.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from btcnode.networks.parameters import params_for
from btcnode.primitives.block import parse_block
from btcnode.wire.framing import FrameDecoder, encode_frame
from btcnode.wire.messages import Addr, AddrEntry, GetData, Headers, Inv, InvItem
from btcnode.wire.netaddr import NetAddress
from btcnode.wire.registry import PAYLOAD_LIMITS, decode_message

BLOCKS = (
    "floresta/block866342.raw",
    "floresta/block367891.raw",
    "bcoin/block426884.raw",
    "bcoin/block928849.raw",
    "core/block413567.raw",
    "rust-bitcoin/mainnet_block_000000000000000000000c835b2adcaedc20fdf6ee440009c249452c726dafae.raw",
)
CHUNK = 64 * 1024
DEFAULT_VECTORS = Path(__file__).resolve().parents[3] / "shared" / "vectors"


def best(action: Callable[[], object], rounds: int) -> float:
    """Seconds of the fastest of ``rounds`` calls."""
    fastest = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        action()
        fastest = min(fastest, time.perf_counter() - start)
    return fastest


def kernel_parsers() -> tuple[Callable[[object, int], object], Callable[[bytes], object]] | None:
    """libbitcoinkernel's parser alone, over a C buffer, and ``pbk.Block`` with its copy into one."""
    try:
        import pbk
        import pbk.capi.bindings as kernel
    except ImportError:
        print("py-bitcoinkernel is not installed: no ratios")
        return None

    def create(buffer: object, size: int) -> None:
        kernel.btck_block_destroy(kernel.btck_block_create(buffer, size))

    return create, pbk.Block


def bench_blocks(vectors: Path, rounds: int) -> None:
    kernel = kernel_parsers()
    columns = ("bytes", "txs", "inputs", "ms", "inputs/s", "kernel ms", "ratio", "pbk.Block ms")
    print(f"{'block':<28}" + "".join(f"{column:>13}" for column in columns))
    total_inputs, total_time, total_kernel = 0, 0.0, 0.0
    for name in BLOCKS:
        raw = (vectors / name).read_bytes()
        block = parse_block(raw)
        inputs = len(block.in_pos)
        seconds = best(partial(parse_block, raw), rounds)
        total_inputs += inputs
        total_time += seconds
        figures = [f"{len(raw)}", f"{block.n_tx}", f"{inputs}", f"{seconds * 1e3:.1f}", f"{inputs / seconds:.0f}"]
        if kernel is not None:
            create, pbk_block = kernel
            buffer = (ctypes.c_ubyte * len(raw)).from_buffer_copy(raw)
            alone = best(partial(create, buffer, len(raw)), rounds)
            total_kernel += alone
            wrapped = best(partial(pbk_block, raw), rounds)
            figures += [f"{alone * 1e3:.2f}", f"{seconds / alone:.1f}", f"{wrapped * 1e3:.1f}"]
        print(f"{Path(name).stem[:26]:<28}" + "".join(f"{figure:>13}" for figure in figures))
    ratio = f", {total_time / total_kernel:.1f} times the time of the kernel's parser" if total_kernel else ""
    print(f"all: {total_inputs / total_time:.0f} inputs/s{ratio}")


def decode_stream(stream: bytes, magic: bytes) -> int:
    """Frames of ``stream``, fed in chunks as a socket would."""
    decoder = FrameDecoder(magic, PAYLOAD_LIMITS)
    count = 0
    for start in range(0, len(stream), CHUNK):
        decoder.feed(stream[start : start + CHUNK])
        for _ in decoder:
            count += 1
    return count


def bench_frames(vectors: Path, rounds: int) -> None:
    magic = params_for("main").magic
    block = (vectors / BLOCKS[0]).read_bytes()
    parsed = parse_block(block)
    streams = {
        "blocks": encode_frame(magic, "block", block) * 8,
        "transactions": b"".join(encode_frame(magic, "tx", parsed.tx_raw(i)) for i in range(parsed.n_tx)) * 4,
        "pings": encode_frame(magic, "ping", bytes(8)) * 20_000,
    }
    for name, stream in streams.items():
        count = decode_stream(stream, magic)
        seconds = best(partial(decode_stream, stream, magic), rounds)
        print(f"frames of {name:<14}{len(stream) / seconds / 1e6:>8.1f} MB/s{count / seconds:>12.0f} frames/s")


def bench_messages(vectors: Path, rounds: int) -> None:
    raw = (vectors / "floresta/headers_mainnet_0_10236.bin").read_bytes()
    items = tuple(InvItem(5, i.to_bytes(32, "big")) for i in range(50_000))
    node = AddrEntry(1_700_000_000, 9, NetAddress.from_host("1.2.3.4", 8333))
    for message, count in (
        (Headers(tuple(raw[p : p + 80] for p in range(0, 160_000, 80))), 2000),
        (Inv(items), 50_000),
        (GetData(items[:1000]), 1000),
        (Addr((node,) * 1000), 1000),
    ):
        payload, command = message.encode(), message.command
        reading = best(partial(decode_message, command, payload), rounds)
        writing = best(message.encode, rounds)
        print(f"{command:<10}{count:>6} elements: decode {reading * 1e3:.2f} ms, encode {writing * 1e3:.2f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vectors", type=Path, default=Path(os.environ.get("BTCNODE_VECTORS", DEFAULT_VECTORS)))
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if not options.vectors.is_dir():
        parser.error(f"no real blocks at {options.vectors}: name their directory with --vectors or BTCNODE_VECTORS")
    bench_blocks(options.vectors, options.rounds)
    bench_frames(options.vectors, options.rounds)
    bench_messages(options.vectors, options.rounds)


if __name__ == "__main__":
    main()
