"""Random peers against the protocol: whatever they do, nothing raises and memory stays within bounds.

    python scripts/fuzz/peers.py --events 200000 --seed 1
    python scripts/fuzz/peers.py --mode compact

No other software is needed. Each world (``--world`` steps) has a protocol of its own, named by seed and number; a
failure prints both. Memory is all that the protocol holds, with its filters and its peers, without the chain.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from btcnode.networks.parameters import params_for
from tests.lib.peer_fuzz import MODES, PeerFuzzer, memory_of

CHECK_EACH = 500  # steps
WEIGH_EACH = 5000
MEMORY_LIMIT = 64 << 20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--world", type=int, default=25_000, help="steps with one protocol")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mode", choices=MODES, default="full", help="a bridge or a node without coins: more proofs")
    args = parser.parse_args()
    params, counts = params_for("regtest"), Counter[str]()
    begun, number, most, events = time.monotonic(), 0, 0, 0
    while events < args.events:
        fuzzer = PeerFuzzer(params, args.seed * 1_000_000 + number, args.mode)
        step = 0
        try:
            for step in range(args.world):
                fuzzer.step()
                if step % CHECK_EACH == 0:
                    fuzzer.check()
                if step % WEIGH_EACH == WEIGH_EACH - 1:
                    size = memory_of(fuzzer.bench.protocol, fuzzer.bench.chain, fuzzer.pool, fuzzer)
                    most = max(most, size)
                    assert size <= MEMORY_LIMIT, f"{size} bytes"
            fuzzer.finish()
        except Exception:
            traceback.print_exc()
            print(f"FAILED: {args.mode}, seed {args.seed}, world {number}, step {step}")
            return 1
        counts.update(fuzzer.counts)
        events += sum(n for name, n in fuzzer.counts.items() if name[0].isupper())
        number += 1
        pace = events / (time.monotonic() - begun)
        print(
            f"{events:,} events in {number} worlds, {pace:,.0f} a second, at most {most / 1e6:.1f} MB held", flush=True
        )
    print("  ".join(f"{name} {count:,}" for name, count in counts.most_common()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
