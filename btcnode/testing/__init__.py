"""Helpers for tests and benchmarks: chains, blocks, spends, peers, node processes."""
