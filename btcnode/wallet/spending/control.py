"""What the user decides about a transaction, and what the node says to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from btcnode.descriptors.descriptor import OutputType
from btcnode.descriptors.provider import SigningProvider
from btcnode.mempool.fee_estimator import FeeEstimator
from btcnode.mempool.pool import Mempool
from btcnode.wallet.coins import MAX_DEPTH

DEFAULT_VERSION = 2


class FeeMode(StrEnum):
    """How careful a fee estimate is."""

    UNSET = "unset"
    ECONOMICAL = "economical"
    CONSERVATIVE = "conservative"


@dataclass(slots=True)
class Preset:
    """An input that is in any case there.

    ``txout`` is set where the wallet does not have what it spends. ``is_placed``: it stands before the others, in
    order.
    """

    txout: bytes | None = None
    is_placed: bool = False
    sequence: int | None = None
    script_sig: bytes = b""
    witness: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class CoinControl:
    """Choices about one transaction; None stands for the wallet's own option.

    ``rate`` is satoshi per kvB; with ``override_rate`` even one below the limits counts. ``presets`` by outpoint, in
    the order of the inputs. ``external`` knows how to spend what is not the wallet's.
    """

    change_script: bytes | None = None
    change_type: OutputType | None = None
    include_unsafe: bool = False
    others_allowed: bool = True
    override_rate: bool = False
    rate: int | None = None
    target: int | None = None
    fee_mode: FeeMode = FeeMode.UNSET
    replaceable: bool | None = None
    avoid_partial_spends: bool = False
    avoid_reuse: bool = False
    min_depth: int = 0
    max_depth: int = MAX_DEPTH
    external: SigningProvider = field(default_factory=SigningProvider)
    version: int = DEFAULT_VERSION
    lock_time: int | None = None
    max_weight: int | None = None
    presets: dict[bytes, Preset] = field(default_factory=dict)
    weights: dict[bytes, int] = field(default_factory=dict)

    def preset(self, outpoint: bytes) -> Preset:
        """The input that spends an outpoint, which is there from now on, behind those that are placed already."""
        found = self.presets.get(outpoint, Preset())
        if not found.is_placed:
            self.presets.pop(outpoint, None)
            self.presets[outpoint] = found
            found.is_placed = True
        return found

    def weigh(self, outpoint: bytes, weight: int) -> None:
        """The input that spends an outpoint weighs so much; it is there from now on, somewhere."""
        self.weights[outpoint] = weight
        self.presets.setdefault(outpoint, Preset())


@dataclass(frozen=True, slots=True)
class Recipient:
    """Whom to pay; ``pays_fee``: what it gets is less by (its share of) the fee."""

    script: bytes
    amount: int
    pays_fee: bool = False


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What making a transaction depends on in the node, at one moment; used on the loop thread.

    ``tip_time`` and ``now`` are Unix times. ``is_syncing``: the node is far from the best chain.
    """

    pool: Mempool
    estimator: FeeEstimator | None
    now: int
    tip_height: int
    tip_time: int
    is_syncing: bool
