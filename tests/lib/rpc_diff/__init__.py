"""The RPC and REST interfaces of two nodes over the same chain, asked the same and compared to the letter."""
