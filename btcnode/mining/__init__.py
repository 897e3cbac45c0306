"""Blocks made by this node."""
