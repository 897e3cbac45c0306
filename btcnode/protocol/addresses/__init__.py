"""Addresses of nodes: the book, its groups and files, gossip and seeds."""
