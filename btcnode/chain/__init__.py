"""Header tree, coin cache and chainstate: which chain is active, and the coins at its tip."""
