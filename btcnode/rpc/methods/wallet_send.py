"""Sending from a wallet."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypedDict, cast

from btcnode.primitives.hashes import to_display
from btcnode.rpc.declare import (
    BY_NAME,
    MAY_HOLD_EQUALS,
    MUST,
    NOTHING,
    AnyAmount,
    AnyNumber,
    Default,
    Hex,
    Hint,
    Like,
    Named,
    Oneline,
    When,
    rpc,
)
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.given import Items, Lenient
from btcnode.rpc.room import aside
from btcnode.rpc.spending.declared import (
    AddsInputsUnlessNamed,
    ChangeAddress,
    ChangePosition,
    ChangeType,
    CoinOptions,
    ConfTarget,
    EstimateMode,
    FeeOptions,
    FeeRate,
    IncludeWatching,
    LockUnspents,
    MaxConf,
    MinConf,
    OptFeeRate,
    Replaceable,
    SizeOptions,
    SubtractFee,
    WeighedInputs,
)
from btcnode.rpc.transactions import TWO, Inputs, LateVersion, Outputs
from btcnode.rpc.wallets import NEEDS_PASSPHRASE, check_unlocked, the_wallet
from btcnode.services.parts import NodeParts

EXAMPLE = "bc1q09vm5lfy0j5reeulh4x5752q25uqqvz34hufdl"


class SentTx(TypedDict):
    """A transaction, and where its fee comes from."""

    txid: Annotated[Hex, "Its txid"]
    fee_reason: Annotated[str, "Why it pays this fee"]


Sent = (
    Annotated[Hex, Named("txid"), "The txid", When("if verbose is not set or set to false", verbose=(False, None))]
    | Annotated[SentTx, "The transaction", When("if verbose is set to true", verbose=(True,))]
)


@rpc("wallet", examples=((EXAMPLE, 0.1), (EXAMPLE, 0.1, "donation", "seans outpost", False, True, 6, "economical")),
     notes=NEEDS_PASSPHRASE)  # fmt: skip
async def sendtoaddress(
    node: NodeParts,
    address: Annotated[str, "Address to pay to"],
    amount: Annotated[AnyAmount, "Amount in BTC"],
    comment: Annotated[str | None, "What it is for, kept in the wallet only", MAY_HOLD_EQUALS] = None,
    comment_to: Annotated[str | None, "Whom it is for, kept in the wallet only"] = None,
    subtractfeefromamount: Annotated[bool, "Whether the recipient pays the fee"] = False,
    replaceable: Replaceable = None,
    conf_target: ConfTarget = None,
    estimate_mode: EstimateMode = None,
    avoid_reuse: Annotated[
        bool | None,
        "Whether coins on addresses that were spent from are left alone, and those of one address spent together",
        Hint("true"),
    ] = None,
    fee_rate: FeeRate = None,
    verbose: Annotated[bool, "Whether to tell where the fee comes from"] = False,
) -> Sent:
    """Pay to an address."""
    wallet = the_wallet(node)
    from btcnode.rpc.spending import options, sending
    from btcnode.wallet.spending.control import CoinControl

    notes = {key: text for key, text in (("comment", comment), ("to", comment_to)) if text}
    control = CoinControl(replaceable=replaceable, avoid_reuse=options.avoid_reuse(wallet, avoid_reuse))
    control.avoid_partial_spends = control.avoid_reuse
    options.set_fee(node, control, conf_target, estimate_mode, fee_rate)
    check_unlocked(wallet)  # which is told before what is wrong with the payment, here only
    recipients = sending.payments(node, {address: amount}, [0] if subtractfeefromamount else None)
    created = await sending.send_money(node, wallet, recipients, control, notes)
    txid = to_display(created.tx.txid)
    return {"txid": txid, "fee_reason": created.reason.value} if verbose else txid


@rpc("wallet", examples=(("", {EXAMPLE: 0.01}), ("", {EXAMPLE: 0.01}, 6, "testing")), notes=NEEDS_PASSPHRASE)
async def sendmany(
    node: NodeParts,
    dummy: Annotated[str | None, "Must be empty", Hint('"\\"\\""'), Oneline('""')],
    amounts: Annotated[
        dict[str, Annotated[AnyAmount, Named("address"), "Amount in BTC", MUST]], "Addresses and amounts"
    ],
    minconf: Annotated[AnyNumber | None, "Without effect"] = None,
    comment: Annotated[str | None, "What it is for, kept in the wallet only", MAY_HOLD_EQUALS] = None,
    subtractfeefrom: Annotated[
        Items[Annotated[Any, Named("address"), "An address", Like(str)]] | None,
        "Addresses whose recipients pay the fee, to equal parts; none: the sender pays it",
    ] = None,
    replaceable: Replaceable = None,
    conf_target: ConfTarget = None,
    estimate_mode: EstimateMode = None,
    fee_rate: FeeRate = None,
    verbose: Annotated[bool, "Whether to tell where the fee comes from"] = False,
) -> Sent:
    """Pay to several addresses with one transaction."""
    wallet = the_wallet(node)
    from btcnode.rpc.spending import options, sending
    from btcnode.wallet.spending.control import CoinControl

    if dummy:
        raise RpcError(RpcCode.INVALID_PARAMETER, 'Dummy value must be set to ""')
    notes = {"comment": comment} if comment else {}
    control = CoinControl(replaceable=replaceable)
    options.set_fee(node, control, conf_target, estimate_mode, fee_rate)
    payers = None if subtractfeefrom is None else list(subtractfeefrom)
    recipients = await aside(lambda: sending.payments(node, amounts, payers))
    created = await sending.send_money(node, wallet, recipients, control, notes)
    txid = to_display(created.tx.txid)
    return {"txid": txid, "fee_reason": created.reason.value} if verbose else txid


AddToWallet = Annotated[bool, "Whether the transaction is kept and broadcast, not only returned", Default(True)]
WantsPsbt = Annotated[bool, "Whether a PSBT is returned in any case, and nothing kept", Hint("automatic")]
OptLockTime = Annotated[int, "Lock time", Hint("locktime close to block height to prevent fee sniping")]


class _ChangeAndInputs(TypedDict):
    add_to_wallet: NotRequired[AddToWallet]
    change_address: NotRequired[ChangeAddress]
    change_position: NotRequired[ChangePosition]
    change_type: NotRequired[ChangeType]
    fee_rate: NotRequired[OptFeeRate]
    include_watching: Annotated[NotRequired[IncludeWatching], Hint('"false"')]
    inputs: Annotated[NotRequired[WeighedInputs], "The inputs, instead of those that would be chosen", Default([])]


class _Ending(TypedDict):
    locktime: NotRequired[OptLockTime]
    lock_unspents: NotRequired[LockUnspents]
    psbt: NotRequired[WantsPsbt]


class _Payers(TypedDict):
    subtract_fee_from_outputs: NotRequired[SubtractFee]


class SendOptions(AddsInputsUnlessNamed, CoinOptions, _ChangeAndInputs, _Ending, _Payers, SizeOptions, FeeOptions):
    """How to send."""


class SentOrNot(TypedDict):
    """A transaction as far as it is."""

    complete: Annotated[bool, "Whether all signatures are there"]
    txid: Annotated[NotRequired[Hex], "Its txid"]
    hex: Annotated[NotRequired[Hex], "The transaction, where it was not to be kept"]
    psbt: Annotated[NotRequired[str], "The PSBT, where signatures are missing or the transaction was not to be kept"]


@rpc("wallet", examples=(({EXAMPLE: 0.1}, 6, "economical"), ({EXAMPLE: 0.2}, None, "unset", 1.1)))
async def send(
    node: NodeParts,
    outputs: Outputs,
    conf_target: ConfTarget = None,
    estimate_mode: EstimateMode = None,
    fee_rate: FeeRate = None,
    options: Annotated[Lenient[SendOptions], BY_NAME, Oneline("options")] = NOTHING,
    version: LateVersion = TWO,
) -> SentOrNot:
    """Pay to outputs, with all choices. A transaction that other signatures are needed for is returned as PSBT."""
    wallet = the_wallet(node)
    from btcnode.rpc.spending import sending

    fees = (conf_target, estimate_mode, fee_rate)
    return cast(SentOrNot, await sending.send(node, wallet, outputs, fees, options.sent, version))


class _AllInputs(TypedDict):
    add_to_wallet: NotRequired[AddToWallet]
    fee_rate: NotRequired[OptFeeRate]
    include_watching: NotRequired[IncludeWatching]
    inputs: Annotated[
        NotRequired[Inputs], "Exactly these inputs; not together with send_max, minconf and maxconf", Default([])
    ]


class _Which(TypedDict):
    send_max: Annotated[
        NotRequired[bool], "Whether coins that cost more than they are worth stay behind", Default(False)
    ]
    minconf: NotRequired[MinConf]
    maxconf: NotRequired[MaxConf]
    version: Annotated[NotRequired[int], "Version of the transaction", Default(2)]


class SendAllOptions(_AllInputs, _Ending, _Which, FeeOptions):
    """How to send all."""


@rpc("wallet", examples=(([EXAMPLE], None, "unset", 1.1), ([EXAMPLE, {EXAMPLE: 0.25}],)))
async def sendall(
    node: NodeParts,
    recipients: Annotated[
        Items[
            Annotated[str, Named("address"), "An address that gets an equal share of what is left", MUST]
            | Annotated[dict[str, Annotated[AnyAmount, Named("address"), "Amount in BTC", MUST]], "A payment"]
        ],
        "Who gets what there is; at least one of them without an amount",
    ],
    conf_target: ConfTarget = None,
    estimate_mode: EstimateMode = None,
    fee_rate: FeeRate = None,
    options: Annotated[Lenient[SendAllOptions], BY_NAME, Oneline("options")] = NOTHING,
) -> SentOrNot:
    """Spend all coins that are confirmed or own change, or those named, and leave nothing."""
    wallet = the_wallet(node)
    from btcnode.rpc.spending import sending

    fees = (conf_target, estimate_mode, fee_rate)
    return cast(SentOrNot, await sending.send_all(node, wallet, recipients.sent, fees, options.sent))
