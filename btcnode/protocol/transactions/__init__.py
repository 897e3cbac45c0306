"""Transactions: announced, asked for, judged, passed on."""
