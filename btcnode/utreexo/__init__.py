"""Utreexo: the set of coins as a forest of hashes, of which a verifier keeps the roots (BIP 181, 182, drafts)."""
