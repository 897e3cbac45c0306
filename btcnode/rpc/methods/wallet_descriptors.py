"""Descriptors of a wallet: listing, importing, making them; master keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, NotRequired, TypedDict, cast

from btcnode.descriptors.bip32 import ExtendedKey, ExtendedSecret, parse_xpub
from btcnode.descriptors.descriptor import ComboDescriptor, Descriptor
from btcnode.descriptors.provider import SigningProvider
from btcnode.rpc.declare import (
    BY_NAME,
    FIXED,
    MUST,
    NO_NULL,
    NOTHING,
    AnyNumber,
    AnyRange,
    Default,
    Hint,
    Label,
    Oneline,
    rpc,
)
from btcnode.rpc.descriptors import parse_range, parsed
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.given import Items, Lenient
from btcnode.rpc.jsonvalue import type_name
from btcnode.rpc.methods.wallet_rescan import scanning
from btcnode.rpc.shapes import ValueFault, whole_number
from btcnode.rpc.wallets import (
    ADDRESS_TYPES,
    NEEDS_PASSPHRASE,
    check_unlocked,
    label_from,
    parse_output_type,
    the_wallet,
    wallet_errors,
    wallets_of,
)
from btcnode.services.loop_turns import in_turns
from btcnode.services.parts import NodeParts

if TYPE_CHECKING:
    from btcnode.wallet.descriptor_keys import DescriptorKeys
    from btcnode.wallet.wallet import Wallet


class ImportRequest(TypedDict):
    """A descriptor to import."""

    desc: Annotated[NotRequired[str], "The descriptor, with checksum", MUST, NO_NULL]
    active: Annotated[bool, "Give out addresses of its kind from it", Default(False), NO_NULL]
    range: Annotated[NotRequired[AnyRange], "Of a ranged one: the last position, or [first,last]", NO_NULL]
    next_index: Annotated[NotRequired[AnyNumber], "Of a ranged one: the position to go on from", NO_NULL]
    timestamp: Annotated[
        NotRequired[Any],
        'When it was used first, in Unix seconds: blocks from two hours before are scanned. "now": it never was',
        Oneline('timestamp | "now"'),
        Label("integer / string"),
        MUST,
        NO_NULL,
    ]
    internal: Annotated[NotRequired[bool], "Whether what it gets is change", Hint("false"), NO_NULL]
    label: Annotated[NotRequired[str], "Label of its address, unless it is ranged or internal", Hint('""')]


class ImportFault(TypedDict):
    """Why a descriptor was not imported."""

    code: Annotated[int, "Code of the error"]
    message: Annotated[str, "Its text"]


class ImportResult(TypedDict):
    """What became of a descriptor."""

    success: Annotated[bool, "Whether it was imported"]
    warnings: Annotated[NotRequired[list[Annotated[str, "Warning"]]], "What the user should know"]
    error: Annotated[NotRequired[ImportFault], "Why not"]


@dataclass(frozen=True, slots=True)
class _Range:
    """Positions of an import: from ``start`` to before ``end``, the next one to give out."""

    start: int = 0
    end: int = 1
    next_index: int = 0


@rpc("wallet", examples=(([{"desc": "<my descriptor>", "timestamp": 1455191478, "internal": True}],),))
async def importdescriptors(
    node: NodeParts,
    requests: Annotated[Items[Annotated[Lenient[ImportRequest], "A descriptor"]], "Descriptors", Oneline("requests")],
) -> Annotated[list[ImportResult], "What became of each, in order"]:
    """Import descriptors, and look through the chain for their transactions from the earliest timestamp on.

    Of a descriptor with two branches the second one is for change. That takes long for an early timestamp, less with
    an index of block filters. Make a new backup afterwards.
    """
    wallet, wallets = the_wallet(node), wallets_of(node)
    with scanning(wallet), wallet_errors():
        check_unlocked(wallet)
        tree, tip = node.chain.tree, node.chain.tip()
        lowest, now = tree.time(tip), tree.median_time_past(tip)
        results: list[ImportResult] = []
        stamps: list[int] = []
        async with wallet.turn:
            for place, sent in enumerate(requests.sent):
                request = requests[place].read() if isinstance(sent, dict) else cast(ImportRequest, {})
                stamps.append(_timestamp(request, now))
                stamp = max(stamps[-1], 1)
                results.append(await _import(node, wallet, request, stamp))
                lowest = min(lowest, stamp)
            await in_turns(wallet.ledger.find_all_coins())
            await wallets.disk.save(wallet)
        if any(result["success"] for result in results):
            await _rescan(node, wallet, lowest, stamps, results)
    return results


def _timestamp(given: ImportRequest, now: int) -> int:
    if "timestamp" not in given:
        raise RpcError(RpcCode.TYPE_ERROR, "Missing required timestamp field for key")
    value = given["timestamp"]
    if type_name(value) == "number":
        return whole_number(value, 64)
    if value == "now":
        return now
    why = f'Expected number or "now" timestamp value for key. got type {type_name(value)}'
    raise RpcError(RpcCode.TYPE_ERROR, why)


async def _rescan(node: NodeParts, wallet: Wallet, lowest: int, stamps: list[int], results: list[ImportResult]) -> None:
    """Scan from the time ``lowest`` on, and change the results of descriptors that this failed for."""
    from btcnode.services.wallet_scan import TIMESTAMP_WINDOW, ScanStatus

    wallets, times = wallets_of(node), wallets_of(node).chain.times
    start = times.first_height(lowest - TIMESTAMP_WINDOW)
    scanned = lowest
    if start is not None:
        result = await wallets.chain.rescan(wallet, start, None)
        if result.status is ScanStatus.FAILURE:
            scanned = times.at(node.chain.tree.height(result.failed)) + TIMESTAMP_WINDOW + 1
        await wallets.broadcast.resubmit(wallet, relay=False, force=True)
        await wallets.disk.save(wallet)
    if wallet.scan.aborting:
        raise RpcError(RpcCode.MISC_ERROR, "Rescan aborted by user.")
    for n, stamp in enumerate(stamps if scanned > lowest else ()):
        if scanned > stamp and results[n]["success"]:
            error: ImportFault = {"code": int(RpcCode.MISC_ERROR), "message": _failure(node, stamp, scanned)}
            results[n] = {"success": False, "error": error}


def _failure(node: NodeParts, stamp: int, scanned: int) -> str:
    from btcnode.services.wallet_scan import TIMESTAMP_WINDOW

    text = (
        f"Rescan failed for descriptor with timestamp {stamp}. There was an error reading a block from time"
        f" {scanned - TIMESTAMP_WINDOW - 1}, which is after or within {TIMESTAMP_WINDOW} seconds of key creation, and"
        " could contain transactions pertaining to the desc. As a result, transactions and coins using this desc may"
        " not appear in the wallet."
    )
    if node.settings.storage.prunes:
        return text + (
            " This error could be caused by pruning or data corruption (see bitcoind log for details) and could be"
            " dealt with by downloading and rescanning the relevant blocks (see -reindex option and rescanblockchain"
            " RPC)."
        )
    if node.chain.driver.history_span() is not None:
        return text + (
            " This error is likely caused by an in-progress assumeutxo background sync. Check logs or getchainstates"
            " RPC for assumeutxo background sync progress and try again later."
        )
    return text + (
        " This error could potentially caused by data corruption. If the issue persists you may want to reindex (see"
        " -reindex option)."
    )


async def _import(node: NodeParts, wallet: Wallet, given: ImportRequest, stamp: int) -> ImportResult:
    warnings: list[str] = []
    result: ImportResult = {"success": True}
    try:
        await _take_in(node, wallet, given, stamp, warnings)
    except ValueFault:
        raise
    except RpcError as error:
        if error.code in (RpcCode.TYPE_ERROR, RpcCode.MISC_ERROR):  # a wrong type ends the whole call, as in Core
            raise
        result = {"success": False, "error": {"code": error.code, "message": error.message}}
    return {**result, "warnings": warnings} if warnings else result


def _refused(why: str, code: RpcCode = RpcCode.INVALID_PARAMETER) -> RpcError:
    return RpcError(code, why)


async def _take_in(node: NodeParts, wallet: Wallet, given: ImportRequest, stamp: int, warnings: list[str]) -> None:
    """Import one descriptor, or one for each of its branches; raises RpcError."""
    from btcnode.wallet.flags import WalletFlag

    if "desc" not in given:
        raise _refused("Descriptor not found.")
    text, active, label = given["desc"], given["active"], label_from(given.get("label"))
    secrets = SigningProvider()
    found = parsed(text, node.params, secrets, need_checksum=True)
    if "internal" in given:
        if len(found) > 1:
            why = "Cannot have multipath descriptor while also specifying 'internal'"
            raise _refused(why, RpcCode.INVALID_ADDRESS_OR_KEY)
        _ = given["internal"]  # its type is judged here
    positions = _positions(wallet, found[0], given, warnings)
    _check_request(found, given, active=active)
    if wallet.has(WalletFlag.DISABLE_PRIVATE_KEYS) and secrets.secrets:
        why = "Cannot import private keys to a wallet with private keys disabled"
        raise _refused(why, RpcCode.WALLET_ERROR)
    for n, descriptor in enumerate(found):
        internal = n == 1 if len(found) == 2 else bool(given.get("internal", False))
        _check_keys(wallet, descriptor, secrets, warnings)
        keys = await _add(
            node, wallet, descriptor, secrets, stamp, positions, label=label, internal=internal, text=text
        )
        kind = descriptor.output_type
        if active and kind is None:
            warnings.append("Unknown output type, cannot set descriptor to active.")
        elif kind is not None and active:
            wallet.activate(keys, kind, internal=internal)
        elif kind is not None:
            wallet.deactivate(keys, kind, internal=internal)


def _positions(wallet: Wallet, descriptor: Descriptor, given: ImportRequest, warnings: list[str]) -> _Range:
    if not descriptor.is_range:
        if "range" in given:
            raise _refused("Range should not be specified for an un-ranged descriptor")
        return _Range()
    if "range" in given:
        start, last = parse_range(given["range"])
        end = last + 1
    else:
        warnings.append("Range not given, using default keypool range")
        start, end = 0, wallet.options.keypool
    next_index = start
    if "next_index" in given:
        next_index = whole_number(given["next_index"], 64)
        if not start <= next_index < end:
            raise _refused("next_index is out of range")
    return _Range(start, end, next_index)


def _check_request(found: list[Descriptor], given: ImportRequest, *, active: bool) -> None:
    ranged, labelled = found[0].is_range, "label" in given
    if active and not ranged:
        raise _refused("Active descriptors must be ranged")
    if len(found) > 1 and labelled:
        raise _refused("Multipath descriptors should not have a label")
    if ranged and labelled:
        raise _refused("Ranged descriptors should not have a label")
    if given.get("internal", False) and labelled:
        raise _refused("Internal addresses should not have a label")
    if active and isinstance(found[0], ComboDescriptor):
        raise _refused("Combo descriptors cannot be set to active", RpcCode.WALLET_ERROR)


def _check_keys(wallet: Wallet, descriptor: Descriptor, secrets: SigningProvider, warnings: list[str]) -> None:
    """Whether its keys fit the wallet; raises RpcError."""
    from btcnode.wallet.flags import WalletFlag

    expanded = SigningProvider()
    if descriptor.expand(0, secrets, expanded) is None:
        why = "Cannot expand descriptor. Probably because of hardened derivations without private keys provided"
        raise _refused(why, RpcCode.WALLET_ERROR)
    descriptor.add_secrets(0, secrets, expanded)
    warnings += descriptor.warnings
    if wallet.has(WalletFlag.DISABLE_PRIVATE_KEYS):
        return
    if not secrets.secrets:
        why = "Cannot import descriptor without private keys to a wallet with private keys enabled"
        raise _refused(why, RpcCode.WALLET_ERROR)
    if not expanded.secrets or any(expanded.secret(key_id) is None for key_id in expanded.origins):
        warnings.append("Not all private keys provided. Some wallet functionality may return unexpected errors")


async def _add(
    node: NodeParts,
    wallet: Wallet,
    descriptor: Descriptor,
    secrets: SigningProvider,
    stamp: int,
    positions: _Range,
    *,
    label: str,
    internal: bool,
    text: str,
) -> DescriptorKeys:
    """The wallet's descriptor, new or with another range; raises RpcError."""
    from btcnode.wallet.descriptor_keys import DescriptorKeys

    where = {"start": positions.start, "end": positions.end, "next_index": positions.next_index}
    keys = wallet.find_descriptor(descriptor)
    if keys is None:
        keys = DescriptorKeys(descriptor, wallet.journal, created=stamp, **where)
        keys.note()
        wallet.add_keys(keys)
    else:
        if keys.is_range and (positions.start > keys.start or positions.end < keys.end):
            why = f"new range must include current range = [{keys.start},{keys.end - 1}]"
            raise _refused(f"Could not add descriptor '{text}': {why}", RpcCode.WALLET_ERROR)
        keys.update(created=stamp, **where)
        wallet.birth_time = min(wallet.birth_time, stamp)
        keys.note()
    for secret in secrets.secrets.values():
        keys.add_secret(secret, wallet.vault)
    if not await wallets_of(node).keys.top_up(wallet, only=[keys]):
        why = f"Could not add descriptor '{text}': Could not top up scriptPubKeys"
        raise _refused(why, RpcCode.WALLET_ERROR)
    if not keys.is_range and not internal:
        for script in keys.positions:
            if wallet.address(script) is not None:
                wallet.book.set(script, label, "receive")
    return keys


class ListedDescriptor(TypedDict):
    """A descriptor of the wallet."""

    desc: Annotated[str, "The descriptor"]
    timestamp: Annotated[int, "When it was made"]
    active: Annotated[bool, "Whether addresses are given out from it"]
    internal: Annotated[NotRequired[bool], "Whether these are for change (active descriptors)"]
    range: Annotated[
        NotRequired[list[Annotated[int, "First position"] | Annotated[int, "Last position"]]],
        "Positions of a ranged one",
        FIXED,
    ]
    next: Annotated[NotRequired[int], "The same as next_index"]
    next_index: Annotated[NotRequired[int], "The next position to give out (ranged descriptors)"]


class ListedDescriptors(TypedDict):
    """The descriptors of a wallet."""

    wallet_name: Annotated[str, "Its name"]
    descriptors: Annotated[list[ListedDescriptor], "In order of their texts"]


@rpc("wallet", examples=((), (True,)))
def listdescriptors(node: NodeParts, private: Annotated[bool, "Show private keys"] = False) -> ListedDescriptors:
    """The descriptors of the wallet."""
    from btcnode.wallet.flags import WalletFlag

    wallet = the_wallet(node)
    if private and wallet.has(WalletFlag.DISABLE_PRIVATE_KEYS):
        why = "Can't get private descriptor string for watch-only wallets"
        raise RpcError(RpcCode.WALLET_ERROR, why)
    if private:
        check_unlocked(wallet)
    rows: list[ListedDescriptor] = []
    for keys in wallet.descriptors.values():
        text = (
            keys.descriptor.private_text(keys.open_secrets(wallet.vault)) if private else wallet.descriptor_text(keys)
        )
        row: ListedDescriptor = {"desc": text, "timestamp": keys.created, "active": wallet.is_active(keys)}
        internal = wallet.is_internal(keys)
        if internal is not None:
            row["internal"] = internal
        if keys.is_range:
            row["range"] = [keys.start, keys.end - 1]
            row["next"] = row["next_index"] = keys.next_index
        rows.append(row)
    return {"wallet_name": wallet.name, "descriptors": sorted(rows, key=lambda row: row["desc"])}


class KeyUse(TypedDict):
    """A descriptor that uses a key."""

    desc: Annotated[str, "The descriptor"]
    active: Annotated[bool, "Whether addresses are given out from it"]


class HdKey(TypedDict):
    """An extended key."""

    xpub: Annotated[str, "The public key"]
    has_private: Annotated[bool, "Whether the wallet has the private key"]
    xprv: Annotated[NotRequired[str], "The private key"]
    descriptors: Annotated[list[KeyUse], "Descriptors that use it"]


class HdKeysOptions(TypedDict):
    """Which keys are shown, and how."""

    active_only: Annotated[bool, "Only those of active descriptors", Default(False), NO_NULL]
    private: Annotated[bool, "Show private keys", Default(False), NO_NULL]


@rpc("wallet", examples=((),))
def gethdkeys(node: NodeParts, options: Annotated[Lenient[HdKeysOptions], BY_NAME] = NOTHING) -> list[HdKey]:
    """The extended keys of the wallet, and the descriptors that use them."""
    wallet, given = the_wallet(node), options.read()
    active_only, private = given["active_only"], given["private"]
    if private:
        check_unlocked(wallet)
    uses: dict[ExtendedKey, set[tuple[str, bool]]] = {}
    for keys in wallet.active_keys() if active_only else wallet.descriptors.values():
        for key in keys.descriptor.extended_keys():
            use = (wallet.descriptor_text(keys), wallet.is_active(keys))
            uses.setdefault(key.root, set()).add(use)
    rows: list[HdKey] = []
    for root in sorted(uses, key=lambda key: key.pubkey):
        has_private = any(keys.has_secret(root.id) for keys in wallet.descriptors.values())
        row: dict[str, Any] = {"xpub": root.text(node.params), "has_private": has_private}
        secret = wallet.secret(root.id) if private else None
        if secret is not None:
            row["xprv"] = _with_secret(root, secret.secret).text(node.params)
        row["descriptors"] = [{"desc": text, "active": active} for text, active in sorted(uses[root])]
        rows.append(cast(HdKey, row))
    return rows


def _with_secret(root: ExtendedKey, secret: bytes) -> ExtendedSecret:
    return ExtendedSecret(root.depth, root.parent, root.child, root.chain_code, secret)


class NewDescriptorOptions(TypedDict):
    """What is made."""

    internal: Annotated[
        NotRequired[bool],
        "Only the one for change, or only the other one",
        Hint("Both external and internal will be generated unless this parameter is specified"),
    ]
    hdkey: Annotated[
        NotRequired[str],
        "The public key of a master key of the wallet's (gethdkeys)",
        Hint("The HD key used by all other active descriptors"),
    ]


class MadeDescriptors(TypedDict):
    """Descriptors that were made."""

    descs: Annotated[list[Annotated[str, "A descriptor"]], "With public keys only"]


@rpc("wallet", examples=(("bech32m",),), notes=NEEDS_PASSPHRASE)
async def createwalletdescriptor(
    node: NodeParts,
    type: Annotated[str, f"Kind of its addresses: {ADDRESS_TYPES}"],
    options: Annotated[Lenient[NewDescriptorOptions], BY_NAME] = NOTHING,
) -> MadeDescriptors:
    """Make the usual descriptor for a kind of addresses that the wallet has none for yet."""
    wallet, wallets = the_wallet(node), wallets_of(node)
    kind, given = parse_output_type(type), options.read()
    internals = (given["internal"],) if "internal" in given else (False, True)
    check_unlocked(wallet)
    root = _hd_key(node, wallet, given.get("hdkey"))
    with wallet_errors():
        secret = wallet.secret(root.id)
        if secret is None:
            why = f"Private key for {root.text(node.params)} is not known"
            raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, why)
        master = _with_secret(root, secret.secret)
        async with wallet.turn:
            made = await wallets.keys.add_usual(wallet, master, internals=internals, kinds=(kind,))
            await wallets.disk.save(wallet)
    if not made:
        raise RpcError(RpcCode.WALLET_ERROR, "Descriptor already exists")
    return {"descs": [wallet.descriptor_text(keys) for keys in made]}


def _hd_key(node: NodeParts, wallet: Wallet, text: str | None) -> ExtendedKey:
    """The master key that was named, or the one of all active descriptors; raises RpcError."""
    if text is not None:
        found = parse_xpub(text, node.params)
        if found is None:
            why = "Unable to parse HD key. Please provide a valid xpub"
            raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, why)
        return found
    roots = {key.root for keys in wallet.active_keys() for key in keys.descriptor.extended_keys()}
    if len(roots) != 1:
        why = "Unable to determine which HD key to use from active descriptors. Please specify with 'hdkey'"
        raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, why)
    return roots.pop()
