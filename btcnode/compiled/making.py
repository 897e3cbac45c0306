"""Kernels are compiled into a file, by a process that is there for nothing else; ``machine_code.py`` loads it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
from pathlib import Path

from btcnode.compiled.kernels import kernels_of
from btcnode.compiled.machine_code import (
    DAY,
    MAGIC,
    MachineCode,
    NoMachineCode,
    NotThereYet,
    path,
    read,
    require_safe,
    target,
)

UNUSED_DAYS = 60  # after which a file is deleted: of an older version, another Python, another processor
MOST_FILES = 32  # of 60 kB: those that were used last stay


def make() -> Path:
    """Compile the kernels unless they are there, which takes some ten seconds, and try them; the file.

    Raises NoMachineCode where that is impossible. The process ends by a signal where the processor, or the system that
    has the process in a sandbox, does not run them.
    """
    file = path()
    with contextlib.suppress(NotThereYet):
        read(file)
        return file
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        require_safe(file.parent)
        _keep(file)
        _delete_unused(file.parent)
    except OSError as error:
        raise NoMachineCode(f"the kernels cannot be kept: {error}") from None
    return file


def _compile() -> bytes:
    """What belongs into a file; raises NoMachineCode."""
    try:
        from btcnode.compiled.translate import translate

        code = translate(target()[1])
        kernels_of(MachineCode(code))  # before anybody else runs them
    except NoMachineCode:
        raise
    except Exception as error:  # numba, llvmlite and numpy fail in many ways where one does not go with the others
        raise NoMachineCode(f"they cannot be compiled: {type(error).__name__}: {error}") from error
    return MAGIC + hashlib.sha256(code).digest() + code


def _keep(file: Path) -> None:
    """Compile into a file that is there as a whole or not at all; raises OSError, NoMachineCode."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix="kernels-", suffix=".part")  # nothing is compiled in vain
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(_compile())
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)  # on a disk that is full above all
        raise


def _delete_unused(directory: Path) -> None:
    """Delete files that nobody has loaded for long, what a kill has left, and the oldest of very many.

    Whoever has loaded one goes on with it, and whoever would have loaded it has it made again.
    """
    now, used = time.time(), []
    for file in directory.glob("kernels-*"):
        with contextlib.suppress(OSError):  # another process has deleted it
            facts = file.stat()
            last = max(facts.st_atime, facts.st_mtime)
            if file.suffix == ".part" and last < now - DAY:
                file.unlink()
            elif file.suffix == ".o":
                used.append((last, file))
    used.sort(reverse=True)
    for place, (last, file) in enumerate(used):
        if place >= MOST_FILES or last < now - UNUSED_DAYS * DAY:
            with contextlib.suppress(OSError):
                file.unlink()
