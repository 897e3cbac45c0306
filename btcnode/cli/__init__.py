"""The two commands: ``btcnode`` and ``btcnode-cli``."""

from btcnode.imports import find_quickly

find_quickly()
