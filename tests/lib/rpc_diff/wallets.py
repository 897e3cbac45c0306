"""Methods of wallets: the same keys in the wallets of both, and every argument in turn replaced by junk.

Both import the same descriptors, so that addresses are the same; blocks are those of one of them. Which coins are spent
and in which order is random, so of what changes a wallet only errors are compared, and whether there is one.
"""

from __future__ import annotations

import http.client
import re
import time
from collections.abc import Callable, Iterator
from random import Random

from btcnode.descriptors.checksum import with_checksum

from .asking import Asker, Example, Plan, Report
from .compare import Answer, differing, form
from .forms import VERSIONS, forms, named
from .nodes import Node
from .text import Raw, Tree, parse, request, write
from .values import JUNK

MOCK_TIME = 1_700_000_000
OPTIONS = ("-keypool=3", "-fallbackfee=0.0002", f"-mocktime={MOCK_TIME}", "-disablewallet=0")
SECRET = (
    "tprv8ZgxMBicQKsPd7Uf69XL1XwhmjHopUGep8GuEiJDZmbQz6o58LninorQAfcKZWARbtRtfnLcJ5MQ2AtHcQJCCRUcMRvmDUjyEmNUWwx8UbK"
)
OTHER = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
NO_TXID = "11" * 32
KINDS = {"pkh({})": "44h", "sh(wpkh({}))": "49h", "wpkh({})": "84h", "tr({})": "86h"}

# Of each method the arguments in order, each with values that may do. "@" stands for what the chain has.
Arguments = tuple[tuple[str, tuple[Tree, ...]], ...]
YES_NO: tuple[Tree, ...] = (False, True)
FEES: Arguments = (
    ("conf_target", (None, 6, 0, 1009)),
    ("estimate_mode", (None, "unset", "economical", "x")),
    ("fee_rate", (None, 1, Raw("0.001"), "5", 0, 1_000_000)),
)
FUND = {
    "add_inputs": True, "include_unsafe": True, "minconf": 1, "maxconf": 9, "change_type": "bech32", "fee_rate": 3,
    "conf_target": 3, "estimate_mode": "economical", "replaceable": True,
    "solving_data": {"pubkeys": [], "scripts": []}, "max_tx_weight": 4000,
}  # fmt: skip
OLD = {"changeAddress": "@address", "changePosition": 0, "includeWatching": True, "lockUnspents": False,
       "feeRate": Raw("0.0001"), "subtractFeeFromOutputs": [0],
       "input_weights": [{"txid": "@txid", "vout": 0, "weight": 400}]}  # fmt: skip
NEW = {"change_address": "@address", "change_position": 0, "include_watching": True, "lock_unspents": False,
       "subtract_fee_from_outputs": [0], "add_to_wallet": False, "psbt": True, "locktime": 3,
       "inputs": [{"txid": "@txid", "vout": 0, "weight": 400}]}  # fmt: skip
ALL = {key: NEW[key] for key in ("add_to_wallet", "include_watching", "lock_unspents", "psbt", "locktime")} | {
    "inputs": [{"txid": "@txid", "vout": 0}], "send_max": True, "minconf": 1, "maxconf": 5, "version": 2, "fee_rate": 2,
    "conf_target": 3, "estimate_mode": "economical", "replaceable": True,
}  # fmt: skip
READING: dict[str, Arguments] = {
    "getwalletinfo": (),
    "listwallets": (),
    "listwalletdir": (),
    "getbalance": (("dummy", ("*", None)), ("minconf", (0, 1)), ("include_watchonly", YES_NO), ("avoid_reuse", YES_NO)),
    "getbalances": (),
    "listunspent": (
        ("minconf", (1, 0)), ("maxconf", (9999999, 2)), ("addresses", ([], ["@address"])), ("include_unsafe", YES_NO),
        ("query_options", ({"minimumAmount": 1, "maximumAmount": "50", "maximumCount": 200, "minimumSumAmount": 3,
                            "include_immature_coinbase": True},)),
    ),
    "listlockunspent": (),
    "getreceivedbyaddress": (("address", ("@address",)), ("minconf", (1, 0)), ("include_immature_coinbase", YES_NO)),
    "getreceivedbylabel": (("label", ("", "x")), ("minconf", (1, 0)), ("include_immature_coinbase", YES_NO)),
    "listreceivedbyaddress": (
        ("minconf", (1, 0)), ("include_empty", YES_NO), ("include_watchonly", YES_NO),
        ("address_filter", ("@address",)), ("include_immature_coinbase", YES_NO),
    ),
    "listreceivedbylabel": (
        ("minconf", (1, 0)), ("include_empty", YES_NO), ("include_watchonly", YES_NO),
        ("include_immature_coinbase", YES_NO),
    ),
    "listtransactions": (
        ("label", ("*", "x", "")), ("count", (2, 10)), ("skip", (0, 1)), ("include_watchonly", YES_NO),
    ),
    "listsinceblock": (
        ("blockhash", ("@block", "")), ("target_confirmations", (1, 6)), ("include_watchonly", YES_NO),
        ("include_removed", YES_NO), ("include_change", YES_NO), ("label", ("", "x")),
    ),
    "gettransaction": (("txid", ("@txid", NO_TXID)), ("include_watchonly", YES_NO), ("verbose", YES_NO)),
    "getaddressinfo": (("address", ("@address", OTHER)),),
    "getaddressesbylabel": (("label", ("", "x")),),
    "listlabels": (("purpose", ("receive", "send", "")),),
    "listaddressgroupings": (),
    "listdescriptors": (("private", YES_NO),),
    "gethdkeys": (("options", ({"active_only": True, "private": True}, {})),),
    "signmessage": (("address", ("@legacy", "@address")), ("message", ("m", ""))),
    "simulaterawtransaction": (("rawtxs", ([], ["@raw"])), ("options", ({"include_watchonly": True}, {}))),
    "signrawtransactionwithwallet": (
        ("hexstring", ("@raw",)), ("prevtxs", ([], [{"txid": "@txid", "vout": 0, "scriptPubKey": "51", "amount": 1}])),
        ("sighashtype", ("ALL", "x")),
    ),
    "help": (("command", ("sendtoaddress", "send", "importdescriptors")),),
}  # fmt: skip
CHANGING: dict[str, Arguments] = {
    "walletprocesspsbt": (
        ("psbt", ("@psbt",)), ("sign", YES_NO), ("sighashtype", ("ALL", "DEFAULT")), ("bip32derivs", YES_NO),
        ("finalize", YES_NO),
    ),
    "fundrawtransaction": (("hexstring", ("@unfunded",)), ("options", (FUND | OLD, {})), ("iswitness", (None, True))),
    "walletcreatefundedpsbt": (
        ("inputs", ([], [{"txid": "@txid", "vout": 0, "sequence": 1, "weight": 400}])),
        ("outputs", ({OTHER: 1}, [{"@address": 1}, {"data": "00"}])), ("locktime", (0, 5)),
        ("options", (FUND | OLD, {})), ("bip32derivs", YES_NO), ("version", (2, 3)),
    ),
    "sendtoaddress": (
        ("address", (OTHER,)), ("amount", (1, "0.5")), ("comment", ("c",)), ("comment_to", ("t",)),
        ("subtractfeefromamount", YES_NO), ("replaceable", YES_NO), *FEES[:2], ("avoid_reuse", YES_NO), FEES[2],
        ("verbose", YES_NO),
    ),
    "sendmany": (
        ("dummy", ("",)), ("amounts", ({OTHER: 1, "@address": "0.1"},)), ("minconf", (1,)), ("comment", ("c",)),
        ("subtractfeefrom", ([OTHER], [])), ("replaceable", YES_NO), *FEES, ("verbose", YES_NO),
    ),
    "send": (("outputs", ({OTHER: 1},)), *FEES, ("options", (FUND | NEW, {})), ("version", (2, 3))),
    "sendall": (("recipients", ([OTHER], [OTHER, {"@address": 1}])), *FEES, ("options", (ALL, {}))),
    "bumpfee": (("txid", ("@txid", NO_TXID)), ("options", ({
        "conf_target": 3, "fee_rate": 20, "replaceable": True, "estimate_mode": "economical", "outputs": [{OTHER: 1}],
        "original_change_index": 0}, {}))),
    "psbtbumpfee": (("txid", ("@txid", NO_TXID)), ("options", ({"fee_rate": 20}, {}))),
    "abandontransaction": (("txid", ("@txid", NO_TXID)),),
    "removeprunedfunds": (("txid", (NO_TXID,)),),
    "importprunedfunds": (("rawtransaction", ("@raw",)), ("txoutproof", ("00",))),
    "lockunspent": (
        ("unlock", (True,)), ("transactions", ([{"txid": "@txid", "vout": 0}], [])), ("persistent", YES_NO),
    ),
    "setlabel": (("address", (OTHER,)), ("label", ("x", "*"))),
    "setwalletflag": (("flag", ("avoid_reuse", "blank")), ("value", YES_NO)),
    "getnewaddress": (("label", ("", "x")), ("address_type", ("bech32", "legacy", "x"))),
    "getrawchangeaddress": (("address_type", ("bech32", "x")),),
    "keypoolrefill": (("newsize", (1, 4)),),
    "createwalletdescriptor": (("type", ("bech32m",)), ("options", ({"internal": True, "hdkey": "x"}, {}))),
    "importdescriptors": (("requests", ([{
        "desc": "raw(51)#8lvh9jxk", "active": False, "range": [0, 2], "next_index": 0, "timestamp": "now",
        "internal": False, "label": "l"}],)),),
    "rescanblockchain": (("start_height", (0, 100)), ("stop_height", (None, 101))),
    "abortrescan": (),
    "encryptwallet": (("passphrase", ("",)),),
    "walletpassphrase": (("passphrase", ("p",)), ("timeout", (1,))),
    "walletpassphrasechange": (("oldpassphrase", ("p",)), ("newpassphrase", ("q",))),
    "walletlock": (),
    "walletdisplayaddress": (("address", ("@address", OTHER)),),
    "loadwallet": (("filename", ("w", "none")), ("load_on_startup", (None,))),
    "unloadwallet": (("wallet_name", ("none",)), ("load_on_startup", (None,))),
    "restorewallet": (("wallet_name", ("w",)), ("backup_file", ("none",)), ("load_on_startup", (None,))),
    "createwallet": (
        ("wallet_name", ("w", "")), ("disable_private_keys", YES_NO), ("blank", YES_NO), ("passphrase", (None,)),
        ("avoid_reuse", YES_NO), ("descriptors", YES_NO), ("load_on_startup", (None,)), ("external_signer", YES_NO),
    ),
    "migratewallet": (("wallet_name", ("w", "none")), ("passphrase", (None, "x"))),
}  # fmt: skip
SPENDING_REFUSED = (b'"code":-4,', b'"code":-6,')  # the coins of both are not the same any more
ERROR = b'"error":{"code":'  # whatever the status: 200 in JSON-RPC 2.0
NO_FILE = (b"Invalid -wallet path '", b"Backup file '")  # where bitcoind tells an exception, see docs/differences.md
INSUFFICIENT = b'"code":-6,'  # how much is missing depends on which coins are left
FIRST_ONLY = frozenset({"createwallet", "backupwallet"})  # junk for the first argument would be a name of a file
ONE_FORM = frozenset({"createwallet", "backupwallet", "restorewallet", "encryptwallet", "help"})  # others would work


class Calls:
    """Parameters of each method: right ones, and each part of them in turn replaced by junk."""

    def __init__(self, known: dict[str, Tree], rng: Random, *, pieces: int) -> None:
        """``pieces`` of junk are tried at each place."""
        self._known = known
        self._rng = rng
        self._pieces = min(pieces, len(JUNK))

    def _junk(self) -> list[Tree]:
        return self._rng.sample(JUNK, self._pieces)

    def _filled(self, value: Tree) -> Tree:
        if isinstance(value, list):
            return [self._filled(item) for item in value]
        if isinstance(value, dict):
            return {self._known.get(key, key): self._filled(item) for key, item in value.items()}
        return self._known.get(value, value) if type(value) is str else value

    def _values(self, arguments: Arguments) -> list[Tree]:
        return [self._filled(self._rng.choice(values)) for _, values in arguments]

    def of(self, method: str, arguments: Arguments, count: int) -> Iterator[Tree]:
        """Fewer, more, other names; junk for each argument and each member of objects; then ``count`` random ones.

        Of each argument also ``count`` forms of what may do, by name and by position.
        """
        for number in range(len(arguments) + 1):
            yield self._values(arguments)[:number]
        yield [*self._values(arguments), None]
        yield {"unknown": 1}
        yield {name: value for (name, _), value in zip(arguments, self._values(arguments), strict=True)}
        for place in range(method in FIRST_ONLY, len(arguments)):
            for piece in self._junk():
                params = self._values(arguments)
                yield [*params[:place], piece, *([] if self._rng.random() < 0.5 else params[place + 1 :])]
            whole = self._filled(arguments[place][1][0])
            for changed in self._members(whole):
                yield [*self._values(arguments)[:place], changed]
        for _ in range(count):
            yield self._values(arguments)
        for place in range(0 if method in ONE_FORM else len(arguments)):
            params = self._values(arguments)
            tried = forms(params[place], self._rng)
            for turned in self._rng.sample(tried, min(count, len(tried))):
                names = [name for name, _ in arguments]
                yield named(names, [*params[:place], turned, *params[place + 1 :]], self._rng)

    def _members(self, whole: Tree) -> Iterator[Tree]:
        """An object, or the objects in an array, with one member less, one of junk, one that nobody knows."""
        if isinstance(whole, list):
            for piece in self._junk():
                yield [piece]
            for number, item in enumerate(whole):
                yield from ([*whole[:number], changed, *whole[number + 1 :]] for changed in self._members(item))
        if isinstance(whole, dict):
            yield {**whole, "unknown": 1}
            for key, value in whole.items():
                yield {other: item for other, item in whole.items() if other != key}
                yield {key: value}
                for piece in self._junk()[:8]:
                    yield {key: piece} if self._rng.random() < 0.5 else {**whole, key: piece}
                for changed in self._members(value) if isinstance(value, list | dict) else ():
                    yield {**whole, key: changed}


def run(make: Callable[[], list[Node]], report: Report, plan: Plan, rng: Random) -> None:
    """``make`` gives new nodes. Each method on a wallet with keys, an encrypted one, and one without keys."""
    deadline = time.monotonic() + plan.seconds
    nodes = make()
    try:
        for node in nodes:
            node.options[:] = OPTIONS
            node.start()
        calls = Calls(_prepare(nodes), rng, pieces=len(JUNK) if plan.systematic else 6)
        asker = Asker(nodes, report)
        chosen = [name for name in plan.methods if name in READING or name in CHANGING]
        for method, arguments in (READING | CHANGING).items():
            if chosen and method not in chosen:
                continue
            for params in calls.of(method, arguments, plan.cases):
                if time.monotonic() > deadline:
                    return
                if _is_endless(method, params):
                    continue
                for wallet in ("w",) if rng.random() < 0.8 else ("w", "locked", "watch", "none"):
                    _ask(asker, wallet, method, params, rng)
    finally:
        for node in nodes:
            node.stop()


def _is_endless(method: str, params: Tree) -> bool:
    """Whether both would derive keys until memory ends."""
    values = list(params.values()) if isinstance(params, dict) else params
    return method == "keypoolrefill" and any(re.search(r"\d{6}", write(value)) for value in values)


def _ask(asker: Asker, wallet: str, method: str, params: Tree, rng: Random) -> None:
    """Ask for a wallet, its name with an escape in it or not, in some version of JSON-RPC."""
    body, escaped = request(method, params, rng.choice(VERSIONS)), f"%{ord(wallet[0]):02x}{wallet[1:]}"
    path = f"/wallet/{wallet if rng.random() < 0.8 else escaped}"
    answers = asker.ask(lambda node: node.send("POST", path, body))
    shown = f"{wallet}: {method} {write(params)}"
    if _is_enough(method, [answer for answer in answers if isinstance(answer, Answer)]):
        for way, one, two in _other_form(answers):
            asker.report.add(f"wallet {method}", f"form of {way}", Example(shown, one, two))
        answers = answers[:1]
    asker.compare(f"wallet {method}", shown, answers)


def _other_form(answers: list[Answer | str]) -> Iterator[tuple[str, str, str]]:
    """Where two answers that worked are of different forms."""
    trees = [parse(answer.body) for answer in answers if isinstance(answer, Answer) and ERROR not in answer.body]
    if len(trees) == 2:
        yield from differing(form(trees[0]), form(trees[1]))


def _is_enough(method: str, answers: list[Answer]) -> bool:
    """Whether it is enough that nobody hung up: what else the answers say may differ."""
    worked = [answer.status == http.client.OK and ERROR not in answer.body for answer in answers]
    if all(worked):
        return method in CHANGING or method == "help"
    if any(worked):
        refusal = answers[worked.index(False)].body
        return method in CHANGING and any(text in refusal for text in SPENDING_REFUSED)
    if method in CHANGING and all(any(code in answer.body for code in SPENDING_REFUSED) for answer in answers):
        return any(INSUFFICIENT in answer.body for answer in answers)
    told = b"filesystem error: " in answers[-1].body or b"\\u0000" in answers[0].body
    return len(answers) > 1 and told and any(text in answers[0].body for text in NO_FILE)


def _prepare(nodes: list[Node]) -> dict[str, Tree]:
    """Three wallets at each node, coins in the first one, and what stands for what in calls."""
    requests = []
    for text, purpose in KINDS.items():
        for branch in (0, 1):
            desc = with_checksum(text.format(f"{SECRET}/{purpose}/1h/0h/{branch}/*"))
            requests.append({"desc": desc, "timestamp": "now", "active": True, "internal": bool(branch)})
    for node in nodes:
        node.result(request("createwallet", ["w", False, True]))
        node.result(request("importdescriptors", [requests]))
        address, legacy = (node.result(request("getnewaddress", ["", kind])) for kind in ("bech32", "legacy"))
        node.result(request("createwallet", ["locked", False, True, "pass"]))
        node.result(request("createwallet", ["watch", True]))
    maker = nodes[-1]
    hashes = maker.result(request("generatetoaddress", [3, address]))
    hashes += maker.result(request("generatetoaddress", [100, OTHER]))
    for node in nodes[:-1]:
        for block in hashes:
            node.result(request("submitblock", [maker.result(request("getblock", [block, 0]))]))
    txid = maker.result(request("getblock", [hashes[0], 1]))["tx"][0]
    unfunded = maker.result(request("createrawtransaction", [[], {OTHER: 1}]))
    spend = [[{"txid": txid, "vout": 0}], {OTHER: 49}]
    return {
        "@address": address,
        "@legacy": legacy,
        "@block": hashes[1],
        "@txid": txid,
        "@unfunded": unfunded,
        "@raw": maker.result(request("createrawtransaction", spend)),
        "@psbt": maker.result(request("createpsbt", spend)),
    }
