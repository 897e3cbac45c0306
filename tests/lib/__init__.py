"""Generators, labs, fuzzers, scripted peers and node processes for our own tests, benchmarks and fuzz runs."""
