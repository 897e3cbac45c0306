"""The state of one running script, as the opcode handlers see it."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

from btcnode.script.checker import InputChecker, TaprootSpend
from btcnode.script.flags import VERIFY_MINIMALDATA


class SigVersion(IntEnum):
    """Which rules a script runs under; the values are Core's."""

    BASE = 0  # bare scripts and P2SH redeem scripts
    WITNESS_V0 = 1  # BIP141
    TAPSCRIPT = 3  # BIP342 (2 is the taproot key path, which runs no script)


class Machine:
    """Stack, altstack, open conditionals and the surroundings of a script.

    Of the open IFs only their number and the lowest one that is not taken are kept (``first_false``, -1 for none),
    so that a hundred thousand nested IFs cost nothing. ``pc`` is the offset behind the current opcode, valid in
    handlers; ``code_start`` where signatures' script code begins.
    """

    __slots__ = (
        "alt", "checker", "code_start", "counted", "counted_pc", "depth", "first_false", "flags", "minimal", "op_count",
        "pc", "script", "sigversion", "stack", "taproot",
    )  # fmt: skip

    def __init__(
        self,
        stack: list[bytes],
        script: bytes,
        flags: int,
        checker: InputChecker,
        sigversion: SigVersion,
        taproot: TaprootSpend | None,
    ) -> None:
        self.stack = stack
        self.alt: list[bytes] = []
        self.script = script
        self.flags = flags
        self.minimal = flags & VERIFY_MINIMALDATA != 0
        self.checker = checker
        self.sigversion = sigversion
        self.taproot = taproot
        self.pc = 0
        self.code_start = 0
        self.op_count = 0
        self.depth = 0
        self.first_false = -1
        self.counted = 0  # opcodes before counted_pc, for tapscript's OP_CODESEPARATOR position
        self.counted_pc = 0


Handler = Callable[[Machine, list[bytes]], None]
Operations = dict[int, tuple[int, Handler]]
"""Opcode -> (stack elements that must be there, handler)."""
