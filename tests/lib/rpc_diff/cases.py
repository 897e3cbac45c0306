"""Calls to compare: for each method right values, each argument in turn replaced by junk, and random mixtures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .text import Raw, request
from .values import JUNK, Values

# Arguments in order: name and role. A role "=x" is that JSON text; several roles are separated by "|".
METHODS: dict[str, tuple[tuple[str, str], ...]] = {
    "getblockchaininfo": (),
    "getchaintxstats": (("nblocks", "number:-1,140|height"), ("blockhash", "blockhash")),
    "getblockstats": (("hash_or_height", "hash_or_height"), ("stats", "stats")),
    "getbestblockhash": (),
    "getblockcount": (),
    "getblock": (("blockhash", "blockhash"), ("verbosity|verbose", "number:-1,4|boolean")),
    "getblockfrompeer": (("blockhash", "blockhash"), ("peer_id", "number:-1,3")),
    "getblockhash": (("height", "height"),),
    "getblockheader": (("blockhash", "blockhash"), ("verbose", "boolean")),
    "getchaintips": (),
    "getdifficulty": (),
    "getdeploymentinfo": (("blockhash", "blockhash"),),
    "gettxout": (("txid", "txid"), ("n", "number:-1,3"), ("include_mempool", "boolean")),
    "gettxoutsetinfo": (
        ("hash_type", "word:hash_serialized_3,muhash,none,x"),
        ("hash_or_height", "hash_or_height"),
        ("use_index", "boolean"),
    ),
    "verifychain": (("checklevel", "number:-1,5"), ("nblocks", "number:-1,10")),
    "scantxoutset": (("action", "word:start,start,start,status,abort,x"), ("scanobjects", "list:scan_object")),
    "scanblocks": (
        ("action", "word:start,start,start,status,abort,x"),
        ("scanobjects", "list:scan_object"),
        ("start_height", "height"),
        ("stop_height", "height"),
        ("filtertype", "word:basic,x"),
        ("options", "options:scanblocks"),
    ),
    "getdescriptoractivity": (
        ("blockhashes", "list:blockhash|list:active_hash"),
        ("scanobjects", "list:scan_object"),
        ("include_mempool", "boolean"),
    ),
    "getblockfilter": (("blockhash", "blockhash"), ("filtertype", "word:basic,x")),
    "getchainstates": (),
    "syncwithvalidationinterfacequeue": (),
    "enumeratesigners": (),
    "estimatesmartfee": (
        ("conf_target", "number:0,1009"),
        ("estimate_mode", "word:unset,economical,conservative,CONSERVATIVE,x"),
    ),
    "estimaterawfee": (("conf_target", "number:0,1009"), ("threshold", "=0.5|=0|=1|=1.1|=-0.1|=0.95")),
    "getprivatebroadcastinfo": (),
    "abortprivatebroadcast": (("id", "txid"),),
    "testmempoolaccept": (("rawtxs", "package|list:tx_hex"), ("maxfeerate", "feerate")),
    "getmempoolancestors": (("txid", "pool_txid|txid"), ("verbose", "boolean")),
    "getmempooldescendants": (("txid", "pool_txid|txid"), ("verbose", "boolean")),
    "getmempoolentry": (("txid", "pool_txid|txid"),),
    "getmempoolcluster": (("txid", "pool_txid|txid"),),
    "gettxspendingprevout": (("outputs", "spend_points"), ("options", "options:spending")),
    "getmempoolinfo": (),
    "getmempoolfeeratediagram": (),
    "getrawmempool": (("verbose", "boolean"), ("mempool_sequence", "boolean")),
    "getorphantxs": (("verbosity", "number:-1,3|boolean"),),
    "getnetworkhashps": (("nblocks", "number:-2,140"), ("height", "height")),
    "getmininginfo": (),
    "getprioritisedtransactions": (),
    "getblocktemplate": (("template_request", "template_request"),),
    "getconnectioncount": (),
    "getpeerinfo": (),
    "getaddednodeinfo": (("node", "net_address"),),
    "getnettotals": (),
    "getnetworkinfo": (),
    "getzmqnotifications": (),
    "listbanned": (),
    "getnodeaddresses": (("count", "number:-1,3"), ("network", "word:ipv4,ipv6,onion,i2p,cjdns,x")),
    "getaddrmaninfo": (),
    "getrawaddrman": (),
    "exportasmap": (("path", "path"),),
    "getmemoryinfo": (("mode", "word:stats,mallocinfo,x"),),
    "logging": (("include", "categories"), ("exclude", "categories")),
    "getindexinfo": (("index_name", "word:txindex,coinstatsindex,basic block filter index,txospenderindex,x"),),
    "echo": tuple((f"arg{n}", "junk") for n in range(10)),
    "echojson": tuple((f"arg{n}", "junk") for n in range(10)),
    "echoipc": (("arg", "message"),),
    "validateaddress": (("address", "address"),),
    "createmultisig": (
        ("nrequired", "number:0,4"),
        ("keys", "key_list"),
        ("address_type", "word:legacy,bech32,p2sh-segwit,bech32m,x"),
    ),
    "deriveaddresses": (("descriptor", "descriptor"), ("range", "range")),
    "getdescriptorinfo": (("descriptor", "descriptor"),),
    "getrawtransaction": (("txid", "txid"), ("verbosity|verbose", "number:-1,3|boolean"), ("blockhash", "blockhash")),
    "createrawtransaction": (
        ("inputs", "list:tx_input"),
        ("outputs", "outputs"),
        ("locktime", "locktime"),
        ("replaceable", "boolean"),
        ("version", "number:0,4"),
    ),
    "decoderawtransaction": (("hexstring", "tx_hex"), ("iswitness", "boolean")),
    "decodescript": (("hexstring", "script_hex"),),
    "combinerawtransaction": (("txs", "list:signable_hex|list:tx_hex|package"),),
    "signrawtransactionwithkey": (
        ("hexstring", "signable_hex"),
        ("privkeys", "list:good_key|list:private_key"),
        ("prevtxs", "list:prevtx"),
        ("sighashtype", "sighash"),
    ),
    "decodepsbt": (("psbt", "psbt"),),
    "combinepsbt": (("txs", "psbt_list"),),
    "finalizepsbt": (("psbt", "psbt"), ("extract", "boolean")),
    "createpsbt": (
        ("inputs", "list:tx_input"),
        ("outputs", "outputs"),
        ("locktime", "locktime"),
        ("replaceable", "boolean"),
        ("version", "number:0,4"),
    ),
    "converttopsbt": (("hexstring", "tx_hex|signable_hex"), ("permitsigdata", "boolean"), ("iswitness", "boolean")),
    "utxoupdatepsbt": (("psbt", "psbt"), ("descriptors", "list:scan_object")),
    "descriptorprocesspsbt": (
        ("psbt", "psbt"),
        ("descriptors", "list:scan_object"),
        ("sighashtype", "sighash"),
        ("bip32derivs", "boolean"),
        ("finalize", "boolean"),
    ),
    "joinpsbts": (("txs", "psbt_list"),),
    "analyzepsbt": (("psbt", "psbt"),),
    "getrpcinfo": (),
    "help": (("command", "word:getblock,x,,help,dump_all_command_conversions,wallet"),),
    "uptime": (),
    "verifymessage": (("address", "address"), ("signature", "signature_text"), ("message", "message")),
    "signmessagewithprivkey": (("privkey", "private_key"), ("message", "message")),
    "gettxoutproof": (("txids", "txid_list"), ("blockhash", "blockhash")),
    "verifytxoutproof": (("proof", "proof"),),
    "waitfornewblock": (("timeout", "=1|=-1|=5"), ("current_tip", "other_tip")),
    "waitforblock": (("blockhash", "blockhash"), ("timeout", "=1|=-1|=5")),
    "waitforblockheight": (("height", "height"), ("timeout", "=1|=-1|=5")),
}

# These change the node: both get them, and their states are compared afterwards.
CHANGING: dict[str, tuple[tuple[str, str], ...]] = {
    "sendrawtransaction": (("hexstring", "tx_hex"), ("maxfeerate", "feerate"), ("maxburnamount", "amount")),
    "submitpackage": (("package", "package|list:tx_hex"), ("maxfeerate", "feerate"), ("maxburnamount", "amount")),
    "prioritisetransaction": (
        ("txid", "pool_txid|txid"),
        ("dummy", "=0|=0.0|=null|=1"),
        ("fee_delta", "number:-10000,10000"),
    ),
    "submitblock": (("hexdata", "block_hex"), ("dummy", "word:ignored")),
    "submitheader": (("hexdata", "header_hex"),),
    "generatetoaddress": (
        ("nblocks", "number:0,2"),
        ("address", "good_address|address"),
        ("maxtries", "number:0,3|=1000000"),
    ),
    "generatetodescriptor": (
        ("num_blocks", "number:0,2"),
        ("descriptor", "good_descriptor|descriptor"),
        ("maxtries", "=1000000|number:0,3"),
    ),
    "generateblock": (("output", "output_script"), ("transactions", "generate_list"), ("submit", "boolean")),
    "generate": (),
    "invalidateblock": (("blockhash", "blockhash"),),
    "reconsiderblock": (("blockhash", "blockhash"),),
    "preciousblock": (("blockhash", "blockhash"),),
    "pruneblockchain": (("height", "height"),),
    "dumptxoutset": (("path", "path"), ("type", "word:latest,rollback,,x"), ("options", "options:dump")),
    "loadtxoutset": (("path", "path"),),
    "savemempool": (),
    "importmempool": (("filepath", "path"), ("options", "options:import")),
    "setban": (
        ("subnet", "subnet"),
        ("command", "word:add,remove,x"),
        ("bantime", "number:-1,10"),
        ("absolute", "boolean"),
    ),
    "clearbanned": (),
    "addnode": (("node", "net_address"), ("command", "word:add,remove,x"), ("v2transport", "boolean")),
    "disconnectnode": (("address", "net_address"), ("nodeid", "number:-1,3")),
    "setnetworkactive": (("state", "boolean"),),
    "addconnection": (
        ("address", "net_address"),
        ("connection_type", "word:outbound-full-relay,block-relay-only,addr-fetch,feeler,x"),
        ("v2transport", "boolean"),
    ),
    "addpeeraddress": (("address", "net_address"), ("port", "number:0,65535"), ("tried", "boolean")),
    "sendmsgtopeer": (
        ("peer_id", "number:-1,2"),
        ("msg_type", "word:ping,,averyverylongname,x"),
        ("msg", "script_hex"),
    ),
    "ping": (),
    "setmocktime": (("timestamp", "number:-1,5|=1700008000"),),
    "mockscheduler": (("delta_time", "number:-1,3601"),),
    "stop": (("wait", "message"),),
}

OPTIONS: dict[str, tuple[tuple[str, str], ...]] = {
    "scanblocks": (("filter_false_positives", "boolean"),),
    "spending": (("mempool_only", "boolean"), ("return_spending_tx", "boolean")),
    "dump": (("rollback", "hash_or_height"), ("in_memory", "boolean")),
    "import": (
        ("use_current_time", "boolean"),
        ("apply_fee_delta_priority", "boolean"),
        ("apply_unbroadcast_set", "boolean"),
    ),
}

REQUIRED: dict[str, int] = {
    "generateblock": 2,
    "generatetoaddress": 2,
    "getdescriptoractivity": 2,
    "createmultisig": 2,
    "gettxout": 2,
    "scanblocks": 1,
    "setban": 2,
    "addnode": 2,
    "addconnection": 3,
    "addpeeraddress": 2,
    "sendmsgtopeer": 3,
    "signrawtransactionwithkey": 2,
    "createrawtransaction": 2,
    "createpsbt": 2,
    "descriptorprocesspsbt": 2,
    "dumptxoutset": 1,
    "verifymessage": 3,
    "signmessagewithprivkey": 2,
    "prioritisetransaction": 3,
    "getblockfrompeer": 2,
    "generatetodescriptor": 2,
}


@dataclass(frozen=True, slots=True)
class Case:
    """A call; ``changes`` says that it may change the node, ``version`` which JSON-RPC the request says it is."""

    method: str
    params: Any
    changes: bool = False
    version: str = ""

    @property
    def body(self) -> str:
        """The request."""
        return request(self.method, self.params, self.version)


class Cases:
    """Calls of one method after the other, from a seed."""

    def __init__(self, values: Values) -> None:
        self.values = values
        self.rng = values.rng

    # -- values --------------------------------------------------------------------------------------------------

    def value(self, roles: str) -> Any:
        """A value of one of the roles."""
        role = self.rng.choice(roles.split("|"))
        head, _, rest = role.partition(":")
        if role.startswith("="):
            return Raw(role[1:])
        if head == "list":
            return [self.value(rest) for _ in range(self.rng.choice((0, 1, 1, 1, 2, 2, 3)))]
        if head == "options":
            return self._options(rest)
        if role == "signature_text":
            return self.values.message_signature()[1]
        if role == "other_tip":
            return self.rng.choice((self.values.some_hash(), self.values.world.hashes[3]))
        return self.values.role(role)

    def _options(self, name: str) -> Any:
        found = {key: self.value(role) for key, role in OPTIONS[name] if self.rng.random() < 0.6}
        if self.rng.random() < 0.15:
            found[self.rng.choice(("unknown", "", "a\0"))] = self.values.junk()
        if found and self.rng.random() < 0.2:
            found[self.rng.choice(list(found))] = self.values.junk()
        return found

    # -- calls ---------------------------------------------------------------------------------------------------

    def systematic(self, method: str) -> Iterator[Any]:
        """Parameters: none, too many, and each argument in turn replaced by each piece of junk."""
        arguments = self._arguments(method)
        baseline = [self.value(role) for _, role in arguments]
        required = REQUIRED.get(method, min(1, len(arguments)))
        for count in range(len(arguments) + 1):
            yield baseline[:count]
            yield baseline[:count] + [None] * (len(arguments) - count)
        yield [*baseline, None]
        yield {"unknown": 1}
        yield {"args": baseline[:1], "unknown": 1}
        for n, (names, role) in enumerate(arguments):
            least = max(required, n + 1)
            for piece in JUNK:
                changed = [self.value(role) for _, role in arguments][:least]
                changed[n] = piece
                yield changed
            for piece in JUNK if role.startswith("list") else ():
                changed = [self.value(role) for _, role in arguments][:least]
                changed[n] = [piece]
                yield changed
            for name in names.split("|"):
                yield {
                    other.split("|")[0]: value for (other, _), value in zip(arguments[:n], baseline, strict=False)
                } | {name: baseline[n]}
        yield from self._objects(method)

    def _objects(self, method: str) -> Iterator[Any]:
        """Objects among the arguments: each key missing, each with junk, and one that nobody knows."""
        arguments = self._arguments(method)
        for n in range(len(arguments)):
            for _ in range(4):
                params = [self.value(role) for _, role in arguments]
                whole = params[n]
                parts = whole if isinstance(whole, list) else [whole]
                for at, part in enumerate(parts):
                    if not isinstance(part, dict):
                        continue
                    for changed in self._object_changes(part):
                        item = changed if part is whole else [*parts[:at], changed, *parts[at + 1 :]]
                        yield [*params[:n], item, *params[n + 1 :]]
                    break

    def _object_changes(self, part: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield {**part, "unknown": 1}
        yield {key.upper(): value for key, value in part.items()}
        for key in part:
            yield {other: value for other, value in part.items() if other != key}
            for piece in self.rng.sample(JUNK, 12):
                if key != "longpollid" or piece is None or type(piece) is str:  # else it waits for a change
                    yield {**part, key: piece}

    def random(self, method: str) -> Any:
        """Random parameters: mostly of the right roles, sometimes junk, by position, by name or both."""
        rng = self.rng
        arguments = self._arguments(method)
        values = [self.value(role) for _, role in arguments]
        if values and rng.random() < 0.25:
            values[rng.randrange(len(values))] = self.values.junk()
        if method == "verifymessage" and rng.random() < 0.7:
            values = self.values.message_signature()
        least = REQUIRED.get(method, min(1, len(arguments)))
        count = (
            rng.randint(min(least, len(values)), len(values))
            if rng.random() < 0.95
            else rng.randint(0, len(values) + 1)
        )
        values = ([*values, None])[:count]
        roll = rng.random()
        if roll < 0.75 or not arguments:
            return values
        named = {rng.choice(names.split("|")): value for (names, _), value in zip(arguments, values, strict=False)}
        if roll < 0.9:
            names = list(named)
            rng.shuffle(names)
            return {name: named[name] for name in names if rng.random() < 0.95}
        first = rng.randint(0, len(values))
        return {"args": values[:first]} | dict(list(named.items())[max(0, first - (rng.random() < 0.1)) :])

    def of(self, method: str, count: int, *, systematic: bool = True) -> Iterator[Case]:
        """The systematic calls of a method, then ``count`` random ones."""
        changes = method in CHANGING
        if systematic:
            for params in self.systematic(method):
                if not _waits_long(method, params):
                    yield Case(method, params, changes)
        for _ in range(count if self._arguments(method) else min(count, 2)):
            params = self.random(method)
            if not _waits_long(method, params):
                yield Case(method, params, changes)

    @staticmethod
    def _arguments(method: str) -> tuple[tuple[str, str], ...]:
        return METHODS[method] if method in METHODS else CHANGING[method]


def _waits_long(method: str, params: Any) -> bool:
    """Whether a call would wait for a block that nobody mines, mine for hours, or end the node."""
    if method in ("generatetoaddress", "generatetodescriptor"):
        blocks = params[0] if isinstance(params, list) and params else 0
        return type(blocks) is int and 3 < blocks < 1 << 31
    if method == "stop":
        waits = params[0] if isinstance(params, list) and params else None
        return len(params) < 2 and isinstance(waits, int | float | Raw | None)
    place = {"waitfornewblock": 0, "waitforblock": 1, "waitforblockheight": 1}.get(method)
    if place is None:
        return False
    if isinstance(params, dict):
        return True
    timeout = params[place] if len(params) > place else None
    if isinstance(timeout, Raw):
        return timeout not in ("1", "5", "-1")
    return timeout is None or (type(timeout) is int and not 0 < timeout <= 100 and -1 < timeout < 1 << 31)


def every_method() -> list[str]:
    """All methods, those that change nothing first."""
    return [*METHODS, *CHANGING]
