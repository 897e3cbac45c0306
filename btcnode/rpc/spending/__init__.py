"""What methods that make a wallet's transactions do; imported with the first of them that is called."""
