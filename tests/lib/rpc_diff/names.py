"""Names of methods: those of a wallet, deprecated and hidden ones, nearly right ones; and the help of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .cases import Case, every_method
from .values import Values

WALLET = (
    "abandontransaction", "abortrescan", "addhdkey", "backupwallet", "bumpfee", "createwallet",
    "createwalletdescriptor", "encryptwallet", "exportwatchonlywallet", "fundrawtransaction", "getaddressesbylabel",
    "getaddressinfo", "getbalance", "getbalances", "gethdkeys", "getnewaddress", "getrawchangeaddress",
    "getreceivedbyaddress", "getreceivedbylabel", "gettransaction", "getwalletinfo", "importdescriptors",
    "importprunedfunds", "keypoolrefill", "listaddressgroupings", "listdescriptors", "listlabels", "listlockunspent",
    "listreceivedbyaddress", "listreceivedbylabel", "listsinceblock", "listtransactions", "listunspent",
    "listwalletdir", "listwallets", "loadwallet", "lockunspent", "migratewallet", "psbtbumpfee", "removeprunedfunds",
    "rescanblockchain", "restorewallet", "send", "sendall", "sendmany", "sendtoaddress", "setlabel", "setwalletflag",
    "signmessage", "signrawtransactionwithwallet", "simulaterawtransaction", "unloadwallet", "walletcreatefundedpsbt",
    "walletdisplayaddress", "walletlock", "walletpassphrase", "walletpassphrasechange", "walletprocesspsbt",
)  # fmt: skip
GONE = (
    "addmultisigaddress", "dumpprivkey", "dumpwallet", "importaddress", "importmulti", "importprivkey", "importpubkey",
    "importwallet", "sethdseed", "settxfee", "getunconfirmedbalance", "newkeypool", "upgradewallet", "getinfo",
    "getaccount", "move", "sendfrom", "signrawtransaction", "getgenerate", "setgenerate", "gethashespersec", "getwork",
    "estimatefee", "estimatepriority", "estimatesmartpriority", "resendwallettransactions", "addwitnessaddress",
    "createwitnessaddress", "getblocklocations", "getmempoolfeerate", "getnetworkhash", "keypool", "verifychainlock",
    "echoipcx", "generate", "getcoincacheinfo", "getutxos", "walletsigner",
)  # fmt: skip
ODD = ("", " ", "help ", "Help", "HELP", "getblock\0", "getblock\n", "é", "a" * 5000, "getblock,", "*", "../stop")
ODDER: tuple[Any, ...] = (None, 1, True, [], {}, "\0")


def cases(values: Values, _cases: int) -> Iterator[Case]:
    """Each name with some parameters, and asked for help."""
    names = (*WALLET, *GONE, *ODD)
    for name in names:
        for params in ([], {}, ["x"], {"x": 1}, [None]):
            if name != "help ":
                yield Case(name, params)
    for name in (*names, *every_method(), "logging getblock", "getblock logging"):
        if name not in every_method():
            yield Case("help", [name])
            yield Case("help", {"command": name})
    yield from (Case("help", [odd]) for odd in ODDER)
