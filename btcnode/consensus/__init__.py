"""Consensus rules as pure functions: headers, transactions, blocks, connecting a block to the coins."""
