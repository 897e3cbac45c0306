"""Nodes that end at every moment at which their disk changes, and what the next start makes of it."""
