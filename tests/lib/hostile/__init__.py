"""Attacks on a node over real connections: what is sent, who sends it, and what honest users see meanwhile."""
