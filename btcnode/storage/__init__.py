"""What lies on disk: the LMDB environment and its layout, coins, block files, undo data, the block index."""
