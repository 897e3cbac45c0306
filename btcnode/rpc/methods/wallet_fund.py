"""Transactions and PSBTs that the user puts together and a wallet funds and signs."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypedDict, cast

from btcnode.rpc.declare import BY_NAME, NOTHING, Coins, Default, Hex, Like, Named, Oneline, rpc
from btcnode.rpc.given import NO_TIME, Items, Lenient
from btcnode.rpc.methods.psbt import ProcessedPsbt
from btcnode.rpc.methods.psbt_decode import PsbtText
from btcnode.rpc.methods.rawtransactions import SignedTx
from btcnode.rpc.shapes import wrong_type
from btcnode.rpc.spending.declared import (
    AddInputs,
    AddsInputsUnlessNamed,
    CoinOptions,
    FeeOptions,
    InputWeight,
    OldNames,
    PsbtInputs,
    SizeOptions,
)
from btcnode.rpc.transactions import TWO, IsWitness, LateLockTime, LateVersion, Outputs, PreviousOutputs, SighashType
from btcnode.rpc.wallets import NEEDS_PASSPHRASE, the_wallet
from btcnode.services.parts import NodeParts

EXAMPLE = "bc1q09vm5lfy0j5reeulh4x5752q25uqqvz34hufdl"


class _AddsInputs(TypedDict):
    add_inputs: Annotated[NotRequired[AddInputs], Default(True)]


class _InputWeights(TypedDict):
    input_weights: Annotated[NotRequired[Items[Annotated[Lenient[InputWeight], "An input"]]], "Weights of inputs"]


class FundOptions(_AddsInputs, CoinOptions, OldNames, _InputWeights, SizeOptions, FeeOptions):
    """How a transaction is funded."""


class FundedTx(TypedDict):
    """A transaction with inputs enough, not signed."""

    hex: Annotated[Hex, "The transaction"]
    fee: Annotated[Coins, "Its fee in BTC"]
    changepos: Annotated[int, "Number of the change output, or -1"]


@rpc("rawtransactions", examples=(("rawtransactionhex",),))
async def fundrawtransaction(
    node: NodeParts,
    hexstring: Annotated[Hex, "The transaction"],
    options: Annotated[Any, Like(Lenient[FundOptions]), BY_NAME, Oneline("options")] = None,
    iswitness: IsWitness = None,
) -> FundedTx:
    """Add inputs to a transaction until they pay its outputs, and at most one output for change. Nothing is signed.

    What inputs spend has to be in the wallet, or in the UTXO set together with what tells how to spend it. A
    transaction that spends unconfirmed coins pays more than the feerate, as far as those lack.
    """
    wallet = the_wallet(node)
    from btcnode.rpc.spending import funding

    return cast(FundedTx, await funding.fund_raw(node, wallet, hexstring, options, iswitness))


class FundPsbtOptions(AddsInputsUnlessNamed, CoinOptions, OldNames, SizeOptions, FeeOptions):
    """How a PSBT is funded."""


class FundedPsbt(TypedDict):
    """A PSBT with inputs enough, not signed."""

    psbt: Annotated[str, "The PSBT"]
    fee: Annotated[Coins, "Its fee in BTC"]
    changepos: Annotated[int, "Number of the change output, or -1"]


@rpc("wallet", examples=(([], [{EXAMPLE: 0.5}], 0, {"add_inputs": True, "fee_rate": 2}),))
async def walletcreatefundedpsbt(
    node: NodeParts,
    inputs: Annotated[PsbtInputs | None, "The inputs; none: they are chosen"],
    outputs: Outputs,
    locktime: LateLockTime = NO_TIME,
    options: Annotated[Lenient[FundPsbtOptions], BY_NAME, Oneline("options")] = NOTHING,
    bip32derivs: Annotated[bool, "Whether to tell where keys come from"] = True,
    version: LateVersion = TWO,
) -> FundedPsbt:
    """A PSBT for a transaction with inputs enough, with what the wallet knows of them."""
    wallet = the_wallet(node)
    from btcnode.rpc.spending import funding

    found = await funding.create_funded_psbt(
        node,
        wallet,
        None if inputs is None else inputs.sent,
        outputs,
        locktime,
        options.sent,
        origins=bip32derivs,
        version=version.read(),
    )
    return cast(FundedPsbt, found)


@rpc("wallet", examples=(("psbt",),), notes=NEEDS_PASSPHRASE)
async def walletprocesspsbt(
    node: NodeParts,
    psbt: PsbtText,
    sign: Annotated[bool, "Whether to sign"] = True,
    sighashtype: SighashType = None,
    bip32derivs: Annotated[bool, "Whether to tell where keys come from"] = True,
    finalize: Annotated[bool, "Whether to make complete inputs final"] = True,
) -> ProcessedPsbt:
    """A PSBT with what the wallet knows of its inputs and outputs, signed with the wallet's keys."""
    wallet = the_wallet(node)
    from btcnode.rpc.spending import funding

    found = await funding.process_psbt(
        node, wallet, psbt, sighashtype, sign=sign, origins=bip32derivs, finalize=finalize
    )
    return cast(ProcessedPsbt, found)


@rpc("wallet", examples=(("myhex",),), notes=NEEDS_PASSPHRASE)
async def signrawtransactionwithwallet(
    node: NodeParts,
    hexstring: Annotated[str, "The transaction in hex"],
    prevtxs: PreviousOutputs = None,
    sighashtype: SighashType = None,
) -> SignedTx:
    """Sign a transaction with the wallet's keys."""
    wallet = the_wallet(node)
    from btcnode.rpc.spending import funding

    return await funding.sign_raw(node, wallet, hexstring, prevtxs, sighashtype)


class SimulateOptions(TypedDict):
    """How to look at transactions."""

    include_watchonly: Annotated[NotRequired[bool], "No longer used", Default(False)]


class Simulated(TypedDict):
    """What transactions would do."""

    balance_change: Annotated[Coins, "How much more the wallet would have, in BTC"]


@rpc("wallet", examples=((["myhex"],),))
async def simulaterawtransaction(
    node: NodeParts,
    rawtxs: Annotated[Items[Annotated[Hex, Named("rawtx"), "A transaction"]] | None, "Transactions in hex"] = None,
    options: Annotated[Lenient[SimulateOptions], BY_NAME] = NOTHING,
) -> Simulated:
    """What the wallet would win or lose by transactions that follow each other."""
    wallet = the_wallet(node)
    from btcnode.rpc.spending import funding

    if rawtxs is None:  # which help calls optional, as Core's does
        raise wrong_type(None, "array")
    return cast(Simulated, await funding.simulate(node, wallet, rawtxs))
