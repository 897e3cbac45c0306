"""A node inside a Python program: ``async with btcnode.Node(network="regtest") as node``."""
