"""Tests give the same result wherever they are started: in front of a shell, in its background, by a program."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

TELL = "import signal, tests.conftest; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"


def test_programs_can_be_interrupted_where_interrupts_are_ignored() -> None:
    found = subprocess.run(
        [sys.executable, "-c", TELL],
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
        capture_output=True,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert found.stdout == "True\n", found.stderr
