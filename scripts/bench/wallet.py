#!/usr/bin/env python3
"""What a wallet costs: a block at the tip, and a rescan with block filters against one without.

    python scripts/bench/wallet.py [--addresses 10000] [--transactions 2500] [--own 0,1,50,500] [--rounds 9]
                                   [--blocks 60] [--block-txs 400] [--found 3]

Blocks: the loop's processor time for a block of so many transactions (two inputs, two outputs each), of which some pay
the wallet, until its changes are noted; beside that what writing them takes a thread. Milliseconds, median and most of
the rounds. Rescans: processor time of the whole process for a chain of so many full blocks, of which some pay the
wallet, with filters of all blocks and without any. A node that has no wallet loaded does none of this.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from btcnode.descriptors.bip32 import ExtendedSecret
from btcnode.networks.parameters import params_for
from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.primitives.coin import make_txout
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.tx import Tx
from btcnode.services.wallet_chain import LAG_PART
from btcnode.services.wallet_following import BlockMatter
from btcnode.services.wallet_scan import Scanner, ScanStatus
from btcnode.testing.templates import signed_tx
from btcnode.wallet.descriptor_keys import derive
from btcnode.wallet.flags import WalletFlag
from btcnode.wallet.sqlite_store import WalletStore
from btcnode.wallet.states import WalletTx
from btcnode.wallet.wallet import TYPES, Wallet
from tests.lib.chain_generator import ChainGenerator
from tests.lib.node_parts import NodeLab, regtest_config
from tests.lib.settings import settings_of

PARAMS = params_for("regtest")
NOW = 1_700_000_000


class Alone:
    """No node around a wallet."""

    def now(self) -> int:
        return NOW

    def block_times(self, block_hash: bytes) -> tuple[int, int] | None:
        return NOW, NOW

    def in_pool(self, txid: bytes) -> bool:
        return False

    def ancestors(self, txid: bytes) -> int:
        return 0

    def changed(self, wallet: Wallet, entry: WalletTx) -> None:
        pass


def make_wallet(addresses: int) -> Wallet:
    """One with about so many addresses."""
    pool = max(1, addresses // (2 * len(TYPES)))
    wallet = Wallet(
        "bench", PARAMS, settings_of(network="regtest", keypool=pool).wallet, Alone(), WalletFlag.DESCRIPTORS
    )
    master = ExtendedSecret.from_seed(b"bench" * 8)
    for internal in (False, True):
        for kind in TYPES:
            keys = wallet.make_keys(master, kind, internal=internal)
            keys.take(derive(keys.descriptor, keys.open_secrets(wallet.vault), keys.missing(pool)) or ())
            wallet.enter_keys(keys, kind, internal=internal)
    return wallet


def make_block(number: int, transactions: int, scripts: list[bytes]) -> ParsedBlock:
    """A block of which as many transactions as there are scripts pay to one of them each."""
    parts = []
    for n in range(transactions):
        place = number * transactions + n
        spends = [b"\xfe" + half.to_bytes(31, "little") + bytes(4) for half in (2 * place, 2 * place + 1)]
        foreign = [b"\x00\x14" + side.to_bytes(20, "little") for side in (2 * place, 2 * place + 1)]
        if n < len(scripts):
            foreign[0] = scripts[n]
        parts.append(Tx(2, spends, [b""] * 2, [0xFFFFFFFD] * 2, [make_txout(10_000, one) for one in foreign]).raw)
    return parse_block(bytes(80) + compact_size(transactions) + b"".join(parts))


def bench_blocks(folder: Path, addresses: int, transactions: int, owns: list[int], rounds: int) -> None:
    print(f"a block of {transactions} transactions, {addresses} addresses: ms of processor time")
    print(f"{'own':>6}{'median':>10}{'most':>10}{'written':>10}")
    for own in owns:
        wallet = make_wallet(addresses)
        store = WalletStore.create(folder / str(own), PARAMS.magic, wallet.journal.take(), unsafe=False)
        wallet.ledger.tip_height, figures, writing = 0, [], []
        keys = next(iter(wallet.active.values()))
        for number in range(1, rounds + 1):
            scripts = [keys.script_at(keys.next_index + n) or b"" for n in range(own)]
            block = make_block(number, transactions, scripts)
            figures.append(processor_ms(partial(connect, wallet, block, number)))
            writing.append(processor_ms(partial(store.write, wallet.journal.take())))
            wallet.lag = 0
            wallet.top_up(keys)  # as a thread does meanwhile
        store.close()
        print(f"{own:>6}{median(figures):>10.2f}{max(figures):>10.2f}{median(writing):>10.2f}")


def connect(wallet: Wallet, block: ParsedBlock, height: int) -> None:
    """As the follower does it."""
    matter = BlockMatter(block)
    txs = matter.transactions(wallet) if matter.concerns(wallet.ledger) else ()
    wallet.lag = wallet.options.keypool // LAG_PART
    wallet.ledger.block_connected(height.to_bytes(32, "little"), height, txs, NOW)


def fill_chain(lab: NodeLab, wallet: Wallet, blocks: int, txs: int, found: int) -> int:
    """A hundred small blocks, then full ones, some between that pay the wallet; the height of the first full one."""
    generator = ChainGenerator(PARAMS)
    for raw in generator.spread(3 * blocks * txs):
        lab.do(lab.parts.chain.submit_block(raw))
    scripts, start = list(wallet.scripts), generator.height + 1
    for number in range(blocks):
        lab.do(lab.parts.chain.submit_block(generator.busy(txs)))
        if number % max(1, blocks // max(1, found)) == 0 and found:
            source = generator.take()
            coin = (source.outpoint, source.txout, source.how)
            tx = signed_tx([coin], [make_txout(source.value - 500, scripts[number % len(scripts)])])
            lab.do(lab.parts.chain.submit_block(generator.block([tx], 500)))
    return start


def processor_ms(work: Callable[[], object]) -> float:
    """Processor time of the calling thread, in milliseconds."""
    begun = time.thread_time()
    work()
    return (time.thread_time() - begun) * 1e3


def bench_rescans(folder: Path, addresses: int, blocks: int, txs: int, found: int) -> None:
    options = {"blockfilterindex": "1", "keypool": max(1, addresses // (2 * len(TYPES)))}
    settings = regtest_config(folder, mocktime=int(time.time()), **options)
    lab = NodeLab(settings)
    try:
        asked: dict[str, float] = {}
        wallets = lab.parts.wallets
        assert wallets is not None
        lab.do(wallets.wallets.create("bench", WalletFlag(0), "", None))
        wallet = wallets.loaded["bench"]
        start = fill_chain(lab, wallet, blocks, txs, found)
        lab.until(lambda: all(state.synced for state in lab.parts.indexes.states()))
        for name, filters in (("without filters", None), ("with filters", lab.parts.indexes.filters)):
            scanner = Scanner(lab.parts.chain, filters, wallets.wallets.disk.save)
            begun = time.process_time()
            result = lab.do(scanner.scan(wallet, start, None))
            asked[name] = time.process_time() - begun
            if result.status is not ScanStatus.SUCCESS:
                raise SystemExit("the rescan failed")
    finally:
        lab.close()
    print(f"a rescan of {blocks} blocks of {txs} transactions, {found} of them own: seconds of processor time")
    for name, seconds in asked.items():
        print(f"{name:>20}{seconds:>10.3f}")
    print(f"{'factor':>20}{asked['without filters'] / asked['with filters']:>10.1f}")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description="What a wallet costs.")
    parser.add_argument("--addresses", type=int, default=10_000)
    parser.add_argument("--transactions", type=int, default=2_500)
    parser.add_argument("--own", default="0,1,50,500")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--blocks", type=int, default=60)
    parser.add_argument("--block-txs", type=int, default=400)
    parser.add_argument("--found", type=int, default=3)
    options = parser.parse_args()
    logging.getLogger("btcnode").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="bench-wallet-") as folder:
        owns = [int(own) for own in options.own.split(",")]
        bench_blocks(Path(folder) / "blocks", options.addresses, options.transactions, owns, options.rounds)
        bench_rescans(Path(folder) / "node", options.addresses, options.blocks, options.block_txs, options.found)


if __name__ == "__main__":
    main()
