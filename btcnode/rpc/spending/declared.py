"""Parameters of methods that make a wallet's transactions."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypedDict

from btcnode.mempool.options import MAX_STANDARD_TX_WEIGHT
from btcnode.rpc.declare import AnyAmount, AnyNumber, Default, Hex, Hint, Like, Named
from btcnode.rpc.given import Items, Lenient
from btcnode.rpc.transactions import TxInput

ConfTarget = Annotated[AnyNumber | None, "Confirmation target in blocks", Hint("wallet -txconfirmtarget")]
EstimateMode = Annotated[
    str | None,
    'How careful the estimate is: "economical" (if the transaction may be replaced), "conservative" (else) or "unset"',
    Hint('"unset"'),
]
FeeRate = Annotated[AnyAmount | None, "Feerate in sat/vB", Hint("not set, fall back to wallet fee estimation")]
Replaceable = Annotated[bool | None, "Whether it signals that it may be replaced (BIP125)", Hint("wallet default")]


class SolvingData(TypedDict):
    """What tells how large the signatures of inputs become that are not the wallet's."""

    pubkeys: Annotated[NotRequired[Items[Annotated[Hex, Named("pubkey"), "A public key"]]], "Public keys", Default([])]
    scripts: Annotated[NotRequired[Items[Annotated[Hex, Named("script"), "A script"]]], "Scripts", Default([])]
    descriptors: Annotated[
        NotRequired[Items[Annotated[str, Named("descriptor"), "A descriptor"]]], "Descriptors", Default([])
    ]


class WeighedInput(TxInput):
    """An input, perhaps with its weight."""

    weight: Annotated[
        NotRequired[int],
        "Most weight of the signed input, outpoint and sequence with it",
        Hint("Calculated from wallet and solving data"),
    ]


class InputWeight(TypedDict):
    """How much an input weighs."""

    txid: Annotated[Hex, "Transaction it spends from"]
    vout: Annotated[int, "Output it spends"]
    weight: Annotated[int, "Most weight of the signed input, outpoint and sequence with it"]


class PsbtInput(TypedDict):
    """An input of a PSBT: as ``TxInput``, but ``replaceable`` is one of the options here."""

    txid: Annotated[Hex, "Transaction it spends from"]
    vout: Annotated[Any, "Output it spends", Like(int)]
    sequence: Annotated[
        NotRequired[Any],
        "Sequence",
        Like(int),
        Hint("depends on the value of the 'locktime' and 'options.replaceable' arguments"),
    ]
    weight: Annotated[
        NotRequired[int],
        "Most weight of the signed input, outpoint and sequence with it",
        Hint("Calculated from wallet and solving data"),
    ]


WeighedInputs = Items[Annotated[Lenient[WeighedInput], "An input"]]
PsbtInputs = Items[Annotated[Lenient[PsbtInput], "An input"]]
PlaceOrAddress = Annotated[Any, Named("vout_index"), "Number of an output, before change is added", Like(int)]
AddInputs = Annotated[bool, "Whether coins of the wallet are added to inputs that do not suffice"]
IncludeUnsafe = Annotated[
    bool,
    "Whether coins may be spent that others can make disappear: unconfirmed payments of others, and replacements",
    Default(False),
]
MinConf = Annotated[int, "Least confirmations of the coins that are added", Default(0)]
MaxConf = Annotated[int, "Most confirmations of the coins that are added"]
ChangeAddress = Annotated[str, "Address for the change", Hint("automatic")]
ChangePosition = Annotated[int, "Number of the change output", Hint("random")]
ChangeType = Annotated[
    str,
    "Kind of the address for change: legacy, p2sh-segwit, bech32 or bech32m",
    Hint("set by -changetype"),
]
IncludeWatching = Annotated[bool, "No longer used", Default(False)]
LockUnspents = Annotated[bool, "Whether no other transaction is to spend the coins", Default(False)]
SubtractFee = Annotated[
    Items[PlaceOrAddress],
    "Outputs that pay the fee, to equal parts; none: the sender pays it",
    Default([]),
]
MaxTxWeight = Annotated[int, "Most weight of the transaction", Default(MAX_STANDARD_TX_WEIGHT)]
OptConfTarget = Annotated[int, "Confirmation target in blocks", Hint("wallet -txconfirmtarget")]
OptEstimateMode = Annotated[
    str,
    'How careful the estimate is: "economical" (if the transaction may be replaced), "conservative" (else) or "unset"',
    Hint('"unset"'),
]
OptFeeRate = Annotated[AnyAmount, "Feerate in sat/vB", Hint("not set, fall back to wallet fee estimation")]
OptReplaceable = Annotated[bool, "Whether it signals that it may be replaced (BIP125)", Hint("wallet default")]
OptSolvingData = Annotated[
    Lenient[SolvingData], "Keys and scripts of inputs that are not the wallet's, to estimate their size"
]
OldFeeRate = Annotated[AnyAmount, "Feerate in BTC/kvB", Hint("not set, fall back to wallet fee estimation")]


class AddsInputsUnlessNamed(TypedDict):
    """Whether coins are added."""

    add_inputs: Annotated[NotRequired[AddInputs], Hint('false when "inputs" are specified, true otherwise')]


class CoinOptions(TypedDict):
    """Which coins may be added."""

    include_unsafe: NotRequired[IncludeUnsafe]
    minconf: NotRequired[MinConf]
    maxconf: NotRequired[MaxConf]


class OldNames(TypedDict):
    """Choices of methods that return what they have funded, by the older names of some."""

    changeAddress: NotRequired[ChangeAddress]
    changePosition: NotRequired[ChangePosition]
    change_type: NotRequired[ChangeType]
    includeWatching: NotRequired[IncludeWatching]
    lockUnspents: NotRequired[LockUnspents]
    fee_rate: NotRequired[OptFeeRate]
    feeRate: NotRequired[OldFeeRate]
    subtractFeeFromOutputs: NotRequired[SubtractFee]


class SizeOptions(TypedDict):
    """How large the transaction may become."""

    max_tx_weight: NotRequired[MaxTxWeight]


class FeeOptions(TypedDict):
    """What decides about the fee, apart from a feerate."""

    conf_target: NotRequired[OptConfTarget]
    estimate_mode: NotRequired[OptEstimateMode]
    replaceable: NotRequired[OptReplaceable]
    solving_data: NotRequired[OptSolvingData]
