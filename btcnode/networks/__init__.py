"""The networks: names and ports, consensus parameters, UTXO sets to start from, addresses to begin with."""
