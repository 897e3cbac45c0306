"""Whole networks of real protocol cores in simulated time: scenarios, strategies, figures, pictures."""
