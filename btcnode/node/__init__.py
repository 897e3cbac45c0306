"""The assembly: the only room in which the others are wired together."""

from btcnode.node.assembly import Node

__all__ = ["Node"]
