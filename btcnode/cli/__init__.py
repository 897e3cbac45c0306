"""The two commands: ``btcnode`` and ``btcnode-cli``."""
