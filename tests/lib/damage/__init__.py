"""Nodes whose files are damaged, and what becomes of them: see ``scripts/bench/damage.py``."""
