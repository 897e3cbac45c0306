"""Having transactions of a wallet pay more."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypedDict, cast

from btcnode.rpc.declare import BY_NAME, NOTHING, Coins, Default, Hex, Hint, Like, Oneline, rpc
from btcnode.rpc.given import Items, Lenient
from btcnode.rpc.spending.declared import OptConfTarget, OptEstimateMode, OptFeeRate
from btcnode.rpc.transactions import DataOutput, Payments
from btcnode.rpc.wallets import NEEDS_PASSPHRASE, the_wallet
from btcnode.services.parts import NodeParts

_NOTES = (
    "All inputs of the transaction are in the new one, and others where those do not suffice; what it pays more is"
    " taken from the change. Not for one whose outputs are spent already."
)


class BumpOptions(TypedDict):
    """How much more it pays."""

    conf_target: NotRequired[OptConfTarget]
    fee_rate: NotRequired[OptFeeRate]
    replaceable: Annotated[
        NotRequired[bool], "Whether the new one signals that it may be replaced (BIP125)", Default(True)
    ]
    estimate_mode: NotRequired[OptEstimateMode]
    outputs: Annotated[
        NotRequired[Any],
        "Other outputs than before; not together with original_change_index",
        Like(Items[Annotated[Payments, "A payment"] | Annotated[Lenient[DataOutput], "Data"]]),
        Default([]),
    ]
    original_change_index: Annotated[
        NotRequired[int],
        "Number of the output that is the change; not together with outputs",
        Hint("not set, detect change automatically"),
    ]


Options = Annotated[Lenient[BumpOptions], BY_NAME, Oneline("options")]
OldFee = Annotated[Coins, "Fee of the transaction that is replaced"]
NewFee = Annotated[Coins, "Fee of the new one"]
Errors = Annotated[list[str], "What went wrong meanwhile"]


class Bumped(TypedDict):
    """A replacement."""

    txid: Annotated[Hex, "Txid of the new transaction"]
    origfee: OldFee
    fee: NewFee
    errors: Errors


@rpc("wallet", examples=(("txid",),), notes=f"{_NOTES}\n{NEEDS_PASSPHRASE}")
async def bumpfee(
    node: NodeParts, txid: Annotated[Hex, "Txid of the transaction"], options: Options = NOTHING
) -> Bumped:
    """Replace a transaction of the wallet by one that pays a higher fee."""
    wallet = the_wallet(node)
    from btcnode.rpc.spending import bumping

    return cast(Bumped, await bumping.bump(node, wallet, txid, options.sent, wants_psbt=False))


class BumpedPsbt(TypedDict):
    """A replacement that is not signed yet."""

    psbt: Annotated[str, "PSBT of the new transaction"]
    origfee: OldFee
    fee: NewFee
    errors: Errors


@rpc("wallet", examples=(("txid",),), notes=_NOTES)
async def psbtbumpfee(
    node: NodeParts, txid: Annotated[Hex, "Txid of the transaction"], options: Options = NOTHING
) -> BumpedPsbt:
    """A PSBT of a transaction that replaces one of the wallet and pays a higher fee."""
    wallet = the_wallet(node)
    from btcnode.rpc.spending import bumping

    return cast(BumpedPsbt, await bumping.bump(node, wallet, txid, options.sent, wants_psbt=True))
