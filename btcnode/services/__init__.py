"""The running parts of a node, each with one subject; ``parts.py`` puts them side by side for the RPC handlers."""
