"""Pictures of benchmarks: drawn where matplotlib is installed (extra "bench"), named as missing where it is not."""

from __future__ import annotations

from typing import Any

NO_PLOT = "no plot: install matplotlib (pip install 'btcnode[bench]')"


def quiet_pyplot() -> Any | None:
    """matplotlib's pyplot, drawing into files only; None where matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        return None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot
