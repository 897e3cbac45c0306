"""What the bytes are: hashes, sizes, headers, transactions, blocks, coins."""
