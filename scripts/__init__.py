"""Benchmarks, fuzz runs and generators; each runs from the checkout as `python scripts/<folder>/<name>.py`."""
