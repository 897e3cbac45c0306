"""The largest legal requests to a node's RPC server: 32 MB of arguments for each method that takes long ones."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from typing import Any

from btcnode.networks.parameters import params_for
from btcnode.primitives.addresses import secret_encode
from btcnode.primitives.coin import make_txout
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.tx import Tx

BODY = 31_000_000  # bytes, a little less than a request may have
PARAMS = params_for("regtest")
XPUB = "tpubD6NzVbkrYhZ4WaWSyoBvQwbpLkojyoTZPRsgXELWz3Popb3qkjcJyJUGLnL4qHHoQvao8ESaAstxYSnhyswJ76uZPStJRJCTKvosUCJZL5B"
RANGED = f"wpkh({XPUB}/*)"
COIN = b"\x11" * 32
Request = tuple[str, list[Any]]


def tx_of(inputs: int, *, outputs: int = 1, witness: bool = False) -> Tx:
    """A transaction of coins that nobody has."""
    prevouts = [COIN + n.to_bytes(4, "little") for n in range(inputs)]
    stacks = [[b"\x01"]] * inputs if witness else []
    return Tx(2, prevouts, [b""] * inputs, [0] * inputs, [make_txout(1000, b"\x51")] * outputs, stacks)


def _tx(share: float = 1.0) -> str:
    """A transaction in hex that fills this share of a request with inputs."""
    return tx_of(int(share * BODY / 2 / 41)).raw.hex()


def _outputs() -> str:
    """A transaction in hex that fills a request with outputs as short as they come."""
    return Tx(2, [COIN + bytes(4)], [b""], [0], [bytes(9)] * (BODY // 2 // 9 - 10)).raw.hex()


def _psbt(share: float = 1.0) -> str:
    """A PSBT in base64 that fills this share of a request with inputs of one unknown field each."""
    inputs = int(share * BODY * 3 / 4 / 47)
    tx = tx_of(inputs).raw
    fields = b"\x02\x50x\x01\x00\x00" * inputs
    return base64.b64encode(b"psbt\xff\x01\x00" + compact_size(len(tx)) + tx + b"\0" + fields + b"\0").decode()


def _proof() -> str:
    count = BODY // 2 // 32 - 40
    flags = b"\xff" * (count // 4)
    hashes = os.urandom(32 * (count - count // 100))
    head = bytes(80) + count.to_bytes(4, "little") + compact_size(len(hashes) // 32)
    return (head + hashes + compact_size(len(flags)) + flags).hex()


def _txids(count: int) -> list[str]:
    return [n.to_bytes(32, "big").hex() for n in range(1, count)]


def _prevouts(count: int) -> list[dict[str, Any]]:
    return [{"txid": "11" * 32, "vout": n, "scriptPubKey": "0014" + "22" * 20, "amount": 1} for n in range(count)]


def _secrets(count: int) -> list[str]:
    return [secret_encode(n.to_bytes(32, "big"), True, PARAMS) for n in range(1, count)]


def _block(tip: str, share: float) -> str:
    """A block in hex on ``tip`` of tiny transactions, without work."""
    tiny = tx_of(1).raw
    count = int(share * BODY / 2 / len(tiny))
    head = b"\0\0\0\x20" + bytes.fromhex(tip)[::-1] + bytes(32) + bytes(12)
    return (head + compact_size(count) + tiny * count).hex()


ADDRESS = "bcrt1qs758ursh4q9z627kt3pp5yysm78ddny6txaqgw"
REQUESTS: dict[str, Callable[[str], Request]] = {
    "sendrawtransaction": lambda _: ("sendrawtransaction", [_tx()]),
    "sendrawtransaction, outputs": lambda _: ("sendrawtransaction", [_outputs()]),
    "testmempoolaccept, one": lambda _: ("testmempoolaccept", [[_tx()]]),
    "testmempoolaccept, 25": lambda _: ("testmempoolaccept", [[_tx(1 / 25)] * 25]),
    "submitpackage": lambda _: ("submitpackage", [[_tx(1 / 25)] * 25]),
    "signrawtransactionwithkey, transaction": lambda _: ("signrawtransactionwithkey", [_tx(), []]),
    "signrawtransactionwithkey, keys": lambda _: ("signrawtransactionwithkey", [tx_of(1).raw.hex(), _secrets(500_000)]),
    "signrawtransactionwithkey, outputs": lambda _: (
        "signrawtransactionwithkey", [tx_of(1).raw.hex(), [], _prevouts(180_000)]
    ),
    "signrawtransactionwithkey, all": lambda _: (
        "signrawtransactionwithkey", [_tx(0.25), _secrets(2), _prevouts(90_000)]
    ),
    "combinerawtransaction": lambda _: ("combinerawtransaction", [[_tx(0.5), _tx(0.5)]]),
    "createrawtransaction": lambda _: (
        "createrawtransaction", [[{"txid": "11" * 32, "vout": n} for n in range(300_000)], {"data": "00"}]
    ),
    "decoderawtransaction": lambda _: ("decoderawtransaction", [_tx()]),
    "decodepsbt": lambda _: ("decodepsbt", [_psbt()]),
    "analyzepsbt": lambda _: ("analyzepsbt", [_psbt()]),
    "combinepsbt": lambda _: ("combinepsbt", [[_psbt(0.5)] * 2]),
    "utxoupdatepsbt": lambda _: ("utxoupdatepsbt", [_psbt()]),
    "utxoupdatepsbt, descriptors": lambda _: ("utxoupdatepsbt", [_psbt(0.001), [RANGED] * 200]),
    "descriptorprocesspsbt": lambda _: ("descriptorprocesspsbt", [_psbt(), [RANGED]]),
    "submitblock": lambda tip: ("submitblock", [_block(tip, 1.0)]),
    "submitblock, 8 MB": lambda tip: ("submitblock", [_block(tip, 0.25)]),
    "generateblock": lambda _: ("generateblock", [ADDRESS, [_tx(0.1)] * 10]),
    "generateblock, tiny": lambda _: ("generateblock", [ADDRESS, [tx_of(1).raw.hex()] * 180_000]),
    "getblocktemplate, proposal": lambda tip: ("getblocktemplate", [{"mode": "proposal", "data": _block(tip, 1.0)}]),
    "scantxoutset, descriptors": lambda _: ("scantxoutset", ["start", [f"addr({ADDRESS})"] * 400_000]),
    "scantxoutset, range": lambda _: ("scantxoutset", ["start", [{"desc": RANGED, "range": 999_999}]]),
    "scanblocks, descriptors": lambda _: ("scanblocks", ["start", [f"addr({ADDRESS})"] * 400_000]),
    "getdescriptoractivity": lambda tip: ("getdescriptoractivity", [[tip] * 400_000, []]),
    "deriveaddresses": lambda _: ("deriveaddresses", [RANGED, 999_999]),
    "getdescriptorinfo": lambda _: ("getdescriptorinfo", ["pk(" * (BODY // 3)]),
    "verifytxoutproof": lambda _: ("verifytxoutproof", [_proof()]),
    "gettxoutproof": lambda tip: ("gettxoutproof", [_txids(450_000), tip]),
    "gettxspendingprevout": lambda _: (
        "gettxspendingprevout", [[{"txid": "11" * 32, "vout": n} for n in range(330_000)]]
    ),
    "decodescript": lambda _: ("decodescript", ["51" * (BODY // 2)]),
    "createmultisig": lambda _: ("createmultisig", [1, ["02" + "11" * 32] * 400_000]),
    "verifymessage": lambda _: ("verifymessage", ["x", "y", "z" * BODY]),
    "signmessagewithprivkey": lambda _: ("signmessagewithprivkey", [_secrets(2)[0], "z" * BODY]),
    "echojson, text": lambda _: ("echojson", ["x" * BODY]),
    "echojson, array": lambda _: ("echojson", [[1] * (BODY // 2)]),
    "echojson, arrays": lambda _: ("echojson", [[[]] * 190_000]),
    "echojson, objects": lambda _: ("echojson", [[{"a": 1}] * 900_000]),
    "getblock, of a long name": lambda _: ("getblock", ["0" * BODY]),
    "help": lambda _: ("help", ["x" * BODY]),
    "addnode": lambda _: ("addnode", ["x" * BODY, "add"]),
    "setban": lambda _: ("setban", ["1." * (BODY // 2), "add"]),
    "importmempool": lambda _: ("importmempool", ["x" * BODY]),
    "getblockstats": lambda _: ("getblockstats", [1, ["avgfee"] * 3_000_000]),
    "logging": lambda _: ("logging", [["net"] * 4_000_000]),
    "getmempoolancestors": lambda _: ("getmempoolancestors", ["1" * BODY]),
    "sendmsgtopeer": lambda _: ("sendmsgtopeer", [0, "ping", "00" * (BODY // 2)]),
    "estimaterawfee": lambda _: ("estimatesmartfee", [6, "x" * BODY]),
}  # fmt: skip
