"""Which addresses of a wallet others can tell to belong together."""

from __future__ import annotations

from itertools import count

from btcnode.primitives.coin import txout_script
from btcnode.wallet.wallet import Wallet


def address_amounts(wallet: Wallet) -> dict[bytes, int]:
    """By script the satoshi that lie there, confirmed or as good as."""
    ledger, found, trusted = wallet.ledger, dict[bytes, int](), set[bytes]()
    for outpoint, coin in ledger.coins.items():
        entry = coin.entry
        if not wallet.coins.is_trusted(entry, trusted) or ledger.is_immature(entry):
            continue
        if ledger.depth(entry) < (0 if ledger.is_from_me(entry.tx) else 1) or wallet.address(coin.script) is None:
            continue
        found[coin.script] = found.get(coin.script, 0) + (0 if ledger.is_spent(outpoint) else coin.value)
    return found


def address_groups(wallet: Wallet) -> list[list[bytes]]:
    """Scripts that were spent from in one transaction, or got its change, together; every other one by itself."""
    ledger = wallet.ledger
    group_of: dict[bytes, int] = {}
    groups: dict[int, set[bytes]] = {}
    numbers = count()

    def join(scripts: set[bytes]) -> None:
        hit = {group_of[script] for script in scripts if script in group_of}
        number = next(numbers)
        merged = set(scripts)
        for other in hit:
            merged |= groups.pop(other)
        groups[number] = merged
        group_of.update(dict.fromkeys(merged, number))

    for entry in ledger.transactions.values():
        spent = [coin.script for prevout in entry.tx.prevouts if (coin := ledger.coins.get(prevout)) is not None]
        paid = [txout_script(txout) for txout in entry.tx.txouts]
        together = {script for script in spent if wallet.address(script) is not None}
        if spent:
            together |= {script for script in paid if wallet.is_change(script) and wallet.address(script) is not None}
        if together:
            join(together)
        for script in paid:
            if ledger.is_mine(script) and wallet.address(script) is not None:
                join({script})
    return [sorted(group) for group in groups.values()]
