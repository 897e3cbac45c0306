"""What a wallet has: balances, coins, what addresses received."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NotRequired, TypedDict, cast

from btcnode.descriptors.inference import infer_descriptor
from btcnode.mempool.pool import Mempool
from btcnode.primitives.amounts import MAX_MONEY
from btcnode.primitives.hashes import ripemd160, to_display
from btcnode.rpc.amounts import parse_amount
from btcnode.rpc.declare import BY_NAME as BY_NAME
from btcnode.rpc.declare import (
    MAY_HOLD_EQUALS,
    NO_NULL,
    NOTHING,
    AnyAmount,
    Bits,
    Coins,
    Default,
    Hex,
    Hint,
    Named,
    Oneline,
    rpc,
)
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.given import Checked, Items, Strict, Whole
from btcnode.rpc.jsonvalue import amount
from btcnode.rpc.lookup import parse_hash
from btcnode.rpc.room import make_room
from btcnode.rpc.wallets import (
    LastProcessed,
    destination,
    label_from,
    last_processed,
    the_wallet,
    wallet_errors,
    wallets_of,
)
from btcnode.script.solver import script_type
from btcnode.services.loop_turns import each_in_turn, in_turns
from btcnode.services.parts import NodeParts

if TYPE_CHECKING:
    from btcnode.wallet.coins import Coin
    from btcnode.wallet.wallet import Wallet

UNSPENT_BYTES = 3_000  # of a coin as JSON while it is made
MAX_COUNT = 1 << 62
MinConf = Annotated[Whole, "Confirmations that a transaction must have to count"]
ImmatureToo = Annotated[bool, "Count coinbases that cannot be spent yet"]
OLD_WATCHONLY = "Without effect"
NONE, ONE, MOST = Whole(0), Whole(1), Whole(9_999_999)
"""Confirmations where nothing is said."""


async def _received(wallet: Wallet, scripts: list[bytes], minconf: Whole, *, immature_too: bool) -> int:
    """Satoshi that these scripts got, those that are the wallet's; raises RpcError."""
    ledger = wallet.ledger
    own = {script for script in scripts if ledger.is_mine(script)}
    if not own:
        raise RpcError(RpcCode.WALLET_ERROR, "Address not found in wallet")
    total, min_depth = 0, minconf.read()
    async for coin in each_in_turn(list(ledger.coins.values())):
        entry = coin.entry
        depth = ledger.depth(entry)
        if coin.script not in own or depth < min_depth or (entry.is_coinbase and depth < 1):
            continue
        if not ledger.is_immature(entry) or immature_too:
            total += coin.value
    return total


@rpc("wallet", examples=(("bc1q09vm5lfy0j5reeulh4x5752q25uqqvz34hufdl",), ("bc1q...", 6)))
async def getreceivedbyaddress(
    node: NodeParts,
    address: Annotated[str, "The address"],
    minconf: MinConf = ONE,
    include_immature_coinbase: ImmatureToo = False,
) -> Annotated[Coins, Named("amount"), "Coins"]:
    """All that an address has ever received."""
    wallet, script = the_wallet(node), destination(address, node.params)
    return amount(await _received(wallet, [script], minconf, immature_too=include_immature_coinbase))


@rpc("wallet", examples=(("tabby",), ("tabby", 6)))
async def getreceivedbylabel(
    node: NodeParts,
    label: Annotated[str, "The label", MAY_HOLD_EQUALS],
    minconf: MinConf = ONE,
    include_immature_coinbase: ImmatureToo = False,
) -> Annotated[Coins, Named("amount"), "Coins"]:
    """All that the addresses with a label have ever received."""
    wallet = the_wallet(node)
    scripts = wallet.book.labelled(label_from(label))
    if not scripts:
        raise RpcError(RpcCode.WALLET_ERROR, "Label not found in wallet")
    return amount(await _received(wallet, scripts, minconf, immature_too=include_immature_coinbase))


def avoids_reuse(wallet: Wallet, wanted: bool | None) -> bool:
    """Whether coins on used addresses are left out; raises RpcError."""
    from btcnode.wallet.flags import WalletFlag

    can = wallet.has(WalletFlag.AVOID_REUSE)
    if wanted and not can:
        raise RpcError(RpcCode.WALLET_ERROR, 'wallet does not have the "avoid reuse" feature enabled')
    return can if wanted is None else wanted


@rpc("wallet", examples=((), ("*", 6)))
async def getbalance(
    node: NodeParts,
    dummy: Annotated[str | None, 'Nothing, or "*"'] = None,
    minconf: MinConf = NONE,
    include_watchonly: Annotated[bool, OLD_WATCHONLY] = False,
    avoid_reuse: Annotated[
        bool | None, "Leave out coins on addresses that were spent from (with that flag)", Hint("true")
    ] = None,
) -> Annotated[Coins, Named("amount"), "Coins"]:
    """What may be spent now, as far as it is as good as there."""
    wallet = the_wallet(node)
    if dummy not in (None, "*"):
        raise RpcError(RpcCode.METHOD_DEPRECATED, 'dummy first argument must be excluded or set to "*".')
    min_depth, avoids = minconf.read(), avoids_reuse(wallet, avoid_reuse)
    found = await in_turns(wallet.coins.balances_steps(min_depth=min_depth, avoid_used=avoids))
    return amount(found.trusted)


class MyBalances(TypedDict):
    """Balances of the wallet's coins."""

    trusted: Annotated[Coins, "Confirmed, or own change"]
    untrusted_pending: Annotated[Coins, "From others, in the mempool"]
    immature: Annotated[Coins, "Coinbases that cannot be spent yet"]
    nonmempool: Annotated[Coins, "What transactions spend that are not in the mempool: not positive"]
    used: Annotated[NotRequired[Coins], "On addresses that were spent from (with the flag avoid_reuse)"]


class AllBalances(TypedDict):
    """Balances."""

    mine: Annotated[MyBalances, "Of coins that the wallet can sign for"]
    lastprocessedblock: LastProcessed


@rpc("wallet")
async def getbalances(node: NodeParts) -> AllBalances:
    """All balances of the wallet."""
    from btcnode.wallet.flags import WalletFlag

    wallet = the_wallet(node)
    avoids = wallet.has(WalletFlag.AVOID_REUSE)
    found = await in_turns(wallet.coins.balances_steps(avoid_used=avoids, outside_pool=True))
    mine: MyBalances = {
        "trusted": amount(found.trusted),
        "untrusted_pending": amount(found.untrusted_pending),
        "immature": amount(found.immature),
        "nonmempool": amount(found.nonmempool),
    }
    if avoids:
        mine["used"] = amount(found.used)
    return {"mine": mine, "lastprocessedblock": last_processed(wallet)}


class Outpoint(TypedDict):
    """An output."""

    txid: Annotated[Hex, "Its transaction"]
    vout: Annotated[int, "Its number"]


@rpc("wallet", examples=((False, [{"txid": "mytxid", "vout": 0}]),))
async def lockunspent(
    node: NodeParts,
    unlock: Annotated[bool, "Unlock them, not lock"],
    transactions: Annotated[Items[Annotated[Checked[Outpoint], "An output"]] | None, "Outputs", Hint("[]")] = None,
    persistent: Annotated[bool, "Keep the lock after the next start"] = False,
) -> Annotated[bool, "True"]:
    """Have no transaction spend outputs unless they are named, or take that back; without outputs for all of them."""
    wallet = the_wallet(node)
    ledger = wallet.ledger
    if transactions is None:
        if unlock:
            ledger.unlock_all()
    else:
        outpoints = [_lockable(wallet, item.read(), unlock, persistent) async for item in each_in_turn(transactions)]
        for outpoint in outpoints:
            if unlock:
                ledger.unlock_coin(outpoint)
            else:
                ledger.lock_coin(outpoint, keep=persistent)
    with wallet_errors():
        await wallets_of(node).disk.save(wallet)
    return True


def _lockable(wallet: Wallet, given: Outpoint, unlock: bool, persistent: bool) -> bytes:
    """An outpoint that may be locked or unlocked; raises RpcError."""
    txid, vout, ledger = parse_hash(given["txid"], "txid"), given["vout"], wallet.ledger
    if vout < 0:
        raise _no_parameter("vout cannot be negative")
    entry = ledger.transactions.get(txid)
    if entry is None:
        raise _no_parameter("unknown transaction")
    if vout >= len(entry.tx.txouts):
        raise _no_parameter("vout index out of bounds")
    outpoint = txid + vout.to_bytes(4, "little")
    if ledger.is_spent(outpoint):
        raise _no_parameter("expected unspent output")
    if unlock and outpoint not in ledger.locked:
        raise _no_parameter("expected locked output")
    if not unlock and outpoint in ledger.locked and not persistent:
        raise _no_parameter("output already locked")
    return outpoint


def _no_parameter(why: str) -> RpcError:
    return RpcError(RpcCode.INVALID_PARAMETER, f"Invalid parameter, {why}")


@rpc("wallet", heavy=True)
def listlockunspent(node: NodeParts) -> list[Outpoint]:
    """The outputs that are locked."""
    return [
        {"txid": to_display(outpoint[:32]), "vout": int.from_bytes(outpoint[32:], "little")}
        for outpoint in sorted(the_wallet(node).ledger.locked)
    ]


class UnspentOptions(TypedDict):
    """Which coins are listed."""

    minimumAmount: Annotated[NotRequired[AnyAmount], "Least value of each", Hint('"0.00"'), NO_NULL]
    maximumAmount: Annotated[NotRequired[AnyAmount], "Most value of each", Hint("unlimited"), NO_NULL]
    maximumCount: Annotated[NotRequired[int], "How many at most", Hint("unlimited"), Bits(64), NO_NULL]
    minimumSumAmount: Annotated[NotRequired[AnyAmount], "Stop at this sum", Hint("unlimited"), NO_NULL]
    include_immature_coinbase: Annotated[bool, "Also coinbases that cannot be spent yet", Default(False), NO_NULL]


class Unspent(TypedDict):
    """A coin."""

    txid: Annotated[Hex, "Its transaction"]
    vout: Annotated[int, "Its number"]
    address: Annotated[NotRequired[str], "Its address"]
    label: Annotated[NotRequired[str], "Label of that"]
    scriptPubKey: Annotated[str, "Its script"]
    amount: Annotated[Coins, "Its value"]
    confirmations: Annotated[int, "Confirmations"]
    ancestorcount: Annotated[NotRequired[int], "Unconfirmed ancestors, its transaction included"]
    ancestorsize: Annotated[NotRequired[int], "Virtual size of these"]
    ancestorfees: Annotated[NotRequired[int], "Fees of these, satoshi"]
    redeemScript: Annotated[NotRequired[Hex], "The redeem script"]
    witnessScript: Annotated[NotRequired[str], "The witness script"]
    spendable: Annotated[bool, "Always true"]
    solvable: Annotated[bool, "Whether it is known how to spend it, apart from private keys"]
    reused: Annotated[NotRequired[bool], "Whether its address was spent from (with the flag avoid_reuse)"]
    desc: Annotated[NotRequired[str], "A descriptor for spending"]
    parent_descs: Annotated[list[Annotated[str, Named("desc"), "A descriptor"]], "Descriptors that make its script"]
    safe: Annotated[bool, "Whether nobody else can make it disappear"]


@rpc("wallet", examples=((), (6, 9999999, ["bc1q09vm5lfy0j5reeulh4x5752q25uqqvz34hufdl"])), heavy=True)
async def listunspent(
    node: NodeParts,
    minconf: Annotated[Whole, "Least confirmations"] = ONE,
    maxconf: Annotated[Whole, "Most confirmations"] = MOST,
    addresses: Annotated[
        Items[Annotated[str, Named("address"), "An address"]] | None, "Only coins there", Hint("[]")
    ] = None,
    include_unsafe: Annotated[bool, "Also coins that others may make disappear"] = True,
    query_options: Annotated[Strict[UnspentOptions], BY_NAME, Oneline("query_options")] = NOTHING,
) -> list[Unspent]:
    """The wallet's coins."""
    from btcnode.wallet.coins import CoinFilter
    from btcnode.wallet.flags import WalletFlag

    wallet, min_depth, max_depth = the_wallet(node), minconf.read(), maxconf.read()
    wanted: set[bytes] = set()
    for text in addresses or ():
        script = destination(text, node.params, f"Invalid Bitcoin address: {text}")
        if script in wanted:
            raise _no_parameter(f"duplicated address: {text}")
        wanted.add(script)
    options = query_options.read()
    await make_room(min(len(wallet.ledger.coins), options.get("maximumCount") or MAX_COUNT) * UNSPENT_BYTES)
    steps = wallet.coins.available_steps(
        CoinFilter(
            min_depth=min_depth,
            max_depth=max_depth,
            unsafe_too=include_unsafe,
            min_value=parse_amount(options["minimumAmount"]) if "minimumAmount" in options else 0,
            max_value=parse_amount(options["maximumAmount"]) if "maximumAmount" in options else MAX_MONEY,
            min_sum=parse_amount(options["minimumSumAmount"]) if "minimumSumAmount" in options else MAX_MONEY,
            max_count=options.get("maximumCount", 0),
            immature_too=options["include_immature_coinbase"],
        )
    )
    avoids = wallet.has(WalletFlag.AVOID_REUSE)
    texts: dict[bytes, str] = {}
    known: dict[bytes, str | None] = {}
    found = []
    async for coin in each_in_turn(await in_turns(steps)):
        if not wanted or coin.script in wanted:
            found.append(_unspent_json(wallet, coin, node.mempool, texts, known, avoids=avoids))
    return found


def parent_texts(wallet: Wallet, script: bytes, texts: dict[bytes, str]) -> list[str]:
    """The descriptors that make a script; ``texts`` keeps them by id."""
    for keys in wallet.parents(script):
        if keys.id not in texts:
            texts[keys.id] = wallet.descriptor_text(keys)
    return [texts[keys.id] for keys in wallet.parents(script)]


def _unspent_json(
    wallet: Wallet,
    coin: Coin,
    pool: Mempool,
    texts: dict[bytes, str],
    known: dict[bytes, str | None],
    *,
    avoids: bool,
) -> Unspent:
    """``texts`` keeps descriptors of the wallet's by id, ``known`` the one of a script, None where it has none."""
    script, txid = coin.script, coin.outpoint[:32]
    result: dict[str, Any] = {"txid": to_display(txid), "vout": int.from_bytes(coin.outpoint[32:], "little")}
    address, provider = wallet.address(script), wallet.solving_provider(script)
    if address is not None:
        result["address"] = address
        entry = wallet.book.find(script)
        if entry is not None:
            result["label"] = entry.label
        if provider is not None:
            result |= _scripts_behind(script, provider.script)
    result |= {"scriptPubKey": script.hex(), "amount": amount(coin.value), "confirmations": coin.depth}
    pooled = pool.get(txid) if not coin.depth else None
    if pooled is not None:
        kin = [pooled, *pool.ancestors(pooled)]
        result["ancestorcount"] = len(kin)
        result["ancestorsize"] = sum(entry.vsize for entry in kin)
        result["ancestorfees"] = sum(entry.modified_fee for entry in kin)
    if script not in known:
        inferred = infer_descriptor(script, provider, wallet.params) if provider is not None else None
        known[script] = inferred.text() if inferred is not None and inferred.is_solvable else None
    desc = known[script]
    result |= {"spendable": True, "solvable": desc is not None}
    if desc is not None:
        result["desc"] = desc
    result["parent_descs"] = parent_texts(wallet, script, texts)
    if avoids:
        result["reused"] = wallet.is_used(script)
    result["safe"] = coin.safe
    return cast(Unspent, result)


def _scripts_behind(script: bytes, known: Any) -> dict[str, str]:
    """Redeem and witness script of a script, where they are known."""
    found = {}
    kind = script_type(script)
    if kind == "scripthash":
        redeem = known(script[2:22])
        if redeem is not None:
            found["redeemScript"] = redeem.hex()
            script, kind = redeem, script_type(redeem)
    if kind == "witness_v0_scripthash":
        witness = known(ripemd160(script[2:]))
        if witness is not None:
            found["witnessScript"] = witness.hex()
    return found
