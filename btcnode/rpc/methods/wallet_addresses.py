"""Addresses of a wallet, their labels, and what is known of them."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Annotated, Any, NotRequired, TypedDict, cast

from btcnode.descriptors.bip32 import path_text
from btcnode.descriptors.inference import infer_descriptor
from btcnode.descriptors.messages import sign_message
from btcnode.descriptors.provider import SigningProvider
from btcnode.descriptors.solutions import solve
from btcnode.descriptors.taproot import NO_KEY
from btcnode.errors import DecodeError
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.addresses import address_for_script, script_for_address
from btcnode.primitives.hashes import hash160, ripemd160
from btcnode.primitives.steps import at_once
from btcnode.rpc.declare import FIXED, MAY_HOLD_EQUALS, NO_EQUALS, Coins, Elided, Hex, Hint, Named, Time, rpc
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.given import Whole
from btcnode.rpc.jsonvalue import amount
from btcnode.rpc.methods.util import why_no_address
from btcnode.rpc.wallets import (
    ADDRESS_TYPES,
    NEEDS_PASSPHRASE,
    book_in_order,
    check_unlocked,
    destination,
    label_from,
    parse_output_type,
    the_wallet,
    wallet_errors,
    wallets_of,
)
from btcnode.script.scriptparse import witness_program
from btcnode.script.solver import script_type
from btcnode.services.loop_turns import each_in_turn, in_turns
from btcnode.services.parts import NodeParts

if TYPE_CHECKING:
    from btcnode.wallet.wallet import Wallet

NO_KEYS = "Error: This wallet has no available keys"


@rpc("wallet")
async def getnewaddress(
    node: NodeParts,
    label: Annotated[str, "Its label", MAY_HOLD_EQUALS] = "",
    address_type: Annotated[str | None, f"Its kind: {ADDRESS_TYPES}", Hint("set by -addresstype")] = None,
) -> Annotated[str, Named("address"), "The address"]:
    """A new address to be paid to."""
    wallet = the_wallet(node)
    if not wallet.can_give_addresses():
        raise RpcError(RpcCode.WALLET_ERROR, NO_KEYS)
    name = label_from(label)
    kind = wallet.address_type if address_type is None else parse_output_type(address_type)
    with wallet_errors():
        script = wallet.new_script(kind, name)
        await wallets_of(node).disk.save(wallet)
    return wallet.address(script) or ""


@rpc("wallet")
async def getrawchangeaddress(
    node: NodeParts,
    address_type: Annotated[str | None, f"Its kind: {ADDRESS_TYPES}", Hint("set by -changetype")] = None,
) -> Annotated[str, Named("address"), "The address"]:
    """A new address for change, for transactions that are put together by hand."""
    wallet = the_wallet(node)
    if not wallet.can_give_addresses(internal=True):
        raise RpcError(RpcCode.WALLET_ERROR, NO_KEYS)
    usual = wallet.change_type or wallet.address_type
    kind = usual if address_type is None else parse_output_type(address_type)
    with wallet_errors():
        script = wallet.new_change_script(kind)
        await wallets_of(node).disk.save(wallet)
    return wallet.address(script) or ""


@rpc("wallet", examples=(("bc1q09vm5lfy0j5reeulh4x5752q25uqqvz34hufdl", "tabby"),))
async def setlabel(
    node: NodeParts,
    address: Annotated[str, "The address", NO_EQUALS],
    label: Annotated[str, "Its label", MAY_HOLD_EQUALS],
) -> None:
    """Give an address a label."""
    wallet = the_wallet(node)
    script = destination(address, node.params)
    name = label_from(label)
    wallet.book.set(script, name, "receive" if wallet.ledger.is_mine(script) else "send")
    with wallet_errors():
        await wallets_of(node).disk.save(wallet)


@rpc("wallet", examples=((), (100,)), notes=NEEDS_PASSPHRASE)
async def keypoolrefill(
    node: NodeParts,
    newsize: Annotated[Whole | None, "Addresses of each descriptor", Hint("1000, or as set by -keypool")] = None,
) -> None:
    """Derive addresses ahead of their use."""
    wallet, size = the_wallet(node), 0 if newsize is None else newsize.read()
    if size < 0:
        raise RpcError(RpcCode.INVALID_PARAMETER, "Invalid parameter, expected valid size.")
    check_unlocked(wallet)
    with wallet_errors():
        await wallets_of(node).keys.top_up(wallet, size)
        await wallets_of(node).disk.save(wallet)
    if sum(wallet.pool_sizes()) < size:
        raise RpcError(RpcCode.WALLET_ERROR, "Error refreshing keypool.")
    await in_turns(wallet.ledger.find_all_coins())


class AddressPurpose(TypedDict):
    """What an address is for."""

    purpose: Annotated[str, "send or receive"]


@rpc("wallet", examples=(("tabby",),), heavy=True)
async def getaddressesbylabel(
    node: NodeParts, label: Annotated[str, "The label", MAY_HOLD_EQUALS]
) -> dict[str, Annotated[AddressPurpose, Named("address"), "An address"]]:
    """The addresses that have a label."""
    wallet, name = the_wallet(node), label_from(label)
    found: dict[str, AddressPurpose] = {}
    async for script, entry in each_in_turn(await book_in_order(wallet)):
        address = wallet.address(script) if entry.label == name else None
        if address is not None:
            found[address] = {"purpose": entry.purpose or "unknown"}
    if not found:
        raise RpcError(RpcCode.INVALID_LABEL_NAME, f"No addresses with label {name}")
    return found


@rpc("wallet", examples=((), ("receive",)), heavy=True)
def listlabels(
    node: NodeParts,
    purpose: Annotated[str | None, "Only those of addresses for this: send or receive"] = None,
) -> list[Annotated[str, Named("label"), "A label"]]:
    """All labels, or those of addresses with a purpose."""
    from btcnode.wallet.book import PURPOSES

    wallet = the_wallet(node)
    if purpose and purpose not in PURPOSES:
        why = "Invalid 'purpose' argument, must be a known purpose string, typically 'send', or 'receive'."
        raise RpcError(RpcCode.INVALID_PARAMETER, why)
    return wallet.book.labels(purpose or None)


class AddressHead(TypedDict):
    """What an address is to the wallet."""

    address: Annotated[str, "The address"]
    scriptPubKey: Annotated[Hex, "Its script"]
    ismine: Annotated[bool, "Whether it is the wallet's"]
    iswatchonly: Annotated[bool, "Always false"]
    solvable: Annotated[bool, "Whether it is known how to spend, apart from private keys"]
    desc: Annotated[NotRequired[str], "A descriptor for spending"]
    parent_desc: Annotated[NotRequired[str], "The descriptor that has made it"]


class _IsScript(TypedDict):
    isscript: Annotated[NotRequired[bool], "Whether it is the hash of a script"]


class _IsChange(TypedDict):
    ischange: Annotated[bool, "Whether it is taken for change"]


class _Behind(TypedDict):
    iswitness: Annotated[bool, "Whether it is a witness program"]
    witness_version: Annotated[NotRequired[int], "Version of the witness program"]
    witness_program: Annotated[NotRequired[Hex], "The witness program"]
    script: Annotated[NotRequired[str], "Type of the script behind it"]
    hex: Annotated[NotRequired[Hex], "The script behind it"]
    pubkeys: Annotated[NotRequired[list[Annotated[str, Named("pubkey"), "A key"]]], "Keys of the multisig behind it"]
    sigsrequired: Annotated[NotRequired[int], "Signatures that the multisig behind it takes"]
    pubkey: Annotated[NotRequired[Hex], "The one public key behind it"]


class _IsCompressed(TypedDict):
    iscompressed: Annotated[NotRequired[bool], "Whether the public key is compressed"]


class _ItsAddress(TypedDict):
    address: Annotated[str, "The address"]
    scriptPubKey: Annotated[Hex, "Its script"]


class EmbeddedAddress(_IsScript, _Behind, _IsCompressed, _ItsAddress):
    """The address of the script behind another one."""

    embedded: Annotated[NotRequired[dict[str, Any]], "The address of the script behind that: the same members"]


class _Embeds(TypedDict):
    embedded: Annotated[
        NotRequired[EmbeddedAddress],
        "The address of the script behind it",
        Elided("The same members, but for what tells where it comes from and what it is to the wallet"),
    ]


class AddressEnd(TypedDict):
    """Where an address comes from."""

    timestamp: Annotated[NotRequired[Time], "When its descriptor was made"]
    hdkeypath: Annotated[NotRequired[str], "Path of its key"]
    hdseedid: Annotated[NotRequired[Hex], "Always zero"]
    hdmasterfingerprint: Annotated[NotRequired[Hex], "Fingerprint of the master key"]
    labels: Annotated[list[Annotated[str, Named("label name"), "Its label"]], "Its labels: none or one"]


class AddressInfo(AddressHead, _IsScript, _IsChange, _Behind, _Embeds, _IsCompressed, AddressEnd):
    """What is known of an address."""


@rpc("wallet", examples=(("bc1q09vm5lfy0j5reeulh4x5752q25uqqvz34hufdl",),))
def getaddressinfo(node: NodeParts, address: Annotated[str, "The address"]) -> AddressInfo:
    """What is known of an address; more, if it is the wallet's."""
    wallet, params = the_wallet(node), node.params
    try:
        script = script_for_address(address, params)
    except DecodeError:
        why = why_no_address(address, params)[0] or "Invalid address"
        raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, why) from None
    provider, parents = wallet.solving_provider(script), wallet.parents(script)
    result: dict[str, Any] = {
        "address": address_for_script(script, params) or "",
        "scriptPubKey": script.hex(),
        "ismine": wallet.ledger.is_mine(script),
    }
    inferred = infer_descriptor(script, provider, params) if provider is not None else None
    result["solvable"] = inferred is not None and inferred.is_solvable
    if inferred is not None and inferred.is_solvable:
        result["desc"] = inferred.text()
    if parents:
        result["parent_desc"] = wallet.descriptor_text(parents[0])
    result["iswatchonly"] = False
    result |= _described(script, provider, params)
    result["ischange"] = wallet.is_change(script)
    if provider is not None and parents:
        result |= _origin(script, provider, parents[0].created)
    entry = wallet.book.find(script)
    result["labels"] = [entry.label] if entry is not None else []
    return cast(AddressInfo, result)


def _described(script: bytes, provider: SigningProvider | None, params: NetworkParams) -> dict[str, Any]:
    """What a script is, and what stands behind it."""
    kind, program = script_type(script), witness_program(script)
    found: dict[str, Any] = {}
    if kind != "witness_unknown":
        found["isscript"] = kind not in ("pubkeyhash", "witness_v0_keyhash")
    found["iswitness"] = program is not None
    if program is not None and kind != "anchor":
        found |= {"witness_version": program[0], "witness_program": program[1].hex()}
    if provider is None:
        return found
    if kind in ("pubkeyhash", "witness_v0_keyhash"):
        pubkey = provider.pubkey(script[3:23] if kind == "pubkeyhash" else script[2:])
        if pubkey is not None:
            found["pubkey"] = pubkey.hex()
            if kind == "pubkeyhash":
                found["iscompressed"] = len(pubkey) == 33
    elif kind in ("scripthash", "witness_v0_scripthash"):
        inner = provider.script(script[2:22] if kind == "scripthash" else ripemd160(script[2:]))
        if inner is not None:
            found |= _behind(inner, provider, params)
    return found


def _behind(inner: bytes, provider: SigningProvider, params: NetworkParams) -> dict[str, Any]:
    """The script behind a hash."""
    kind, data = solve(inner)
    found: dict[str, Any] = {"script": kind, "hex": inner.hex()}
    address = address_for_script(inner, params)
    if address is not None:
        embedded = _described(inner, provider, params) | {"address": address, "scriptPubKey": inner.hex()}
        if "pubkey" in embedded:
            found["pubkey"] = embedded["pubkey"]
        found["embedded"] = embedded
    elif kind == "multisig":
        found["sigsrequired"] = data[0][0]
        found["pubkeys"] = [key.hex() for key in data[1:-1]]
    return found


def key_of(script: bytes, provider: SigningProvider) -> bytes | None:
    """HASH160 of the one key behind a script (Core's GetKeyForDestination)."""
    kind = script_type(script)
    if kind == "pubkeyhash":
        return script[3:23]
    if kind == "witness_v0_keyhash":
        return script[2:]
    if kind == "scripthash":
        inner = provider.script(script[2:22])
        return inner[2:] if inner is not None and script_type(inner) == "witness_v0_keyhash" else None
    if kind == "witness_v1_taproot":
        spend = provider.spend_data(script[2:])
        if spend is None or spend.merkle_root != NO_KEY:
            return None
        for prefix in (b"\x02", b"\x03"):
            key_id = hash160(prefix + spend.internal_key)
            if provider.pubkey(key_id) is not None:
                return key_id
    return None


def _origin(script: bytes, provider: SigningProvider, created: int) -> dict[str, Any]:
    key_id = key_of(script, provider)
    origin = provider.origin(key_id) if key_id is not None else None
    if origin is None:
        return {}
    return {
        "timestamp": created,
        "hdkeypath": "m" + path_text(origin.path),
        "hdseedid": "00" * 20,
        "hdmasterfingerprint": origin.fingerprint.hex(),
    }


class ShownAddress(TypedDict):
    """An address on the signer's display."""

    address: Annotated[str, "The address, as the signer has it"]


@rpc("wallet", examples=())
async def walletdisplayaddress(node: NodeParts, address: Annotated[str, "The address"]) -> ShownAddress:
    """Have the external signer show an address, so that the user can compare it."""
    from btcnode.wallet.flags import WalletFlag

    wallet = the_wallet(node)
    script = destination(address, node.params, "Invalid address")
    provider = wallet.solving_provider(script)
    if provider is None or not wallet.has(WalletFlag.EXTERNAL_SIGNER):
        raise RpcError(RpcCode.MISC_ERROR, "There is no ScriptPubKeyManager for this address")
    with wallet_errors():
        signer = await wallets_of(node).signer()
        inferred = infer_descriptor(script, provider, node.params)
        await signer.display(inferred.text(), wallet.address(script) or "")
    return {"address": address}


AddressAmount = Annotated[
    list[
        Annotated[str, Named("address"), "An address"]
        | Annotated[Coins, "What lies there"]
        | Annotated[str | None, Named("label"), "Its label"]
    ],
    FIXED,
]


@rpc("wallet", heavy=True)
async def listaddressgroupings(
    node: NodeParts,
) -> list[Annotated[list[AddressAmount], "Addresses that belong together"]]:
    """Addresses that others can tell to belong together, as they were spent from or got change in one transaction."""
    from btcnode.wallet.groups import address_amounts, address_groups

    wallet = the_wallet(node)
    amounts = await in_turns(address_amounts(wallet))
    groups = await in_turns(address_groups(wallet))
    result: list[list[list[Any]]] = [[] for _ in groups]
    async for number, script in each_in_turn((n, script) for n, group in enumerate(groups) for script in group):
        row: list[Any] = [wallet.address(script), amount(amounts.get(script, 0))]
        entry = wallet.book.find(script)
        result[number].append([*row, entry.label] if entry is not None else row)
    return cast("list[list[AddressAmount]]", result)


@rpc("wallet", examples=(("1D1ZrZNe3JUo7ZycKEYQQiQAWd9y54F4XX", "my message"),), notes=NEEDS_PASSPHRASE)
def signmessage(
    node: NodeParts,
    address: Annotated[str, "The address, of a key", NO_EQUALS],
    message: Annotated[str, "The message", MAY_HOLD_EQUALS],
) -> Annotated[str, Named("signature"), "The signature in base64"]:
    """Sign a message with the key of an address."""
    wallet = the_wallet(node)
    check_unlocked(wallet)
    script = destination(address, node.params, "Invalid address")
    if script_type(script) != "pubkeyhash":
        raise RpcError(RpcCode.TYPE_ERROR, "Address does not refer to key")
    with wallet_errors():
        secret = _secret(wallet, script)
    if secret is None:
        raise RpcError(RpcCode.WALLET_ERROR, "Private key not available")
    return b64encode(sign_message(message, secret.secret, compressed=secret.compressed)).decode()


def _secret(wallet: Wallet, script: bytes) -> Any:
    return at_once(wallet.signing_provider([script])).secret(script[3:23])
