"""Which differences between two outcomes count, and of what kind they are."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from .run import Bench, Case, Outcome

NOT_COMPARED = r"(/bin/)?sh: |Warning: Disk space for "
"""What a shell says; and what stands in our log only, see docs/differences.md."""
LOCKED = "Error: Cannot obtain a lock on directory "
OWN_WORDS: tuple[tuple[str, str], ...] = (
    (r"bitcoind -h", "btcnoded -h"),
    (r"Bitcoin Core is probably", "btcnode is probably"),
    (r"version string \(\d+\)", "version string (of another length)"),
    (r"(Unable to open settings file .* for writing|Failed renaming settings file .*?)( \(.*\))?$", r"\1"),
)
"""What either says, as a pattern, and what is compared instead of it."""

OF_THE_PROCESS = {
    "version", "subversion", "warnings", "time", "verificationprogress", "usage", "size_on_disk", "localaddresses",
    "chainstates", "networkhashps", "connections", "connections_in", "connections_out", "loaded",
}  # fmt: skip
"""Fields of answers that no option decides, that change from moment to moment, or that differ by intent."""

FEW = 30
"""Words and bytes of files up to which a case has one fault at most: with more, either may tell another one first."""


STRICTER = (
    r"Error: -\w+ takes a number from ",
    r"Error: Cannot resolve -(rpcbind|bind|externalip) address: ",
    r"Error: Invalid -torcontrol address or hostname: ",
    r"Error: Settings file, ",
)
"""What we refuse by intent though bitcoind lets numbers wrap around, or finds out later that no address is meant."""
WRAPPED = r"Error: (-maxconnections must be greater or equal|limitclustercount must be less than or equal to 64)"
"""Where only one refuses a number beyond an int's range, of which bitcoind takes the last 32 bits."""


@dataclass
class Report:
    """Kinds of differences, each with the case that shows it in the fewest words."""

    kinds: dict[str, Case] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    tried: int = 0

    def add(self, kind: str, case: Case) -> None:
        """One more of a kind."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if kind not in self.kinds or len(str(case)) < len(str(self.kinds[kind])):
            self.kinds[kind] = case

    def text(self) -> str:
        """For people."""
        shown = [f"{kind}\n    {self.counts[kind]} times, such as {case}" for kind, case in sorted(self.kinds.items())]
        return "\n".join([*shown, f"{self.tried} cases, {len(self.kinds)} kinds of differences"])


def compare(bench: Bench, cases: Iterable[Case], seconds: float) -> Report:
    """Have both programs take the cases, for so long at most."""
    report, end = Report(), time.monotonic() + seconds
    for case in cases:
        if time.monotonic() > end:
            break
        _try(bench, case, report)
    return report


def _try(bench: Bench, case: Case, report: Report) -> None:
    """Have both programs take the case, and add how they differ."""
    report.tried += 1
    theirs, ours = bench.theirs(case), bench.ours(case)
    if not case.starts and _is_locked(theirs) and not _is_locked(ours):
        # what bitcoind finds wrong when it starts, we may find wrong before
        case = Case((*case.words, *STARTING), case.files, starts=True)
        theirs, ours = bench.theirs(case), bench.ours(case)
    kind = difference(case, theirs, ours)
    if kind:
        report.add(kind, case)


STARTING = ("-rpcport={port}", "-port={p2p}", "-rpcuser=u", "-rpcpassword=p")


NO_SERVER = "Error: Unable to start HTTP server. See debug log for details."


def _is_locked(outcome: Outcome) -> bool:
    return any(line.startswith(LOCKED) for line in outcome.err)


def difference(case: Case, theirs: Outcome, ours: Outcome) -> str:
    """The kind of the first difference, empty where there is none."""
    if any("Traceback" in line for line in ours.err):
        return f"traceback: {ours.err[-1]}"
    if _is_exception(theirs) or any(re.match(pattern, _first(ours.err)) for pattern in STRICTER):
        return ""
    if any("Unable to bind to" in line for line in theirs.err):  # somebody else took the port meanwhile
        return ""
    if theirs.status != ours.status:
        refusals = [_first(outcome.err) for outcome in (theirs, ours) if outcome.status]
        if re.search(r"=[+-]?\d{10}", str(case)) and re.match(WRAPPED, refusals[0]):
            return ""
        return f"status {theirs.status} / {ours.status}: {_first(theirs.err)} / {_first(ours.err)}"
    expected, found = _comparable(theirs), _comparable(ours)
    two_faults = theirs.status == ours.status == 1 and len(case.words) + sum(map(len, case.files.values())) > FEW
    if expected != found and not two_faults:
        missing = [line for line in expected if line not in found]
        more = [line for line in found if line not in expected]
        return f"stderr: {_kind_of(_first(missing))} / {_kind_of(_first(more))}"
    return next(_differing_answers(case, theirs, ours), "")


def _is_exception(outcome: Outcome) -> bool:
    """Whether the process ended as nobody meant it to: settings.json can have that of a bitcoind."""
    return any("EXCEPTION" in line or line.startswith("terminate called") for line in outcome.err)


def _differing_answers(case: Case, theirs: Outcome, ours: Outcome) -> Iterator[str]:
    """Fields that differ. For bitcoind ``-cjdnsreachable=0`` switches on as well, for us it does not."""
    for method in sorted({*theirs.told, *ours.told}):
        expected, found = theirs.told.get(method), ours.told.get(method)
        if not (isinstance(expected, dict) and isinstance(found, dict)):
            if expected != found:
                yield f"{method}: {expected} / {found}"
            continue
        left_out = OF_THE_PROCESS | ({"networks"} if "cjdnsreachable" in str(case) else set())
        for name in sorted({*expected, *found} - left_out):
            if expected.get(name) != found.get(name):
                yield f"{method}, {name}: {expected.get(name)} / {found.get(name)}"


def _first(lines: list[str]) -> str:
    return lines[0] if lines else "(nothing)"


def _comparable(outcome: Outcome) -> list[str]:
    """What was printed, without empty lines, warnings beside an error, and what follows from an error that is told."""
    lines = [line for line in outcome.err if line and not re.match(NOT_COMPARED, line)]
    for pattern, instead in OWN_WORDS:
        lines = [re.sub(pattern, instead, line) for line in lines]
    if outcome.status:
        start = next((n for n, line in enumerate(lines) if line.startswith("Error: ")), 0)
        lines = lines[start:]
    return lines[:-1] if len(lines) > 1 and lines[-1] == NO_SERVER else lines


def _kind_of(line: str) -> str:
    return re.sub(r"'[^']*'|\"[^\"]*\"|\d+", "*", line)
