"""What peers ask of us: blocks, filters, transactions, within budgets."""
