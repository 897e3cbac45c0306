"""The sans-IO brain of the node: what to do about peers, as inputs and effects."""
