"""Output descriptors (BIP380 to 390, with miniscript), signing, and partially signed transactions (BIP174)."""
