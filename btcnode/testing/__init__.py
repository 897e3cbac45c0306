"""For users of the package: a pytest plugin, a regtest node, spends by template, a simulated network."""
