"""Notifications for other programs: what has happened to blocks and transactions, published over ZeroMQ."""
