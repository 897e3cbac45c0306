"""Options of btcnoded beside bitcoind's: the same words and files, what either program makes of them."""
