"""What the options of methods that make a wallet's transactions mean.

They come as the client wrote them, and are looked at in the order in which Core does, since which of several faults is
told depends on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from btcnode.descriptors.descriptor import OutputType
from btcnode.descriptors.errors import DescriptorError
from btcnode.descriptors.parser import parse_descriptor
from btcnode.descriptors.provider import SigningProvider
from btcnode.errors import DecodeError
from btcnode.mempool.options import MAX_STANDARD_TX_WEIGHT
from btcnode.mempool.truc import MAX_VSIZE, TRUC_VERSION
from btcnode.primitives.addresses import script_for_address
from btcnode.primitives.coin import txout_script, txout_value
from btcnode.primitives.hashes import hash160
from btcnode.rpc.amounts import parse_amount
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.jsonvalue import type_name
from btcnode.rpc.lookup import parse_hash, parse_hex_or_none
from btcnode.rpc.shapes import ValueFault, whole_number
from btcnode.rpc.transactions import expect
from btcnode.script.signatures import is_valid_pubkey
from btcnode.services.parts import NodeParts
from btcnode.wallet.flags import WalletFlag
from btcnode.wallet.spending.control import CoinControl, FeeMode, Recipient
from btcnode.wallet.wallet import Wallet

MIN_INPUT_WEIGHT = 165  # of an input without signatures
TRUC_MAX_WEIGHT = MAX_VSIZE * 4

Raw = Mapping[str, Any]
"""Options as the client wrote them."""

_OPTION_TYPES = {
    "add_inputs": "bool", "include_unsafe": "bool", "add_to_wallet": "bool", "changeAddress": "string",
    "change_address": "string", "changePosition": "number", "change_position": "number", "change_type": "string",
    "includeWatching": "bool", "include_watching": "bool", "inputs": "array", "lockUnspents": "bool",
    "lock_unspents": "bool", "locktime": "number", "fee_rate": None, "feeRate": None, "psbt": "bool",
    "solving_data": "object", "subtractFeeFromOutputs": "array", "subtract_fee_from_outputs": "array",
    "replaceable": "bool", "conf_target": "number", "estimate_mode": "string", "minconf": "number",
    "maxconf": "number", "input_weights": "array", "max_tx_weight": "number",
}  # fmt: skip
_OUTDATED = {
    "feeRate": "Use fee_rate (sat/vB) instead of feeRate",
    "changeAddress": "Use change_address instead of changeAddress",
    "changePosition": "Use change_position instead of changePosition",
    "lockUnspents": "Use lock_unspents instead of lockUnspents",
    "subtractFeeFromOutputs": "Use subtract_fee_from_outputs instead of subtractFeeFromOutputs",
}


def invalid(text: str) -> RpcError:
    """The error for a parameter that will not do."""
    return RpcError(RpcCode.INVALID_PARAMETER, text)


def check_types(raw: Raw, types: Mapping[str, str | None]) -> None:
    """Refuse options of a wrong type, and then those that are not known; raises RpcError as RPCTypeCheckObj."""
    for name in sorted(types):
        value, kind = raw.get(name), types[name]
        if value is not None and kind is not None and type_name(value) != kind:
            why = f"JSON value of type {type_name(value)} for field {name} is not of expected type {kind}"
            raise RpcError(RpcCode.TYPE_ERROR, why)
    for name in raw:
        if name not in types:
            raise RpcError(RpcCode.TYPE_ERROR, f"Unexpected key {name}")


def check_outdated(raw: Raw) -> None:
    """Refuse the older names of options; raises RpcError."""
    for name, text in _OUTDATED.items():
        if name in raw:
            raise invalid(text)


def flag(raw: Raw, name: str, default: bool) -> bool:
    """An option that is on or off; raises RpcError."""
    return bool(expect(raw[name], "bool")) if name in raw else default


# ---- fees


def with_fee_options(raw: Raw, target: Any, mode: Any, rate: Any) -> dict[str, Any]:
    """Options with the fee arguments of a method among them; raises RpcError where both say something."""
    options = dict(raw)
    if "conf_target" in options or "estimate_mode" in options:
        if target is not None or mode is not None:
            raise invalid(
                "Pass conf_target and estimate_mode either as arguments or in the options object, but not both"
            )
    else:
        options["conf_target"], options["estimate_mode"] = target, mode
    if "fee_rate" in options:
        if rate is not None:
            raise invalid("Pass the fee_rate either as an argument, or in the options object, but not both")
    else:
        options["fee_rate"] = rate
    mode = options.get("estimate_mode")
    if options.get("conf_target") is not None and (mode is None or expect(mode, "string") == "unset"):
        raise invalid("Specify estimate_mode")
    return options


def set_fee(
    node: NodeParts, control: CoinControl, target: Any, mode: Any, rate: Any, *, override: bool = False
) -> None:
    """Take over the user's wishes about the fee; ``override``: his feerate counts even below the limits.

    Raises RpcError.
    """
    if rate is not None:
        if target is not None:
            raise invalid(
                "Cannot specify both conf_target and fee_rate. Please provide either a confirmation target in blocks"
                " for automatic fee estimation, or an explicit fee rate."
            )
        if mode is not None and expect(mode, "string") != "unset":
            raise invalid("Cannot specify both estimate_mode and fee_rate")
        control.rate = parse_amount(rate, 3)
        control.override_rate = control.override_rate or override
        if control.replaceable is None:
            control.replaceable = True
        return
    if mode is not None:
        try:
            control.fee_mode = FeeMode(expect(mode, "string").lower())
        except ValueError:
            names = '", "'.join(FeeMode)
            raise invalid(f'Invalid estimate_mode parameter, must be one of: "{names}"') from None
    if target is not None:
        highest = 0 if node.fees is None else node.fees.estimator.highest_target()
        wanted = whole_number(target)
        if not 1 <= wanted <= highest:
            raise invalid(f"Invalid conf_target, must be between 1 and {highest}")
        control.target = wanted


def avoid_reuse(wallet: Wallet, wanted: bool | None) -> bool:
    """Whether coins on used addresses are left alone; raises RpcError where the wallet does not know them."""
    possible = wallet.has(WalletFlag.AVOID_REUSE)
    if wanted and not possible:
        raise RpcError(RpcCode.WALLET_ERROR, 'wallet does not have the "avoid reuse" feature enabled')
    return possible if wanted is None else wanted


# ---- recipients


def fee_payers(given: Any, names: Sequence[str]) -> set[int]:
    """The places of those that pay the fee, given by number or name; raises RpcError.

    Core takes the values of an object, too; what it is to be is checked later.
    """
    found: set[int] = set()
    if given is not None and not isinstance(given, (list, dict)):
        raise ValueFault(RpcCode.MISC_ERROR, "JSON value is not an object or array as expected")
    for item in given.values() if isinstance(given, dict) else given or ():
        what = "Invalid parameter 'subtract fee from output', "
        if type_name(item) == "string":
            if item not in names:
                raise invalid(f"{what}destination {item} not found in tx outputs")
            place = names.index(item)
        elif type_name(item) == "number":
            place = whole_number(item)
        else:
            raise invalid(f"{what}invalid value type: {type_name(item)}")
        if place in found:
            raise invalid(f"{what}duplicated position: {place}")
        if place < 0:
            raise invalid(f"{what}negative position: {place}")
        if place >= len(names):
            raise invalid(f"{what}position too large: {place}")
        found.add(place)
    return found


def recipients_of(txouts: Iterable[bytes], payers: Iterable[int]) -> list[Recipient]:
    """Whom outputs pay."""
    pays = set(payers)
    return [Recipient(txout_script(txout), txout_value(txout), place in pays) for place, txout in enumerate(txouts)]


# ---- options of methods that fund


def take_fund_options(
    node: NodeParts, raw: Raw, control: CoinControl, payments: int, *, override: bool
) -> tuple[int | None, bool]:
    """Take over what all methods that add inputs have as options; raises RpcError.

    Returns where the change goes (None: anywhere) and whether coins are locked.
    """
    check_types(raw, _OPTION_TYPES)
    if "add_inputs" in raw:
        control.others_allowed = flag(raw, "add_inputs", True)
    place = _take_change(node, raw, control, payments)
    lock_name = "lock_unspents" if "lock_unspents" in raw else "lockUnspents"
    lock = flag(raw, lock_name, False)
    if "include_unsafe" in raw:
        control.include_unsafe = flag(raw, "include_unsafe", False)
    if "feeRate" in raw:
        _take_old_rate(raw, control)
    if "replaceable" in raw:
        control.replaceable = flag(raw, "replaceable", True)
    take_depths(raw, control, "Negative minconf")
    set_fee(node, control, raw.get("conf_target"), raw.get("estimate_mode"), raw.get("fee_rate"), override=override)
    return place, lock


def _take_change(node: NodeParts, raw: Raw, control: CoinControl, payments: int) -> int | None:
    address = raw.get("change_address", raw.get("changeAddress"))
    named = "change_address" in raw or "changeAddress" in raw
    if named:
        try:
            control.change_script = script_for_address(expect(address, "string"), node.params)
        except DecodeError:
            raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, "Change address must be a valid bitcoin address") from None
    place = None
    if "change_position" in raw or "changePosition" in raw:
        place = whole_number(raw.get("change_position", raw.get("changePosition")))
        if not 0 <= place <= payments:
            raise invalid("changePosition out of bounds")
    if "change_type" in raw:
        if named:
            raise invalid("Cannot specify both change address and address type options")
        kind = expect(raw["change_type"], "string")
        if kind not in tuple(OutputType):
            raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, f"Unknown change type '{kind}'")
        control.change_type = OutputType(kind)
    return place


def _take_old_rate(raw: Raw, control: CoinControl) -> None:
    if "fee_rate" in raw:
        raise invalid("Cannot specify both fee_rate (sat/vB) and feeRate (BTC/kvB)")
    if "conf_target" in raw:
        raise invalid(
            "Cannot specify both conf_target and feeRate. Please provide either a confirmation target in blocks for"
            " automatic fee estimation, or an explicit fee rate."
        )
    if "estimate_mode" in raw:
        raise invalid("Cannot specify both estimate_mode and feeRate")
    control.rate, control.override_rate = parse_amount(raw["feeRate"]), True


def take_depths(raw: Raw, control: CoinControl, negative: str) -> None:
    """Take over minconf and maxconf; raises RpcError, with the text ``negative`` for a minconf below 0."""
    if "minconf" in raw:
        control.min_depth = whole_number(raw["minconf"])
        if control.min_depth < 0:
            raise invalid(negative)
    if "maxconf" in raw:
        control.max_depth = whole_number(raw["maxconf"])
        if control.max_depth < control.min_depth:
            raise invalid(f"maxconf can't be lower than minconf: {control.max_depth} < {control.min_depth}")


def take_sizes(node: NodeParts, raw: Raw, control: CoinControl, version: int) -> None:
    """Take over what tells sizes: solving data, weights of inputs, the most weight of the whole; raises RpcError."""
    if "solving_data" in raw:
        _learn(node, expect(raw["solving_data"], "object"), control.external)
    for given in expect(raw["input_weights"], "array") if "input_weights" in raw else ():
        item: Raw = given if isinstance(given, dict) else {}
        txid = parse_hash(item.get("txid"), "txid")
        if type_name(item.get("vout")) != "number":
            raise invalid("Invalid parameter, missing vout key")
        vout = whole_number(item["vout"])
        if vout < 0:
            raise invalid("Invalid parameter, vout cannot be negative")
        if type_name(item.get("weight")) != "number":
            raise invalid("Invalid parameter, missing weight key")
        weight = whole_number(item["weight"], 64)
        if weight < MIN_INPUT_WEIGHT:
            raise invalid(
                "Invalid parameter, weight cannot be less than 165 (41 bytes (size of outpoint + sequence + empty"
                " scriptSig) * 4 (witness scaling factor)) + 1 (empty witness)"
            )
        if weight > MAX_STANDARD_TX_WEIGHT:
            raise invalid(
                "Invalid parameter, weight cannot be greater than the maximum standard tx weight of"
                f" {MAX_STANDARD_TX_WEIGHT}"
            )
        control.weigh(txid + vout.to_bytes(4, "little"), weight)
    if "max_tx_weight" in raw:
        control.max_weight = whole_number(raw["max_tx_weight"])
    if version == TRUC_VERSION:
        control.max_weight = min(TRUC_MAX_WEIGHT, control.max_weight or TRUC_MAX_WEIGHT)


def _learn(node: NodeParts, data: Raw, provider: SigningProvider) -> None:
    """Take over keys, scripts and descriptors; raises RpcError."""
    for text in expect(data["pubkeys"], "array") if "pubkeys" in data else ():
        pubkey = _pubkey(expect(text, "string"))
        provider.add_pubkey(pubkey)
        provider.add_script(b"\0\x14" + hash160(pubkey))
    for text in expect(data["scripts"], "array") if "scripts" in data else ():
        script = parse_hex_or_none(expect(text, "string"))
        if not script:
            raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, f"'{text}' is not hex")
        provider.add_script(script)
    for text in expect(data["descriptors"], "array") if "descriptors" in data else ():
        try:
            found = parse_descriptor(expect(text, "string"), node.params, provider)
        except DescriptorError as error:
            raise invalid(f"Unable to parse descriptor '{text}': {error}") from None
        for descriptor in found:
            descriptor.expand(0, provider, provider)


def _pubkey(text: str) -> bytes:
    pubkey = parse_hex_or_none(text)
    why = ""
    if not pubkey:
        why = "be a hex string"
    elif len(pubkey) not in (33, 65):
        why = "have a length of either 33 or 65 bytes"
    elif not is_valid_pubkey(pubkey):
        why = "be cryptographically valid."
    if why or pubkey is None:
        raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, f'Pubkey "{text}" must {why}')
    return pubkey


def with_input_weights(inputs: Any, raw: Raw) -> dict[str, Any]:
    """Options with the weights that stand in the inputs; raises RpcError where the options have some too."""
    if "input_weights" in raw:
        raise invalid("Input weights should be specified in inputs rather than in options.")
    if not inputs:
        return dict(raw)
    weighed = [item for item in inputs if "weight" in item]
    return {**raw, "input_weights": weighed}
