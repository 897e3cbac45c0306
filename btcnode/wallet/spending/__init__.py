"""Making transactions: coins, sizes, fees, change, replacements."""
