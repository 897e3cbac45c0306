"""``python -m btcnode.compiled``: make the kernels' machine code now, so that no node has to wait for it."""

from __future__ import annotations

import faulthandler
import sys

from btcnode.compiled.machine_code import NoMachineCode, is_possible
from btcnode.compiled.making import make


def main() -> int:
    """Say where it is; 1 and why where there is none."""
    if not is_possible():
        print("No kernels: numba is not installed, or the processor is a big-endian one. All works without.")
        return 1
    faulthandler.enable()  # they are tried: where they do not run it says so
    try:
        print(f"Kernels: {make()}")
    except NoMachineCode as error:
        print(f"No kernels: {error}. All works without.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
