"""The kernels' machine code: made once for a processor, kept in the user's cache folder, loaded by every process.

A file is named after all that its code follows from: the text of this folder, the compiler's version, the processor. In
front stands the SHA-256 of the rest, so that a damaged file is never run, but made again.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from stat import S_ISREG, S_IWOTH
from typing import Any

_MAGIC = b"btcnode kernels 1\n"
_DIGEST_SIZE = 32
MAX_SIZE = 8 << 20  # bytes of a file
_MAKE = (
    "import os, sys; os.nice(19); sys.path[:] = sys.argv[1:]; from btcnode.compiled.machine_code import make; make()"
)


class NoMachineCode(Exception):
    """There is none, and why."""


class NotThereYet(NoMachineCode):
    """There is none, but it can be made."""


class MachineCode:
    """Loaded code; it stays as long as this object does."""

    def __init__(self, code: bytes) -> None:
        binding, machine = _target()
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


def _target() -> tuple[Any, Any]:
    """llvmlite's binding, and this machine as a target."""
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    features = binding.get_host_cpu_features().flatten()
    target = binding.Target.from_default_triple()
    cpu = binding.get_host_cpu_name()
    machine = target.create_target_machine(cpu=cpu, features=features, opt=3, reloc="pic", codemodel="jitdefault")
    return binding, machine


def path() -> Path:
    """The file for this processor and these kernels; imports llvmlite. Raises NoMachineCode."""
    try:
        import llvmlite
        from llvmlite import binding
    except (ImportError, OSError) as error:
        raise NoMachineCode(f"llvmlite cannot be loaded: {error}") from None
    name = hashlib.sha256()
    parts = [llvmlite.__version__, binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten()]
    sources = sorted(Path(__file__).parent.glob("*.py"))
    for part in [part.encode() for part in parts] + [source.read_bytes() for source in sources]:
        name.update(hashlib.sha256(part).digest())
    return folder() / f"kernels-{name.hexdigest()[:32]}.o"


def load() -> MachineCode:
    """Load the file that ``make`` has made; raises NoMachineCode: NotThereYet where there is none or a damaged one."""
    return MachineCode(_read(path()))


def _read(file: Path) -> bytes:
    """The code in a file; a damaged one is deleted. Raises as ``load`` does."""
    try:
        handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK)  # which does not wait for somebody to write into a pipe
        try:
            facts = os.fstat(handle)
            ours = facts.st_uid == os.geteuid() and S_ISREG(facts.st_mode) and not facts.st_mode & S_IWOTH
            if not ours or facts.st_size > MAX_SIZE:
                raise NoMachineCode(f"{file} is not one that this user has made")
            data = os.read(handle, facts.st_size)
        finally:
            os.close(handle)
    except OSError as error:
        raise NotThereYet(str(error)) from None
    head, code = data[: len(_MAGIC) + _DIGEST_SIZE], data[len(_MAGIC) + _DIGEST_SIZE :]
    if head != _MAGIC + hashlib.sha256(code).digest():
        with contextlib.suppress(OSError):
            file.unlink()
        raise NotThereYet(f"{file} is damaged")
    return code


def make() -> Path:
    """Compile the kernels unless they are there, which takes some ten seconds; the file.

    Raises NoMachineCode where that is impossible.
    """
    file = path()
    with contextlib.suppress(NotThereYet):
        _read(file)
        return file
    try:
        from btcnode.compiled.translate import translate

        code = translate(_target()[1])
    except Exception as error:  # numba, llvmlite and numpy fail in many ways where one does not go with the others
        raise NoMachineCode(f"they cannot be compiled: {type(error).__name__}: {error}") from error
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _keep(file, _MAGIC + hashlib.sha256(code).digest() + code)
    except OSError as error:
        raise NoMachineCode(f"the kernels cannot be kept: {error}") from None
    return file


def _keep(file: Path, data: bytes) -> None:
    """Write a file that is there as a whole or not at all; raises OSError."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix="kernels-", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(data)
        Path(name).replace(file)
    except OSError:
        Path(name).unlink(missing_ok=True)  # on a disk that is full above all
        raise


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
