"""The chain as tables, and its verification on many processes or machines. Needs the extra ``btcnode[data]``.

No running node imports this room: it reads block files that a node, ours or Core's, has written.
"""

from __future__ import annotations

from btcnode.data.reading import blocks, inputs, outputs, transactions

__all__ = ["blocks", "inputs", "outputs", "transactions"]
