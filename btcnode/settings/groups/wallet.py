"""Options of wallets."""

from __future__ import annotations

from pathlib import Path

from btcnode.errors import ConfigError
from btcnode.primitives.amounts import AmountError, format_amount, format_money, parse_money
from btcnode.record import record
from btcnode.settings.declaration import option, switch
from btcnode.settings.kinds import Choice, Feerate, Number, Parsed, PathName, Several, Text

ADDRESS_TYPES = ("legacy", "p2sh-segwit", "bech32", "bech32m")
HIGH_FEERATE = 1_000_000  # sat/kvB: above it the user is warned
HIGH_FEE = 100 * HIGH_FEERATE  # satoshi for a whole transaction
HIGH_EXTRA_FEE = 10_000  # satoshi
USUAL_MAX_FEE = 10_000_000  # satoshi, -maxtxfee where nobody gives one
_WHY_HIGH = {
    "mintxfee": "This is the minimum transaction fee you pay on every transaction.",
    "maxapsfee": (
        "This is the maximum transaction fee you pay (in addition to the normal fee) to prioritize partial spend"
        " avoidance over regular coin selection."
    ),
    "fallbackfee": "This is the transaction fee you may pay when fee estimates are not available.",
    "discardfee": "This is the transaction fee you may discard if change is smaller than dust at this level",
    "maxtxfee": "Fees this large could be paid on a single transaction.",
    "minrelaytxfee": "The wallet will avoid paying less than the minimum relay fee.",
}
_TYPES = ", ".join(ADDRESS_TYPES)


def _parse_extra_fee(flag: str, text: str) -> int:
    if text == "-1":
        return -1
    try:
        return parse_money(text)
    except AmountError:
        raise ConfigError(f"Invalid amount for -{flag}=<amount>: '{text}'") from None


@record(kw_only=True)
class WalletSettings:
    """Feerates are satoshi per 1,000 virtual bytes, fees satoshi.

    ``walletdir`` and ``changetype`` are None where nobody chose. ``wallet`` has the names of wallets to load at
    start, None where nobody has named any (or refused them).
    """

    disablewallet: bool = switch("disablewallet", "Have no wallets, and no methods for them.", False)
    wallet: tuple[str, ...] | None = option(
        "wallet",
        "Load this wallet at start: a name below the wallets' directory, or a path.",
        Several(Text()),
        metavar="NAME",
        network_only=True,
        unset=None,
    )
    walletdir: Path | None = option(
        "walletdir",
        "Directory of the wallets, from the root.",
        PathName(),
        usual="wallets in the network's directory, where there is one, else that",
        metavar="DIR",
        network_only=True,
    )
    addresstype: str = option(
        "addresstype",
        f"Kind of new addresses: {_TYPES}.",
        Choice(ADDRESS_TYPES, "Unknown address type '{}'"),
        "bech32",
        metavar="TYPE",
    )
    changetype: str | None = option(
        "changetype",
        f"Kind of addresses for change: {_TYPES}.",
        Choice(ADDRESS_TYPES, "Unknown change type '{}'"),
        usual="like those that are paid to",
        metavar="TYPE",
    )
    avoidpartialspends: bool = switch("avoidpartialspends", "Spend all coins of an address together.", False)
    spendzeroconfchange: bool = switch("spendzeroconfchange", "Spend unconfirmed change.", True)
    walletrbf: bool = switch("walletrbf", "Signal that transactions may be replaced (BIP125).", True)
    walletbroadcast: bool = switch(
        "walletbroadcast", "Broadcast the wallets' transactions.", True, usual="on, but off with -blocksonly"
    )
    walletrejectlongchains: bool = switch(
        "walletrejectlongchains", "Make no transaction that the mempool's limits of clusters refuse.", True
    )
    walletcrosschain: bool = switch("walletcrosschain", "Load wallets of another chain, too.", False)
    unsafesqlitesync: bool = switch(
        "unsafesqlitesync", "Do not wait until wallets are on disk: for tests, a crash may lose money.", False
    )
    walletnotify: str = option(
        "walletnotify",
        "Run this command when a wallet's transaction changes (%s: its id, %w: the wallet's name, %b: hash of its block"
        " or unconfirmed, %h: height of that or -1).",
        Text(),
        "",
        metavar="CMD",
    )
    keypool: int = option(
        "keypool", "Addresses that are derived ahead of their use.", Number(1, 1_000_000, clamp=True), "1000"
    )
    txconfirmtarget: int = option(
        "txconfirmtarget", "Blocks within which transactions shall confirm.", Number(0, clamp=True), "6"
    )
    fallbackfee: int = option(
        "fallbackfee", "Feerate where none can be estimated, BTC/kvB (0: refuse instead).", Feerate(), "0"
    )
    mintxfee: int = option("mintxfee", "Least feerate of transactions, BTC/kvB.", Feerate(), "0.00001")
    discardfee: int = option(
        "discardfee", "Change that would be dust at this feerate goes to the fee, BTC/kvB.", Feerate(), "0.0001"
    )
    consolidatefeerate: int = option(
        "consolidatefeerate", "Up to this feerate more coins are spent than needed, BTC/kvB.", Feerate(), "0.0001"
    )
    maxtxfee: int = option("maxtxfee", "Most fee of a transaction, BTC.", Feerate(), "0.1", metavar="FEE")
    maxapsfee: int = option(
        "maxapsfee",
        "More fee, BTC, that may go into spending all coins of an address together (-1: do not try).",
        Parsed(_parse_extra_fee, "FEE"),
        "0",
    )

    def fee_fault(self, min_relay_feerate: int) -> str | None:
        """Why no wallet is loaded or made with these fees, in Core's words; the feerate is -minrelaytxfee."""
        if self.maxtxfee >= min(min_relay_feerate, USUAL_MAX_FEE):
            return None
        return (
            f"Invalid amount for -maxtxfee=<amount>: '{format_money(self.maxtxfee)}' (must be at least the minrelay fee"
            f" of {format_amount(min_relay_feerate)} BTC/kvB to prevent stuck transactions)"
        )

    def fee_warnings(self, min_relay_feerate: int) -> list[str]:
        """What users are warned of whenever a wallet is loaded, in Core's words; the feerate is -minrelaytxfee."""
        given = {
            "mintxfee": self.mintxfee > HIGH_FEERATE,
            "maxapsfee": self.maxapsfee > HIGH_EXTRA_FEE,
            "fallbackfee": self.fallbackfee > HIGH_FEERATE,
            "discardfee": self.discardfee > HIGH_FEERATE,
            "maxtxfee": self.maxtxfee > HIGH_FEE,
            "minrelaytxfee": min_relay_feerate > HIGH_FEERATE,
        }
        return [f"-{name} is set very high! {_WHY_HIGH[name]}" for name, is_high in given.items() if is_high]
