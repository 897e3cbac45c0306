"""One btcnode and one bitcoind that lead the same random life, compared after each step."""
