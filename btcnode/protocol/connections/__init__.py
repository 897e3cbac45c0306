"""Connections: which to open and keep, handshakes, states, scores, bans."""
