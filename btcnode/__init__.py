"""btcnode: a Bitcoin full node in Python."""

__version__ = "0.1.0"
