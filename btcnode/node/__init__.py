"""Starting, running and stopping a node: the only room in which the others are wired together."""

from btcnode.node.node import Node

__all__ = ["Node"]
