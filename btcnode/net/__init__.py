"""Sockets: executes what the protocol decides."""
