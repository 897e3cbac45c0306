"""The life of wallets: the same keys in both, coins that come and go, reorganisations, imports, locks, reloads.

All that is random in a spend (coins, places, lock time) is given with it, so that both make the same transactions. At
the end come spends that are random, of which the form is compared alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from btcnode.descriptors.checksum import with_checksum
from tests.lib.rpc_diff.text import Raw, Tree
from tests.lib.rpc_diff.wallets import KINDS, SECRET

from .pair import OWN_PLACE, Pair

OUTSIDE_KEY = "cVpF924EspNh8KjYsfhgY96mmxvT6DgdWiTYMtMjuM74hJaU5psW"
OTHER_KEY = "cMahea7zqjxrtgAbB7LSGbcQUr1uX1ojuat9jZodMN87JcbXMTcA"
OTHER = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
OPTIONS = ("-disablewallet=0", "-keypool=5", "-fallbackfee=0.0002", "-txindex", "-addresstype=bech32")
MORE_OPTIONS: tuple[tuple[str, ...], ...] = (
    ("-avoidpartialspends=1",), ("-spendzeroconfchange=0",), ("-walletrbf=0",), ("-walletbroadcast=0",),
    ("-changetype=legacy", "-changetype=bech32m"), ("-addresstype=legacy", "-addresstype=p2sh-segwit"),
    ("-mintxfee=0.00005",), ("-discardfee=0", "-discardfee=0.001"), ("-consolidatefeerate=0.0002",),
    ("-maxtxfee=0.00002", "-maxtxfee=0.001"), ("-walletrejectlongchains=0",), ("-maxapsfee=-1", "-maxapsfee=0.01"),
    ("-keypool=1", "-keypool=12"), ("-fallbackfee=0",), ("-txconfirmtarget=2",), ("-blockfilterindex=1",),
    ("-persistmempool=0",), ("-limitclustercount=3",), ("-dustrelayfee=0.0001",),
)  # fmt: skip
FIRST_BLOCKS = 150
A_WORKDAY_S = 9 * 3600  # a tip as old as this has no lock time put into what is sent
LABELS = ("", "", "a", "b", "é", "x y")
TYPES = (None, "legacy", "p2sh-segwit", "bech32", "bech32m")
AMOUNTS = ("0.00000294", "0.00000546", "0.001", "0.01", "0.5", "1", "1.23456789", "7")
RATES: tuple[Any, ...] = (1, 2, 3, Raw("1.5"), Raw("10.123"), "25")
SIGHASHES = (None, None, None, "ALL", "DEFAULT", "SINGLE", "NONE|ANYONECANPAY")
PRIVATE, WATCH, ODD, LOCKED = "w", "watch", "odd", "locked"
WALLETS = (PRIVATE, WATCH, ODD, LOCKED)
SENT = "@sent"  # each node's own last transaction
PASSPHRASE = "open sesame"
SEQUENCES: tuple[Any, ...] = (None, None, None, 0xFFFFFFFD, 0xFFFFFFFE, 1)
USUAL: tuple[tuple[str, tuple[Any, ...]], ...] = (  # looked at after each step
    ("getwalletinfo", ()),
    ("getbalances", ()),
    ("listtransactions", ("*", 1000, 0, True)),
    ("listunspent", (0, 9999999, [], True)),
    ("listlockunspent", ()),
    ("listdescriptors", ()),
)
CLOSER: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("listsinceblock", ("", 1, True, True, True)),
    ("listreceivedbyaddress", (0, True, True, None, True)),
    ("listreceivedbyaddress", ()),
    ("listreceivedbylabel", (0, True, True, True)),
    ("listlabels", ()),
    ("listlabels", ("send",)),
    ("listaddressgroupings", ()),
    ("listdescriptors", ()),
    ("gethdkeys", ()),
    ("listunspent", (1, 50, [], False, {"minimumAmount": 1, "include_immature_coinbase": True})),
    ("listtransactions", ("a", 7, 1)),
    ("getbalance", ("*", 1, True, True)),
    ("getbalance", ("*", 0, False, False)),
)


class PurseLife:
    """A random life, from a seed; both nodes are compared after each step."""

    def __init__(self, pair: Pair, rng: Random) -> None:
        self.pair = pair
        self.rng = rng
        self.outside = ""  # the address that pays the wallets
        self.own: list[str] = []  # addresses that the wallets have given
        self.txids: list[str] = []
        self.taken_back: list[str] = []  # blocks
        self.loaded = list(WALLETS)
        self.steps = self.backups = self.imports = 0

    def w(self, wallet: str, method: str, *params: Any) -> Tree:
        """A call that a wallet carries out."""
        return self.pair.both(method, *params, path=f"/wallet/{wallet}")

    def see(self, wallet: str, method: str, *params: Any) -> Tree:
        """Look at a wallet."""
        return self.pair.same(method, *params, path=f"/wallet/{wallet}")

    # -- beginning -----------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """A chain whose coins are nobody's, and the wallets."""
        pair = self.pair
        desc = pair.both("getdescriptorinfo", f"wpkh({OUTSIDE_KEY})")["descriptor"]
        self.outside = pair.both("deriveaddresses", desc)[0]
        pair.both("createwallet", PRIVATE, False, True)
        pair.both("createwallet", WATCH, True, True)
        pair.both("createwallet", ODD, False, True)
        pair.both("createwallet", LOCKED, False, True, PASSPHRASE)
        pair.both("generatetoaddress", FIRST_BLOCKS, self.outside)
        self.w(PRIVATE, "importdescriptors", list(_keys(SECRET)))
        self.w(LOCKED, "importdescriptors", list(_keys(SECRET, account=1)))
        self.w(LOCKED, "walletpassphrase", PASSPHRASE, 100_000_000)
        self.w(LOCKED, "importdescriptors", list(_keys(SECRET, account=1)))
        public = self.w(PRIVATE, "listdescriptors")["descriptors"]
        self.w(WATCH, "importdescriptors", [
            {"desc": str(row["desc"]), "timestamp": "now", "active": True, "internal": row["internal"],
             "range": [int(end) for end in row["range"]]} for row in public
        ])  # fmt: skip
        self._import_odd()
        self._later()

    def _import_odd(self) -> None:
        a, b = OUTSIDE_KEY, OTHER_KEY
        inner = f"{SECRET}/7/*"
        # each coin can be spent in one way only: where there are two, the order of Core's memory decides
        texts = (
            f"wsh(multi(2,{inner},{b}))", f"sh(wsh(sortedmulti(2,{inner},{b})))", f"sh(multi(2,{b},{inner}))",
            f"wsh(and_v(v:pk({inner}),older(2)))", f"tr({inner},{{pk({a}),and_v(v:pk({a}),after(20))}})",
            f"combo({b})", f"pk({b})", f"wpkh({SECRET}/<8;9>/*)", f"wsh(or_i(pk({a}x),pk({b})))",
        )  # fmt: skip
        rows: list[Tree] = []
        for text in texts:
            ranged = "*" in text
            rows.append({"desc": with_checksum(text), "timestamp": "now"} | ({"range": [0, 4]} if ranged else {}))
            if not ranged or self.rng.random() < 0.3:
                rows[-1]["label"] = "odd"
        for row in rows:
            self.w(ODD, "importdescriptors", [row])
            if row.get("range"):
                info = self.pair.both("getdescriptorinfo", row["desc"])
                if "descriptor" in info:
                    found = self.pair.both("deriveaddresses", str(info["descriptor"]), [0, 2])
                    self.own += [str(item) for item in found] if found and isinstance(found, list) else []

    # -- steps ---------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """One step, and what is to be seen of it."""
        makers: tuple[tuple[int, Callable[[], None]], ...] = (
            (6, self._address),
            (3, self._label),
            (14, self._pay),
            (9, self._mine),
            (22, self._spend),
            (6, self._choose),
            (3, self._replace_payment),
            (2, self._abandon),
            (2, self._lock),
            (2, self._undo),
            (1, self._redo),
            (2, self._import),
            (1, self._rescan),
            (1, self._flag),
            (1, self._reload),
            (1, self._backup),
            (1, self._pruned_funds),
            (1, self._message),
            (1, self._passphrase),
            (2, self._restart),
        )
        (maker,) = self.rng.choices([maker for _, maker in makers], [weight for weight, _ in makers])
        maker()
        self.steps += 1
        self._look()

    def _wallet(self) -> str:
        return self.rng.choice((PRIVATE, PRIVATE, *self.loaded))

    def _later(self) -> None:
        """The clock goes on, once wallets have heard of all there is: they note when that was."""
        self.pair.both("syncwithvalidationinterfacequeue")
        self.pair.sets(self.pair.now + A_WORKDAY_S)

    def _address(self) -> None:
        rng, wallet = self.rng, self._wallet()
        if rng.random() < 0.2:
            found = self.w(wallet, "getrawchangeaddress", rng.choice(TYPES))
        else:
            found = self.w(wallet, "getnewaddress", rng.choice(LABELS), rng.choice(TYPES))
        if isinstance(found, str):
            self.own.append(str(found))
            self.see(wallet, "getaddressinfo", str(found))

    def _label(self) -> None:
        address = self.rng.choice((*self.own, OTHER))
        self.w(self._wallet(), "setlabel", address, self.rng.choice((*LABELS, "*")))

    def _outside_coin(self) -> tuple[str, Tree] | None:
        """A ripe coin of nobody's: its block's coinbase, unspent in the mempool, too."""
        for _ in range(20):
            height = self.rng.randrange(1, max(2, int(self.pair.theirs("getblockcount")) - 99))
            txid = self.pair.theirs("getblock", self.pair.theirs("getblockhash", height), 1)["tx"][0]
            coin = self.pair.theirs("gettxout", txid, 0)
            if coin and coin["scriptPubKey"].get("address") == self.outside:
                return str(txid), coin
        return None

    def _coin(self, spent: Tree) -> Tree:
        """What an input spends."""
        return self.pair.theirs("getrawtransaction", spent["txid"], 1)["vout"][int(spent["vout"])]

    def _signed(self, inputs: Sequence[Tree], outputs: Sequence[Tree], coins: Sequence[Tree]) -> str:
        raw = self.pair.both("createrawtransaction", inputs, outputs)
        if not isinstance(raw, str):
            return ""
        known = [
            {"txid": spent["txid"], "vout": spent["vout"], "scriptPubKey": str(coin["scriptPubKey"]["hex"]),
             "amount": coin["value"]} for spent, coin in zip(inputs, coins, strict=True)
        ]  # fmt: skip
        signed = self.pair.both("signrawtransactionwithkey", str(raw), [OUTSIDE_KEY, OTHER_KEY], known)
        return str(signed["hex"]) if "hex" in signed else ""

    def _payment(self, inputs: Sequence[Tree], coins: Sequence[Tree], fee: float) -> None:
        rng = self.rng
        own = rng.sample(self.own, min(len(self.own), rng.choice((1, 1, 2, 3))))
        outputs: list[Tree] = [{address: rng.choice(AMOUNTS)} for address in own]
        left = sum(float(coin["value"]) for coin in coins) - sum(float(v) for row in outputs for v in row.values())
        if left > fee:
            outputs.insert(rng.randint(0, len(outputs)), {self.outside: f"{left - fee:.8f}"})
        self._broadcast(self._signed(inputs, outputs, coins))

    def _broadcast(self, raw: str) -> None:
        txid = self.pair.both("sendrawtransaction", raw, 0, 21_000_000) if raw else None
        if isinstance(txid, str):
            self.txids.append(str(txid))

    def _pay(self) -> None:
        coin = self._outside_coin()
        if coin and self.own:
            spent = {"txid": coin[0], "vout": 0, "sequence": self.rng.choice((0xFFFFFFFD, 0xFFFFFFFE))}
            self._payment([spent], [coin[1]], 0.0001)

    def _replace_payment(self) -> None:
        """Another spend of what a payment in the mempool spends, with a higher fee."""
        pool = [str(txid) for txid in self.pair.same("getrawmempool")]
        if not pool or not self.own:
            return
        tx = self.pair.theirs("getrawtransaction", self.rng.choice(pool), 1)
        coins = [self._coin(row) for row in tx["vin"]]
        if any(coin["scriptPubKey"].get("address") != self.outside for coin in coins):
            return
        inputs = [{"txid": str(row["txid"]), "vout": int(row["vout"]), "sequence": 0xFFFFFFFD} for row in tx["vin"]]
        self._payment(inputs, coins, self.rng.choice((0.0003, 0.002)))

    def _mine(self) -> None:
        rng = self.rng
        address = rng.choice(self.own) if self.own and rng.random() < 0.3 else self.outside
        count = rng.choice((1, 1, 1, 2, 3, 100 if rng.random() < 0.1 else 1))
        if rng.random() < 0.15:
            self.pair.both("generateblock", address, [])
        else:
            self.pair.both("generatetoaddress", count, address)
        self._later()

    # -- spending ------------------------------------------------------------------------------------------------

    def _spend(self) -> None:
        rng = self.rng
        wallet = rng.choice((PRIVATE, PRIVATE, PRIVATE, *self.loaded))
        coins = [row for row in self.see(wallet, "listunspent", 0) if isinstance(row, dict)]
        coins.sort(key=lambda row: (row["txid"], int(row["vout"])))
        if not coins:
            return self._pay()
        chosen = rng.sample(coins, min(len(coins), rng.choice((1, 1, 1, 2, 3))))
        inputs: list[Tree] = [{"txid": str(row["txid"]), "vout": int(row["vout"])} for row in chosen]
        worth = sum(float(row["amount"]) for row in chosen)
        way = rng.choice((self._by_psbt, self._by_psbt, self._by_send, self._by_sendall, self._by_funding))
        way(wallet, inputs, worth)
        return None

    def _recipients(self, worth: float) -> list[Tree]:
        rng = self.rng
        count = rng.choice((1, 1, 2, 3))
        shares = [rng.choice((0.1, 0.3, 0.5, 1.0, 1.1, 0.0001)) / count * worth for _ in range(count)]
        addresses = rng.sample([*self.own[-30:], OTHER, self.outside], count)
        found: list[Tree] = [{to: f"{share:.8f}"} for to, share in zip(addresses, shares, strict=True)]
        if rng.random() < 0.1:
            found.append({"data": "c0ffee"})
        return found

    def _way(self, outputs: Sequence[Tree], names: Sequence[str]) -> dict[str, Tree]:
        """Options of a spend; ``names``: of where change goes to, at which place, and of who pays the fee."""
        rng = self.rng
        found: dict[str, Tree] = {"add_inputs": False, names[1]: rng.randint(0, len(outputs))}
        if rng.random() < 0.3:
            found[names[0]] = rng.choice((*self.own[-9:], OTHER))
        elif rng.random() < 0.2:
            found["change_type"] = rng.choice(TYPES[1:])
        if rng.random() < 0.3:
            found[names[2]] = sorted(rng.sample(range(len(outputs)), rng.randint(1, len(outputs))))
        if rng.random() < 0.5:
            found["replaceable"] = rng.random() < 0.5
        if rng.random() < 0.1:
            found["lockUnspents" if names[1] == "changePosition" else "lock_unspents"] = True
        return found

    def _by_psbt(self, wallet: str, inputs: list[Tree], worth: float) -> None:
        rng = self.rng
        outputs = self._recipients(worth)
        for spent in inputs:
            if (sequence := rng.choice(SEQUENCES)) is not None:
                spent["sequence"] = sequence
        options = self._way(outputs, ("changeAddress", "changePosition", "subtractFeeFromOutputs"))
        options["fee_rate"] = rng.choice(RATES)
        made = self.w(wallet, "walletcreatefundedpsbt", inputs, outputs, rng.choice((0, 0, 5, 200)), options,
                      rng.random() < 0.7, rng.choice((2, 2, 1, 3)))  # fmt: skip
        if "psbt" not in made:
            return
        text = str(made["psbt"])
        for signer in (wallet, rng.choice(self.loaded)):
            self.pair.both("analyzepsbt", text)
            self.pair.both("decodepsbt", text)
            done = self.w(signer, "walletprocesspsbt", text, rng.random() < 0.9, rng.choice(SIGHASHES),
                          rng.random() < 0.5, rng.random() < 0.8)  # fmt: skip
            text = str(done["psbt"]) if "psbt" in done else text
        self.pair.both("decodepsbt", text)
        final = self.pair.both("finalizepsbt", text)
        if "hex" in final and rng.random() < 0.8:
            self._broadcast(str(final["hex"]))

    def _by_send(self, wallet: str, inputs: list[Tree], worth: float) -> None:
        rng = self.rng
        outputs = self._recipients(worth)
        options = self._way(outputs, ("change_address", "change_position", "subtract_fee_from_outputs"))
        options |= {"inputs": inputs, "locktime": rng.choice((0, 3))}
        for name in ("add_to_wallet", "psbt", "include_unsafe"):
            if rng.random() < 0.2:
                options[name] = rng.random() < 0.5
        self._note_sent(self.w(wallet, "send", outputs, None, None, rng.choice(RATES), options))

    def _by_sendall(self, wallet: str, inputs: list[Tree], worth: float) -> None:
        rng = self.rng
        to: list[Tree] = [rng.choice((*self.own[-9:], OTHER))]
        if rng.random() < 0.4:
            to.append({self.outside: f"{worth / 3:.8f}"})
        options: dict[str, Tree] = {"inputs": inputs, "locktime": 0}
        for name in ("add_to_wallet", "psbt", "send_max"):
            if rng.random() < 0.15:
                options[name] = rng.random() < 0.5
        self._note_sent(self.w(wallet, "sendall", to, None, None, rng.choice(RATES), options))

    def _note_sent(self, done: Tree) -> None:
        if "txid" in done:
            self.txids.append(str(done["txid"]))

    def _by_funding(self, wallet: str, inputs: list[Tree], worth: float) -> None:
        rng = self.rng
        outputs = self._recipients(worth)
        options = self._way(outputs, ("changeAddress", "changePosition", "subtractFeeFromOutputs"))
        options["feeRate"] = rng.choice(("0.00002", Raw("0.00001234")))
        raw = self.pair.both("createrawtransaction", inputs, outputs, rng.choice((0, 7)))
        made = self.w(wallet, "fundrawtransaction", str(raw), options)
        if "hex" not in made:
            return
        signed = self.w(wallet, "signrawtransactionwithwallet", str(made["hex"]), [], rng.choice(SIGHASHES) or "ALL")
        if "hex" in signed:
            self.w(wallet, "simulaterawtransaction", [str(signed["hex"])])
            self.pair.both("testmempoolaccept", [str(signed["hex"])])
            self._broadcast(str(signed["hex"]))

    def _choose(self) -> None:
        """Have the wallet choose among so few coins that there is nothing to draw lots for."""
        rng = self.rng
        wallet = rng.choice((PRIVATE, PRIVATE, *self.loaded))
        coins = [row for row in self.see(wallet, "listunspent", 0) if isinstance(row, dict)]
        coins.sort(key=lambda row: (row["txid"], int(row["vout"])))
        if not coins:
            return
        free = rng.choice(coins)
        others = [{"txid": str(row["txid"]), "vout": int(row["vout"])} for row in coins if row is not free]
        if others:
            self.w(wallet, "lockunspent", False, others)
        outputs = self._recipients(float(free["amount"]))
        options = self._way(outputs, ("changeAddress", "changePosition", "subtractFeeFromOutputs"))
        del options["add_inputs"]
        for name, value in (("minconf", rng.choice((0, 1, 2))), ("maxconf", rng.choice((1, 99))),
                            ("include_unsafe", True), ("max_tx_weight", rng.choice((400, 600, 4000)))):  # fmt: skip
            if rng.random() < 0.2:
                options[name] = value
        if rng.random() < 0.7:
            options["fee_rate"] = rng.choice(RATES)
        self.w(wallet, "walletcreatefundedpsbt", [], outputs, rng.choice((0, 5)), options)
        self._more_ways(wallet, outputs)
        if others:
            self.w(wallet, "lockunspent", True, others)

    def _more_ways(self, wallet: str, outputs: Sequence[Tree]) -> None:
        """The same by methods that choose the place of change by lot: what they answer, not what comes of it."""
        rng, path = self.rng, f"/wallet/{wallet}"
        options: dict[str, Tree] = {"add_to_wallet": False, "locktime": 0, "change_position": 0}
        self.w(wallet, "send", outputs, None, "unset", rng.choice(RATES), options | {"psbt": rng.random() < 0.5})
        self.pair.alike("send", outputs, None, None, rng.choice((None, 3)), {"add_to_wallet": False}, path=path)
        self.w(wallet, "sendall", [OTHER], None, None, rng.choice(RATES), {"add_to_wallet": False, "locktime": 0})

    # -- the rest ------------------------------------------------------------------------------------------------

    def _abandon(self) -> None:
        if self.txids:
            self.w(self._wallet(), "abandontransaction", self.rng.choice(self.txids[-20:]))

    def _lock(self) -> None:
        rng, wallet = self.rng, self._wallet()
        if rng.random() < 0.3:
            self.w(wallet, "lockunspent", True)
            return
        coins = [*self.see(wallet, "listunspent", 0), *self.see(wallet, "listlockunspent")]
        coins.sort(key=lambda row: (row["txid"], int(row["vout"])))
        chosen = [
            {"txid": str(row["txid"]), "vout": int(row["vout"])}
            for row in rng.sample(coins, min(len(coins), rng.choice((1, 2))))
        ]
        self.w(wallet, "lockunspent", rng.random() < 0.3, chosen, rng.random() < 0.5)

    def _undo(self) -> None:
        """Take blocks back; others may follow in their place."""
        rng = self.rng
        height = int(self.pair.same("getblockcount")) - rng.choice((0, 0, 1, 2, 4))
        if height <= FIRST_BLOCKS:
            return
        name = str(self.pair.same("getblockhash", height))
        self.pair.both("invalidateblock", name)
        self.taken_back.append(name)
        self.pair.settle()
        self._look()
        for _ in range(rng.choice((0, 1, 3))):
            self._mine()

    def _redo(self) -> None:
        if self.taken_back:
            self.pair.both("reconsiderblock", self.taken_back.pop())
            self.pair.settle()

    def _import(self) -> None:
        rng = self.rng
        self.imports += 1
        wallet = rng.choice((WATCH, ODD, PRIVATE))
        text = rng.choice((
            f"addr({rng.choice((*self.own, OTHER, self.outside))})", f"raw(51{self.imports:02x})",
            f"wpkh({SECRET}/{self.imports}/*)", f"pkh({OTHER_KEY})", f"tr({SECRET}/{self.imports})",
            f"wpkh({SECRET}/44h/*)",
        ))  # fmt: skip
        row: dict[str, Tree] = {"desc": with_checksum(text), "timestamp": rng.choice((0, "now", self.pair.now - 10**5))}
        if "*" in text:
            row |= {"range": rng.choice((3, [0, 2], [2, 4])), "active": rng.random() < 0.3}
        if rng.random() < 0.4:
            row["label"] = rng.choice(LABELS)
        if rng.random() < 0.3:
            row["internal"] = rng.random() < 0.5
        if rng.random() < 0.1:
            row["next_index"] = 1
        if wallet in self.loaded:
            self.w(wallet, "importdescriptors", [row])

    def _rescan(self) -> None:
        height = int(self.pair.same("getblockcount"))
        start = self.rng.choice((0, height - 10, height, height + 1))
        self.w(self._wallet(), "rescanblockchain", start, self.rng.choice((None, height - 2, height)))

    def _flag(self) -> None:
        self.w(self._wallet(), "setwalletflag", "avoid_reuse", self.rng.random() < 0.5)

    def _reload(self) -> None:
        """A wallet goes and comes back, perhaps after blocks that it has not seen."""
        wallet = self.rng.choice(self.loaded)
        self.pair.both("unloadwallet", wallet)
        self.pair.both("unloadwallet", wallet)
        if self.rng.random() < 0.5:
            self._pay()
            self._mine()
        self.pair.both("loadwallet", wallet)
        if wallet == LOCKED:
            self._open()

    def _open(self) -> None:
        self.w(LOCKED, "walletpassphrase", PASSPHRASE, 100_000_000)

    def _backup(self) -> None:
        """A wallet is restored from a backup under another name, looked at, and unloaded."""
        wallet, name = self._wallet(), f"copy{self.backups}"
        self.backups += 1
        self.w(wallet, "backupwallet", f"{OWN_PLACE}/{name}.bak")
        self.pair.both("restorewallet", name, f"{OWN_PLACE}/{name}.bak")
        for method, params in USUAL:
            self.see(name, method, *params)
        self.pair.both("unloadwallet", name)

    def _pruned_funds(self) -> None:
        """A transaction is taken out of a wallet, or put into one with its proof."""
        if not self.txids:
            return
        txid, wallet = self.rng.choice(self.txids), self._wallet()
        if self.rng.random() < 0.5:
            self.w(wallet, "removeprunedfunds", txid)
        raw, proof = self.pair.both("getrawtransaction", txid), self.pair.both("gettxoutproof", [txid])
        if isinstance(raw, str) and isinstance(proof, str):
            self.w(wallet, "importprunedfunds", str(raw), str(proof))

    def _message(self) -> None:
        if self.own:
            self.w(self._wallet(), "signmessage", self.rng.choice(self.own), "said")

    def _passphrase(self) -> None:
        self.w(LOCKED, "walletlock")
        self.w(LOCKED, "getwalletinfo")
        self.w(LOCKED, "signmessage", self.own[0] if self.own else OTHER, "said")
        self.w(LOCKED, "keypoolrefill", 7)
        self.w(LOCKED, "walletpassphrase", "wrong", 10)
        self._open()

    def _restart(self) -> None:
        """Both with other options."""
        rows = self.rng.sample(MORE_OPTIONS, self.rng.choice((0, 1, 2, 3, 4)))
        self.pair.options = [*OPTIONS, *(self.rng.choice(row) for row in rows)]
        self.pair.restart()
        if self.rng.random() < 0.5:
            for wallet in WALLETS:
                self.pair.both("loadwallet", wallet)
        else:
            for wallet in WALLETS:
                self.pair.both("loadwallet", wallet, self.rng.choice((None, True)))
        self._open()

    # -- the end -------------------------------------------------------------------------------------------------

    def end(self) -> None:
        """Spends whose coins and places are random: the form of what is answered, and of what is told afterwards."""
        for wallet in (PRIVATE, LOCKED):
            coin = self._outside_coin()
            kinds = [str(self.w(wallet, "getnewaddress", "", kind)) for kind in TYPES[1:]]
            if coin:
                spent = {"txid": coin[0], "vout": 0}
                left = float(coin[1]["value"]) - 4 * 5 - 0.001
                outputs: list[Tree] = [{address: 5} for address in kinds]
                self._broadcast(self._signed([spent], [*outputs, {self.outside: f"{left:.8f}"}], [coin[1]]))
        self._mine()
        for _ in range(3):
            for wallet in (PRIVATE, LOCKED):
                self._end_of(wallet)
            self.pair.both("syncwithvalidationinterfacequeue")

    def _end_of(self, wallet: str) -> None:
        rng, path = self.rng, f"/wallet/{wallet}"
        few = Raw("0.001")
        self._sent_each(self.pair.alike("sendtoaddress", OTHER, few, path=path), wallet)
        done = self.pair.alike(
            "sendtoaddress", OTHER, few, "c", "t", False, True, None, "unset", None, 2, True, path=path
        )
        self._sent_each(done, wallet)
        self._bump(wallet)
        self._sent_each(self.pair.alike("sendmany", "", {OTHER: few, self.outside: 1}, path=path), wallet)
        amounts, rate = {OTHER: few, self.outside: few}, rng.choice(RATES)
        done = self.pair.alike(
            "sendmany", "", amounts, 1, "c", [OTHER], True, None, "unset", rate, True, path=path
        )  # fmt: skip
        self._sent_each(done, wallet)
        for options in ({}, {"psbt": True}, {"add_to_wallet": False}, {"lock_unspents": True}):
            self._sent_each(self.pair.alike("send", [{OTHER: few}], None, None, rate, options, path=path), wallet)
        self._bump(wallet)
        self.pair.alike("walletcreatefundedpsbt", [], [{OTHER: few}], path=path)
        self.pair.alike("sendall", [OTHER], None, None, rate, {"psbt": True}, path=path)

    def _sent_each(self, done: Sequence[Tree], wallet: str) -> None:
        """Look at what each node has sent."""
        txids = [str(row["txid"] if isinstance(row, dict) and "txid" in row else row) for row in done]
        if any(len(txid) != 64 or "{" in txid for txid in txids):
            return
        for words, txid in zip(self.pair.words, txids, strict=True):
            words[SENT] = txid
        for verbose in (False, True):
            self.pair.alike("gettransaction", SENT, True, verbose, path=f"/wallet/{wallet}")
        self.pair.alike("getmempoolentry", SENT)

    def _bump(self, wallet: str) -> None:
        """Replace what was sent last, by psbt and in truth; each once more, where that is refused."""
        if SENT not in self.pair.words[0]:
            return
        path = f"/wallet/{wallet}"
        self.pair.alike("psbtbumpfee", SENT, {"fee_rate": 40}, path=path)
        self.pair.alike("bumpfee", SENT, {"fee_rate": 1}, path=path)
        self.pair.alike("bumpfee", SENT, {"fee_rate": 50}, path=path)
        self.pair.alike("bumpfee", SENT, path=path)
        self.pair.both("syncwithvalidationinterfacequeue")
        self.pair.alike("gettransaction", SENT, path=path)

    # -- looking -------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        rng = self.rng
        self.pair.same("getrawmempool")
        for wallet in self.loaded:
            for method, params in USUAL:
                self.see(wallet, method, *params)
        wallet = rng.choice(self.loaded)
        for method, params in rng.sample(CLOSER, 4):
            self.see(wallet, method, *params)
        for txid in rng.sample(self.txids, min(2, len(self.txids))):
            self.see(wallet, "gettransaction", txid, True, True)
        for address in rng.sample(self.own, min(2, len(self.own))):
            self.see(wallet, "getaddressinfo", address)
            self.see(wallet, "getreceivedbyaddress", address, rng.choice((0, 1, 3)), rng.random() < 0.5)
        label = rng.choice((*LABELS, "odd"))
        self.see(wallet, "getaddressesbylabel", label)
        self.see(wallet, "getreceivedbylabel", label, rng.choice((0, 1)))


def _keys(secret: str, account: int = 0) -> Sequence[Tree]:
    rows = []
    for text, purpose in KINDS.items():
        for branch in (0, 1):
            desc = with_checksum(text.format(f"{secret}/{purpose}/1h/{account}h/{branch}/*"))
            rows.append({"desc": desc, "timestamp": "now", "active": True, "internal": bool(branch)})
    return rows


def live(pair: Pair, rng: Random, steps: int) -> None:
    """A whole life. Raises Difference."""
    pair.options = list(OPTIONS)
    pair.restart()
    life = PurseLife(pair, rng)
    life.begin()
    for _ in range(steps):
        life.step()
    life.end()
