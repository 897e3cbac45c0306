"""What a peer has done, as counts that fade, and the fingerprint that is made of them."""

from __future__ import annotations

from dataclasses import field

from btcnode.record import record, struct

START = 50.0  # score that every peer begins with
FORGOTTEN = 0.01  # counts that have faded below this say nothing any more
HALF_LIFE = 600.0  # seconds in which what a peer did counts half


@record
class Features:
    """The fingerprint of behaviour that a score is made of; ``peer_score.py`` says what each is."""

    service: float
    value: float
    fault: float

    def as_tuple(self) -> tuple[float, float, float]:
        """Service, value and fault: the order of the weights."""
        return self.service, self.value, self.fault


@record
class Judgement:
    """What was thought of a peer at one time (seconds of ``Context.steady``), and what its counts were then."""

    at: float
    features: Features
    useful: float
    bad: float
    requests: int  # blocks that it had been asked for


@struct
class Conduct:
    """What one peer has done. All but ``offences``, which are for the audit, fades."""

    score: float = START
    useful: float = 0.0
    wasted: float = 0.0
    failed: float = 0.0
    loads: dict[str, float] = field(default_factory=dict)  # broken rules, weighed: by offence
    work: float = 0.0  # seconds of our processor time that we did not ask it to cost
    stumbles: float = 0.0  # times that it was degraded
    offences: dict[str, int] = field(default_factory=dict)  # at most one entry for each offence of the table
    faded_at: float | None = None
    next_at: float = 0.0
    seen: tuple[int, int] = (0, 0)  # succeeded and failed block requests that are counted already
    judged: Judgement | None = None

    @property
    def load(self) -> float:
        """Broken rules, weighed: of all offences."""
        return sum(self.loads.values())

    @property
    def has_faults(self) -> bool:
        """Whether anything that counts against the peer is not forgotten yet."""
        return self.wasted + self.failed + self.stumbles + self.load > FORGOTTEN

    @property
    def worst(self) -> str:
        """The offence that weighs most; empty when there is none."""
        return max(self.loads, key=self.loads.__getitem__, default="")

    def blame(self, offence: str, weight: float) -> None:
        """A rule was broken."""
        self.offences[offence] = self.offences.get(offence, 0) + 1
        self.loads[offence] = self.loads.get(offence, 0.0) + weight
        self.next_at = 0.0

    def fade(self, steady: float) -> None:
        """Let the past count less."""
        factor = 0.5 ** ((steady - self.faded_at) / HALF_LIFE) if self.faded_at is not None else 1.0
        self.faded_at = steady
        self.useful *= factor
        self.wasted *= factor
        self.failed *= factor
        for offence in self.loads:
            self.loads[offence] *= factor
        self.work *= factor
        self.stumbles *= factor
