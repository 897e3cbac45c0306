"""Descriptor wallets: keys, ledger, store. Above the mempool; nothing below knows of them."""
