"""The kernels' machine code: made once for a processor, kept in the user's cache folder, loaded by every process.

A file is named after all that its code follows from: the text of this folder, the versions of Python, numba and
llvmlite, the processor and what it can do. In front stands the SHA-256 of the rest, so that a damaged file is never
run, but made again. Whoever makes one runs it before anybody else can: a process that does nothing else dies of code
that does not run here, and leaves none. What only goes wrong later is for ``refusal.py``.

Nothing is run that somebody else could have written: file and folder belong to the user or to root, and no one else may
write there.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from stat import S_ISDIR, S_ISREG, S_IWGRP, S_IWOTH
from typing import Any

MAGIC = b"btcnode kernels 1\n"
_DIGEST_SIZE = 32
MAX_SIZE = 8 << 20  # bytes of a file
DAY = 86_400.0
_MAKE = "import os, sys; os.nice(19); sys.path[:] = sys.argv[1:]; from btcnode.compiled.making import make; make()"


class NoMachineCode(Exception):
    """There is none, and why."""


class NotThereYet(NoMachineCode):
    """There is none, but it can be made."""


class MachineCode:
    """Loaded code; it stays as long as this object does."""

    def __init__(self, code: bytes) -> None:
        """Raises OSError where the system lets no memory become executable (SELinux, MemoryDenyWriteExecute)."""
        binding, machine = target()
        binding.check_jit_execution()
        self._engine = binding.create_mcjit_compiler(binding.parse_assembly(""), machine)
        self._engine.add_object_file(binding.ObjectFileRef.from_data(code))
        self._engine.finalize_object()

    def address(self, name: str) -> int:
        """That of an entry; raises NoMachineCode."""
        address = int(self._engine.get_function_address(name))
        if not address:
            raise NoMachineCode(f"there is no kernel {name}")
        return address


def is_possible() -> bool:
    """Whether numba is installed, which is not offered everywhere, and the machine's byte order is the kernels'."""
    return sys.byteorder == "little" and find_spec("numba") is not None and find_spec("llvmlite") is not None


def folder() -> Path:
    """Where it is kept: ``btcnode`` in the user's cache folder. Raises NoMachineCode for a user without one."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "btcnode"
    except RuntimeError as error:
        raise NoMachineCode(str(error)) from None


def target() -> tuple[Any, Any]:
    """llvmlite's binding, and this machine as a target."""
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    features = binding.get_host_cpu_features().flatten()
    triple = binding.Target.from_default_triple()
    cpu = binding.get_host_cpu_name()
    machine = triple.create_target_machine(cpu=cpu, features=features, opt=3, reloc="pic", codemodel="jitdefault")
    return binding, machine


def path() -> Path:
    """The file for this processor and these kernels; imports llvmlite. Raises NoMachineCode."""
    try:
        import llvmlite
        from llvmlite import binding
    except (ImportError, OSError) as error:
        raise NoMachineCode(f"llvmlite cannot be loaded: {error}") from None
    name = hashlib.sha256()
    parts = [
        sys.version, llvmlite.__version__, binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten(),
    ]  # fmt: skip
    sources = sorted(Path(__file__).parent.glob("*.py"))
    contents = [part.encode() for part in parts] + [source.read_bytes() for source in sources] + [_numba_version()]
    for part in contents:
        name.update(hashlib.sha256(part).digest())
    return folder() / f"kernels-{name.hexdigest()[:32]}.o"


def _numba_version() -> bytes:
    """What names its version, without the half second of an import; nothing where it is packed in another way."""
    numba = find_spec("numba")
    try:
        return Path(numba.origin).with_name("_version.py").read_bytes() if numba and numba.origin else b""
    except OSError:
        return b""


def load() -> MachineCode:
    """Load the file that ``make`` has made; raises NoMachineCode: NotThereYet where there is none or a damaged one."""
    return MachineCode(read(path()))


def _is_safe(facts: os.stat_result) -> bool:
    """Whether nobody else can have written what is there."""
    return facts.st_uid in (os.geteuid(), 0) and not facts.st_mode & (S_IWGRP | S_IWOTH)


def require_safe(directory: Path) -> None:
    """Raises NoMachineCode for a folder that others may write to, OSError where there is none."""
    facts = directory.stat()
    if not S_ISDIR(facts.st_mode) or not _is_safe(facts):
        raise NoMachineCode(f"{directory} is not a folder that only this user can write to")


def read(file: Path) -> bytes:
    """The code in a file; a damaged one is deleted. Raises as ``load`` does."""
    try:
        require_safe(file.parent)  # first: from then on nobody else puts another file in the place of this one
        handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK)  # which does not wait for somebody to write into a pipe
        try:
            facts = os.fstat(handle)
            if not S_ISREG(facts.st_mode) or not _is_safe(facts) or facts.st_size > MAX_SIZE:
                raise NoMachineCode(f"{file} is not one that this user has made")
            data = os.read(handle, facts.st_size)
        finally:
            os.close(handle)
    except OSError as error:
        raise NotThereYet(str(error)) from None
    head, code = data[: len(MAGIC) + _DIGEST_SIZE], data[len(MAGIC) + _DIGEST_SIZE :]
    if head != MAGIC + hashlib.sha256(code).digest():
        with contextlib.suppress(OSError):
            file.unlink()
        raise NotThereYet(f"{file} is damaged")
    if time.time() > facts.st_atime + DAY:
        with contextlib.suppress(OSError):  # only who may write there ever deletes it
            os.utime(file, ns=(time.time_ns(), facts.st_mtime_ns))
    return code


def start_making() -> subprocess.Popen[bytes] | None:
    """Begin ``make`` in a process of low priority; None where that is impossible."""
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-c", _MAKE, *sys.path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )
    except OSError:
        return None


def openssl_functions() -> tuple[int, int]:
    """Addresses of SHA-256's and RIPEMD-160's compression functions, in the OpenSSL that hashlib uses.

    Raises NoMachineCode where it is linked in a way that hides them.
    """
    try:
        import _hashlib

        library = ctypes.CDLL(_hashlib.__file__)
        functions = library.SHA256_Transform, library.RIPEMD160_Transform
    except (ImportError, OSError, AttributeError) as error:
        raise NoMachineCode(f"OpenSSL's compression functions cannot be reached: {error}") from None
    sha256, ripemd160 = (ctypes.cast(function, ctypes.c_void_p).value for function in functions)
    if not sha256 or not ripemd160:
        raise NoMachineCode("OpenSSL's compression functions have no address")
    return sha256, ripemd160
