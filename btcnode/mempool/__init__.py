"""Unconfirmed transactions: admission, policy, clusters, eviction."""
