"""Bytes <-> messages: framing, one class per command, network addresses."""
