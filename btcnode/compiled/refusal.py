"""What keeps kernels from ending one run after the other: machine code in which a run has ended is not used again.

A fatal signal (code that the processor does not know, a sandbox in which made code may not run, an error of a kernel)
cannot be caught. But it leaves a note, of the node's own (``storage/fault_note.py``) or as a worker's exit status, and
from then on a file in the network's folder refuses all machine code that is not younger than itself: code that is made
again, by another version or after the file was deleted, is tried again. A process that was killed leaves no such note.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from btcnode.compiled.machine_code import NoMachineCode, path

_HERE = re.compile(r'^ *File "[^"\n]*[/\\]btcnode[/\\]compiled[/\\]', re.M)


def ended_in_kernels(stack: str) -> bool:
    """Whether a thread's stack, as ``faulthandler`` writes it, goes through this folder."""
    return _HERE.search(stack) is not None


class Refusal:
    """The file that refuses."""

    def __init__(self, file: Path) -> None:
        self._path = file

    def note(self, what: str, when: float | None = None) -> None:
        """Refuse what was made before ``when``, seconds since 1970, None for now; raises OSError."""
        text = f"{what}\nCompiled kernels that are older than this file are not used. It may be deleted.\n"
        self._path.write_text(text, encoding="utf-8", errors="replace")
        if when is not None:
            os.utime(self._path, (when, when))

    def stands(self) -> str | None:
        """Why this machine's code is not used and what can be done, None where it may be; imports llvmlite at most."""
        try:
            refused = self._path.stat().st_mtime_ns
            code = path()
            if code.stat().st_mtime_ns > refused:
                return None
            with self._path.open(encoding="utf-8", errors="replace") as file:
                what = file.readline(500).strip()
        except (OSError, NoMachineCode):
            return None  # nothing is refused, or there is nothing yet
        return f"{what}; delete {code} to have them made again, or {self._path} to try them as they are"
