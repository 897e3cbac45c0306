"""Which addresses of a wallet others can tell to belong together. In steps: it may have many."""

from __future__ import annotations

from btcnode.primitives.coin import txout_script
from btcnode.primitives.steps import Steps
from btcnode.wallet.book import by_address
from btcnode.wallet.wallet import Wallet


def address_amounts(wallet: Wallet) -> Steps[dict[bytes, int]]:
    """By script the satoshi that lie there, confirmed or as good as."""
    ledger, found, trusted = wallet.ledger, dict[bytes, int](), set[bytes]()
    for outpoint, coin in list(ledger.coins.items()):
        yield
        entry = coin.entry
        if not wallet.coins.is_trusted(entry, trusted) or ledger.is_immature(entry):
            continue
        if ledger.depth(entry) < (0 if ledger.is_from_me(entry.tx) else 1) or wallet.address(coin.script) is None:
            continue
        found[coin.script] = found.get(coin.script, 0) + (0 if ledger.is_spent(outpoint) else coin.value)
    return found


class _Union:
    """Which scripts hang together: each leads to another one, the last of a group to itself."""

    def __init__(self) -> None:
        self._next: dict[bytes, bytes] = {}

    def head(self, script: bytes) -> bytes:
        """The last one, to which all of a group lead."""
        following = self._next
        while (behind := following.setdefault(script, script)) != script:
            following[script] = script = following[behind]
        return script

    def join(self, scripts: list[bytes]) -> None:
        """These belong to one group."""
        first = self.head(scripts[0])
        for script in scripts[1:]:
            self._next[self.head(script)] = first

    def groups(self) -> Steps[list[list[bytes]]]:
        """All groups, in the order of their addresses."""
        found: dict[bytes, list[bytes]] = {}
        for script in list(self._next):
            yield
            found.setdefault(self.head(script), []).append(script)
        groups: list[tuple[bytes, list[bytes]]] = []
        for group in found.values():
            members = yield from by_address([(script, None) for script in group])
            groups.append((members[0][0], [script for script, _ in members]))
        in_order = yield from by_address(groups)
        return [group for _, group in in_order]


def address_groups(wallet: Wallet) -> Steps[list[list[bytes]]]:
    """Scripts that were spent from in one transaction, or got its change, together; every other one by itself."""
    ledger, union = wallet.ledger, _Union()
    for entry in ledger.in_order():
        yield
        spent = [coin.script for prevout in entry.tx.prevouts if (coin := ledger.coins.get(prevout)) is not None]
        paid = [txout_script(txout) for txout in entry.tx.txouts]
        together = [script for script in spent if wallet.address(script) is not None]
        if spent:
            together += [script for script in paid if wallet.is_change(script) and wallet.address(script) is not None]
        if together:
            union.join(together)
        for script in paid:
            if ledger.is_mine(script) and wallet.address(script) is not None:
                union.join([script])
    return (yield from union.groups())
