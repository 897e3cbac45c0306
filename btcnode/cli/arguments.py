"""How ``btcnode-cli`` reads its arguments: which are JSON, which are text.

One entry per argument in order. ``json:`` marks those that are parsed as JSON, ``any:`` those that are taken as text
when they are not JSON; others are text. Behind ``+`` stand members that may be given by name themselves. A test holds
this table against the declarations of the methods, which would take too long to import here.
"""

from __future__ import annotations

from typing import Any

from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.jsonvalue import decode_kept

ARGUMENTS = {
    "addconnection": "address connection_type json:v2transport",
    "addnode": "node command json:v2transport",
    "addpeeraddress": "address json:port json:tried",
    "combinepsbt": "json:txs",
    "combinerawtransaction": "json:txs",
    "converttopsbt": "hexstring json:permitsigdata json:iswitness",
    "createmultisig": "json:nrequired json:keys address_type",
    "createpsbt": "json:inputs json:outputs json:locktime json:replaceable json:version",
    "createrawtransaction": "json:inputs json:outputs json:locktime json:replaceable json:version",
    "decoderawtransaction": "hexstring json:iswitness",
    "deriveaddresses": "descriptor json:range",
    "descriptorprocesspsbt": "psbt json:descriptors sighashtype json:bip32derivs json:finalize",
    "disconnectnode": "address json:nodeid",
    "dumptxoutset": "path type json:options+any:rollback+json:in_memory",
    "echojson": " ".join(f"json:arg{n}" for n in range(10)),
    "estimaterawfee": "json:conf_target json:threshold",
    "estimatesmartfee": "json:conf_target estimate_mode",
    "finalizepsbt": "psbt json:extract",
    "generateblock": "output json:transactions json:submit",
    "generatetoaddress": "json:nblocks address json:maxtries",
    "generatetodescriptor": "json:num_blocks descriptor json:maxtries",
    "getblock": "blockhash json:verbosity|verbose",
    "getblockfrompeer": "blockhash json:peer_id",
    "getblockhash": "json:height",
    "getblockheader": "blockhash json:verbose",
    "getblockstats": "any:hash_or_height json:stats",
    "getblocktemplate": "json:template_request",
    "getchaintxstats": "json:nblocks blockhash",
    "getdescriptoractivity": "json:blockhashes json:scanobjects json:include_mempool",
    "getmempoolancestors": "txid json:verbose",
    "getmempooldescendants": "txid json:verbose",
    "getnetworkhashps": "json:nblocks json:height",
    "getnodeaddresses": "json:count network",
    "getorphantxs": "json:verbosity",
    "getrawmempool": "json:verbose json:mempool_sequence",
    "getrawtransaction": "txid json:verbosity|verbose blockhash",
    "gettxout": "txid json:n json:include_mempool",
    "gettxoutproof": "json:txids blockhash",
    "gettxoutsetinfo": "hash_type any:hash_or_height json:use_index",
    "gettxspendingprevout": "json:outputs json:options+json:mempool_only+json:return_spending_tx",
    "importmempool": "filepath json:options+json:use_current_time+json:apply_fee_delta_priority"
    "+json:apply_unbroadcast_set",
    "joinpsbts": "json:txs",
    "logging": "json:include json:exclude",
    "mockscheduler": "json:delta_time",
    "prioritisetransaction": "txid json:dummy json:fee_delta",
    "scanblocks": "action json:scanobjects json:start_height json:stop_height filtertype"
    " json:options+json:filter_false_positives",
    "scantxoutset": "action json:scanobjects",
    "pruneblockchain": "json:height",
    "sendrawtransaction": "hexstring json:maxfeerate json:maxburnamount",
    "sendmsgtopeer": "json:peer_id msg_type msg",
    "setban": "subnet command json:bantime json:absolute",
    "setmocktime": "json:timestamp",
    "setnetworkactive": "json:state",
    "signrawtransactionwithkey": "hexstring json:privkeys json:prevtxs sighashtype",
    "stop": "json:wait",
    "submitpackage": "json:package json:maxfeerate json:maxburnamount",
    "testmempoolaccept": "json:rawtxs json:maxfeerate",
    "utxoupdatepsbt": "psbt json:descriptors",
    "verifychain": "json:checklevel json:nblocks",
    "waitforblock": "blockhash json:timeout",
    "waitforblockheight": "json:height json:timeout",
    "waitfornewblock": "json:timeout current_tip",
}


def argument_forms(method: str) -> list[tuple[list[str], str]]:
    """``(names, form)`` per argument, form being "", "json" or "any"."""
    forms = []
    for word in ARGUMENTS.get(method, "").split():
        form, _, names = word.partition("+")[0].rpartition(":")
        forms.append((names.split("|"), form))
    return forms


def member_forms(method: str) -> dict[str, str]:
    """The form of every member that may be given by name."""
    words = [member for word in ARGUMENTS.get(method, "").split() for member in word.split("+")[1:]]
    parts = [word.rpartition(":") for word in words]
    return {name: form for form, _, name in parts}


def _convert(form: str, text: str) -> Any:
    """A word of the command line as a parameter; raises ValueError."""
    if not form:
        return text
    try:
        return decode_kept(text)
    except ValueError:
        if form == "any":
            return text
        raise ValueError(f"Error parsing JSON: {text}") from None


def positional_params(method: str, words: list[str]) -> list[Any]:
    """Parameters in order; raises ValueError."""
    forms = [form for _, form in argument_forms(method)]
    return [_convert(forms[n] if n < len(forms) else "", word) for n, word in enumerate(words)]


def named_params(method: str, words: list[str]) -> dict[str, Any]:
    """``name=value`` parameters, with those without a name gathered under "args"; raises ValueError.

    Names given twice count as given last, except "args" (RpcError, which a server would answer).
    A word with "=" whose first part names no argument is positional where that argument is JSON and the word is too.
    """
    order = argument_forms(method)
    forms = {name: form for names, form in order for name in names} | member_forms(method)
    params: dict[str, Any] = {}
    positional: list[Any] = []
    for word in words:
        name, equals, value = word.partition("=")
        here = order[len(positional)][1] if len(positional) < len(order) else ""
        if not equals:
            positional.append(_convert(here, word))
        elif name not in forms and here == "json" and _is_json(word):
            positional.append(decode_kept(word))
        else:
            params[name] = _convert(forms.get(name, ""), value)
    if positional and "args" in params:
        raise RpcError(RpcCode.INVALID_PARAMETER, "Parameter args specified multiple times")
    if positional:
        params["args"] = positional
    return params


def _is_json(text: str) -> bool:
    try:
        decode_kept(text)
    except ValueError:
        return False
    return True
