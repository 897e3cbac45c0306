"""Optional indexes: what each makes of a block, and where it is kept. ``node/index_engine.py`` runs them."""
