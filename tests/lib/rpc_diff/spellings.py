"""One value in many spellings: whole numbers, amounts, booleans and text, for every argument that is one of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .cases import CHANGING, METHODS, Case, Cases
from .text import Raw
from .values import Values

NUMBERS = tuple(
    map(
        Raw,
        (
            "0", "-0", "0.0", "-0.0", "0e0", "0e5", "0E-5", "00", "01", "-01", "1", "1.0", "1.00000000", "1.000000000",
            "1.", ".1", "+1", "1e0", "1E0", "1e+0", "1e-0", "1e1", "10e-1", "1E+1", "100e-2", "0.1e1", "1e", "1e+",
            "1.5", "1e-1", "0.99999999999999999999", "1.00000000000000000001", "2147483647", "2147483648",
            "-2147483648", "-2147483649", "4294967295", "4294967296", "9223372036854775807", "9223372036854775808",
            "-9223372036854775808", "-9223372036854775809", "18446744073709551615", "18446744073709551616",
            "1e18", "1e19", "1e308", "1e309", "-1e309", "1e-308", "1e-324", "5e-324", "1e99999", "1e-99999",
            "0." + "0" * 400 + "1", "1" + "0" * 500, "NaN", "nan", "Infinity", "-Infinity", "inf", "0x1", "0b1", "1_0",
            "1,0", "1 0", "--1", "-", "1e1e1", "1.1.1", "True", "TRUE", "None",
        ),
    )
)  # fmt: skip
TEXTS = (
    "0", "-0", "1", "01", "1.0", "1e0", "+1", " 1", "1 ", "1.", ".1", "0x1", "1_0", "1e-8", "1E-8", "0.00000001",
    "0.000000001", "1e8", "1e10", "1e11", "21000000", "92233720368.54775807", "92233720368.54775808",
    "-92233720368.54775808", "99999999999999999999", "0." + "0" * 400, "1" + "0" * 500, "1e", "1e+", "--1", "nan",
    "Infinity", "true", "false", "null", "[]", "{}", "\t1", "1\n", "1\0", "\0", "１", "1,0", "0,1",
)  # fmt: skip
NUMERIC = (
    "number", "height", "low_height", "hash_or_height", "amount", "feerate", "boolean", "locktime", "range", "=",
)  # fmt: skip
SLOW = frozenset({"generatetoaddress", "generatetodescriptor", "waitfornewblock", "waitforblock", "waitforblockheight",
                  "stop", "verifychain", "scantxoutset", "setmocktime", "mockscheduler", "setnetworkactive",
                  "dumptxoutset"})  # fmt: skip
INSIDE: tuple[tuple[str, tuple[Any, ...]], ...] = (  # where HERE stands the value
    ("createrawtransaction", ([{"txid": "ab" * 32, "vout": "HERE"}], [])),
    ("createrawtransaction", ([{"txid": "ab" * 32, "vout": 0, "sequence": "HERE"}], [])),
    ("createrawtransaction", ([], [{"bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080": "HERE"}])),
    ("createpsbt", ([], {"bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080": "HERE"}, 0, False, 2)),
    ("createpsbt", ([], [{"data": "HERE"}])),
    ("gettxspendingprevout", ([{"txid": "ab" * 32, "vout": "HERE"}],)),
    ("scantxoutset", ("start", [{"desc": "raw(51)", "range": "HERE"}])),
    ("scantxoutset", ("start", [{"desc": "raw(51)", "range": [0, "HERE"]}])),
    ("deriveaddresses", ("raw(51)#8lvh9jxk", "HERE")),
    ("deriveaddresses", ("raw(51)#8lvh9jxk", ["HERE", 2])),
    ("getblockstats", ("HERE", ["height"])),
    ("getblocktemplate", ({"rules": ["segwit"], "mode": "HERE"},)),
    ("getblocktemplate", ({"rules": ["segwit"], "maxversion": "HERE"},)),
    ("getblocktemplate", ({"rules": ["segwit", "HERE"]},)),
    ("getblocktemplate", ({"rules": ["segwit"], "capabilities": ["HERE"]},)),
    ("getblocktemplate", ({"rules": ["segwit"], "data": "HERE"},)),
    ("estimatesmartfee", ("HERE", "economical")),
    ("signrawtransactionwithkey", ("0200000000000000000000", [], [{
        "txid": "ab" * 32, "vout": "HERE", "scriptPubKey": "51"}])),
    ("signrawtransactionwithkey", ("0200000000000000000000", [], [{
        "txid": "ab" * 32, "vout": 0, "scriptPubKey": "51", "amount": "HERE"}])),
    ("createmultisig", ("HERE", ["02" + "11" * 32])),
    ("scanblocks", ("start", ["raw(51)"], "HERE", 3)),
    ("scanblocks", ("start", ["raw(51)"], 1, 2, "basic", {"filter_false_positives": "HERE"})),
)  # fmt: skip


def cases(values: Values, _cases: int) -> Iterator[Case]:
    """Every method's numeric argument in every spelling, then values inside arrays and objects."""
    known = Cases(values)
    for method, arguments in {**METHODS, **CHANGING}.items():
        if method in SLOW:
            continue
        for at, (_, role) in enumerate(arguments):
            if not any(part.startswith(NUMERIC) for part in role.split("|")):
                continue
            for value in (*NUMBERS, *TEXTS):
                params = [known.value(other) for _, other in arguments[: at + 1]]
                params[at] = value
                if method == "prioritisetransaction":
                    params[0] = "ab" * 32  # deltas of what is in the mempool would reach beyond 2^63 satoshi
                yield Case(method, params)
    for method, inside in INSIDE:
        for value in (*NUMBERS, *TEXTS):
            yield Case(method, [_put(part, value) for part in inside])


def _put(part: Any, value: Any) -> Any:
    if isinstance(part, dict):
        return {key: _put(inner, value) for key, inner in part.items()}
    if isinstance(part, list):
        return [_put(inner, value) for inner in part]
    return value if part == "HERE" else part
